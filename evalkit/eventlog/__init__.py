"""The event log, the source of truth: the port, and its SQLite, Iggy and in-memory adapters."""
