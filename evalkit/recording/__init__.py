"""Measure agent sessions in a ``with`` block and record them as one checkpoint. Needs no ipywidgets."""
