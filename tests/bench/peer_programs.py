"""What `tests.bench.peers` measures of other programs; runs in an environment with them, without evalkit.

``python peer_programs.py PEER FOLDER COUNT`` writes checkpoints of 16 metrics until they can be read, reads them to one wide Polars frame, and
prints the seconds of both.
"""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path
from time import perf_counter
from typing import Any

NAMES = [f"metric_{number}" for number in range(16)]


def values(count: int) -> list[dict[str, float]]:
    rng = random.Random(1)
    return [{name: rng.random() for name in NAMES} for _ in range(count)]


def centaurodb(folder: Path, rows: list[dict[str, float]]) -> tuple[float, float]:
    """One object for each checkpoint, written together, and read through a view with a column for each field."""
    from centaurodb import CentauroModel, Collection, Engine

    annotations = {"step": int, **dict.fromkeys(NAMES, float)}
    members = {
        "__module__": __name__,
        "__centauro_name__": "checkpoint",
        "__annotations__": annotations,
        "step": 0,
        **dict.fromkeys(NAMES, 0.0),
    }
    model: Any = type(CentauroModel)("Checkpoint", (CentauroModel,), members)
    checkpoints = Collection(Engine(str(folder / "centauro.db")), "checkpoints")
    start = perf_counter()
    checkpoints.write_objects([model(step=step, **row) for step, row in enumerate(rows)])
    assert checkpoints.count_objects(model) == len(rows)
    written = perf_counter() - start
    start = perf_counter()
    checkpoints.create_view("wide", model)
    frame = checkpoints.sql_select("SELECT * FROM checkpoints_view_wide").select("step", *NAMES)
    assert frame.shape == (len(rows), 17)
    return written, perf_counter() - start


def mlflow(folder: Path, rows: list[dict[str, float]]) -> tuple[float, float]:
    """One run, with a step for each checkpoint, in batches of the largest allowed size; each metric's history is read."""
    import polars as pl
    from mlflow.entities import Metric
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    run = client.create_run(client.create_experiment("study")).info.run_id
    start = perf_counter()
    metrics = [Metric(name, value, step, step) for step, row in enumerate(rows) for name, value in row.items()]
    for first in range(0, len(metrics), 1000):
        client.log_batch(run, metrics=metrics[first : first + 1000])
    assert client.get_run(run).data.metrics[NAMES[-1]] == rows[-1][NAMES[-1]]
    written = perf_counter() - start
    start = perf_counter()
    histories = {name: [point.value for point in client.get_metric_history(run, name)] for name in NAMES}
    assert pl.DataFrame(histories).shape == (len(rows), 16)
    return written, perf_counter() - start


if __name__ == "__main__":
    peer, folder, count = sys.argv[1:]
    print(json.dumps({"centaurodb": centaurodb, "mlflow": mlflow}[peer](Path(folder), values(int(count)))))
