"""Helpers that are independent of studies: SQLite files, a background event loop, atomic files."""
