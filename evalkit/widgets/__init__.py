"""What a notebook shows and drives: the panel of studies, and the recorder."""
