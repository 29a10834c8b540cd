"""The ipywidgets panel that lists studies, follows them, and drives their lifecycle."""
