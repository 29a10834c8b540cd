"""What a study is: its events, metrics, times, commands and checks. Pure: no clock, no file, no server."""
