"""The database of the read model: the port and its adapters."""
