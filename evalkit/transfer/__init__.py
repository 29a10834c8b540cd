"""In and out: checkpoints as csv, parquet and ndjson files, and the log as wire NDJSON."""
