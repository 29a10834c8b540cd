"""Import and export of checkpoints (csv, tsv, ndjson, json, parquet) and logs (NDJSON).

>>> from evalkit.io import import_checkpoints
>>> import_checkpoints(kit, "runs.csv", "nightly agent")  # doctest: +SKIP
"""

from evalkit.io.checkpoint_files import ImportedCheckpoints, export_checkpoints, import_checkpoints

__all__ = ["ImportedCheckpoints", "export_checkpoints", "import_checkpoints"]
