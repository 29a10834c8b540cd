"""The report: all of one study on one page."""
