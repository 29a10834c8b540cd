"""The read model, derived from the log: fold, projection into tables, rebuild, verify, and queries that return models."""
