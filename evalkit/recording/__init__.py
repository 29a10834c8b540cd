"""Measure agent sessions in a ``with`` block, and record one checkpoint of them. Needs no ipywidgets."""
