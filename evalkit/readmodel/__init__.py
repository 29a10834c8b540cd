"""The read model, derived from the log: fold, projection, rebuild, verify and queries."""
