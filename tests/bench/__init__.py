"""Benchmarks of evalkit against direct use of its libraries: ``python -m tests.bench``."""
