"""One kit's log and read model at work together: opening them, commands, catch-up, status."""
