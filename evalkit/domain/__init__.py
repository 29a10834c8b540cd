"""The domain of studies: events, metrics, times, commands and checks. Pure: no clock, no files, no servers."""
