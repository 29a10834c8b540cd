"""From the event log to the read model."""
