"""Helpers without a topic of evalkit's own: SQLite files, a background event loop, atomic files."""
