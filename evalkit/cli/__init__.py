"""The command line. Each command is a thin wrapper around `EvalKit` methods."""
