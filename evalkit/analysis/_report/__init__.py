"""The report on a study as an HTML page, Markdown or JSON."""
