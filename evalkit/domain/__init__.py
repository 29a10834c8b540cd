"""The domain of studies: events, metrics, times, commands and input checks.

Pure: no clock, no files, no servers.
"""
