"""The command line: what the kit does, from a shell. Each command is a few lines around the facade."""
