"""Widgets for notebooks: the panel that ``kit.panel()`` gives."""
