"""What evalkit costs beside the plainest way to do the same: ``python -m tests.bench``."""
