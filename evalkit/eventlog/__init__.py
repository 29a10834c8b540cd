"""The event log, the source of truth: the port and its SQLite and Iggy adapters."""
