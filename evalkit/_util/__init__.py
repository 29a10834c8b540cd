"""Helpers that are independent of studies."""
