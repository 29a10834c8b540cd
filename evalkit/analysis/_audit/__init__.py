"""The audit: missing, duplicate, misplaced and inconsistent checkpoints."""
