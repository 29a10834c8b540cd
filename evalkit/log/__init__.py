"""The event log: the only source of truth."""
