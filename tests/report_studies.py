"""Studies for the tests of reports: small, large, and with hostile texts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl

import evalkit
from evalkit.domain.catalog import METRICS
from evalkit.samples import sample_checkpoints
from tests.chart_frames import START, study_id

BEGIN = datetime(2026, 1, 5, tzinfo=UTC)
HOSTILE = (
    "</script><img src=x onerror=alert(1)>\"' \u202eevil\u202c &amp; | ` * _ \U0001f600 www.x.org a@b.c [x](http://y) {{ 7*7 }} "
    + "x" * 200
)[:200]


def add(kit: evalkit.EvalKit, name: str, rows: Any, **about: Any) -> evalkit.Study:
    """Create a running study with these checkpoints."""
    kit.create_study(name, at=BEGIN - timedelta(hours=2), **about)
    study = kit.start_study(name, at=BEGIN - timedelta(hours=1))
    kit.record_checkpoints(name, rows)
    return study


def samples(count: int = 40, *, seed: int = 1, level: float = 0.0, trend: float = 0.0) -> list[dict[str, Any]]:
    return sample_checkpoints("daily", BEGIN, count, seed=seed, level=level, trend=trend)


def stepped() -> list[dict[str, Any]]:
    """Return forty days with a large improvement after the twentieth; two are missing."""
    before, after = samples(20, level=-1.0), sample_checkpoints("daily", BEGIN + timedelta(days=20), 20, seed=2, level=2.0)
    del before[10:12]
    return [*before, *after]


def hostile(kit: evalkit.EvalKit) -> evalkit.Study:
    """Create a study with hostile texts, in which all sessions have the same name."""
    rows = [{**row, "sessions_included": [HOSTILE], "sessions_completed": 1, "session_success_rate": 1.0} for row in samples(30, trend=0.1)]
    return add(kit, HOSTILE, rows, description=f"{HOSTILE}\n{HOSTILE}", tags=[HOSTILE, "b"], metadata={HOSTILE: "a\nb", "k": HOSTILE})


def hourly(count: int) -> pl.DataFrame:
    """Return many hourly checkpoints with all metrics and rising costs and durations, without checkpoint ids."""
    random = np.random.default_rng(1)
    start = pl.select(pl.lit(datetime(2014, 1, 1, tzinfo=UTC)) + pl.duration(hours=pl.int_range(count))).to_series()
    columns: dict[str, Any] = {
        "period_start": start,
        "period_end": start + timedelta(hours=1),
        "recorded_at": start + timedelta(hours=1, minutes=1),
    }
    for name, metric in METRICS.items():
        rate = np.clip(0.5 + 0.1 * random.standard_normal(count), 0, 1)
        rising = 2 + rate + 0.4 * np.arange(count) / count
        columns[name] = {"count": random.integers(20, 60, count), "rate": rate}.get(metric.kind, rising)
    return pl.DataFrame(columns).with_columns(study_id=pl.lit(study_id(1)), study=pl.lit("hourly"), period_type=pl.lit("hourly"))


def noise(seed: int, *, number: int = 1, count: int = 30) -> pl.DataFrame:
    """Return a study in which every metric is white noise."""
    random = np.random.default_rng(seed)
    start = pl.select(pl.lit(START) + pl.duration(days=pl.int_range(count))).to_series()
    columns: dict[str, Any] = {"period_start": start, "period_end": start + timedelta(days=1)}
    for name, metric in METRICS.items():
        values = 0.5 + 0.1 * random.standard_normal(count)
        columns[name] = random.integers(200, 300, count) if metric.kind == "count" else 1 + values if metric.kind == "number" else values
    return pl.DataFrame(columns).with_columns(
        study_id=pl.lit(study_id(number)), study=pl.lit(f"study {number}"), period_type=pl.lit("daily")
    )
