"""The database of the read model: the port and its SQLite, libSQL and Turso adapters."""
