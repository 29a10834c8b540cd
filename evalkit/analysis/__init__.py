"""Honest analysis: is it getting better, how sure are we, and can the data carry it."""
