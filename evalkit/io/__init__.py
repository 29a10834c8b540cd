"""Import and export: checkpoints as csv, parquet and ndjson files, and the log as wire NDJSON."""
