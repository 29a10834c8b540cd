"""Import and export: checkpoints as csv, tsv, ndjson, json and parquet files, and the log as NDJSON.

>>> from evalkit.io import import_checkpoints
>>> import_checkpoints(kit, "runs.csv", "nightly agent")  # doctest: +SKIP
"""

from evalkit.io.checkpoint_files import ImportedCheckpoints, export_checkpoints, import_checkpoints

__all__ = ["ImportedCheckpoints", "export_checkpoints", "import_checkpoints"]
