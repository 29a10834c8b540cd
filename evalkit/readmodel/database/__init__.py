"""The database of the read model: the port, and its SQLite file, libSQL and Turso adapters."""
