"""The ipywidgets panel that lists studies, follows them, and controls their lifecycle."""
