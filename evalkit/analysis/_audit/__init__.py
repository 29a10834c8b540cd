"""The audit: what is missing, doubled, misplaced or contradicts itself."""
