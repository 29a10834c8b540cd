"""The engine of a kit: connections, command handlers, outcomes and status."""
