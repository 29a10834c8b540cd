"""Measure agent sessions in a ``with`` block and record them as one checkpoint.

ipywidgets is optional.
"""
