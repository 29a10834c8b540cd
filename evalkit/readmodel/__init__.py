"""What is derived from the log: the fold, the projection into tables, rebuild, verify, and queries as models."""
