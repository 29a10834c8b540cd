"""Frames converted by Polars' `to_pandas`, with NumPy or Arrow columns."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pytest

import evalkit
from evalkit import InvalidInputError, StudyData, analysis, plots
from evalkit.frames.columns import CHECKPOINTS, VALUES
from evalkit.frames.normalize import read_columns
from tests.chart_frames import DAY, START, checkpoints, lifecycle
from tests.test_plots import named

pytest.importorskip("pyarrow")  # needed by `polars.DataFrame.to_pandas`, not by evalkit

RATE = "session_success_rate"
LISTS: dict[str, Callable[[int], list[str] | None]] = {
    "empty": lambda _: [],
    "of one length": lambda index: [f"{index} a", f"{index} b"],
    "of several lengths": lambda index: ["s"] * (index % 3),
    "missing": lambda _: None,
    "missing in places": lambda index: None if index % 2 else ["a", "b"],
}
CONVERSIONS: dict[str, Callable[[pl.DataFrame], pd.DataFrame]] = {
    "numpy": lambda frame: frame.to_pandas(),
    "arrow": lambda frame: frame.to_pandas(use_pyarrow_extension_array=True),
}
ANALYSES: dict[str, Callable[[Any], Any]] = {
    "audit": analysis.audit,
    "before_after": lambda rows: analysis.before_after(rows, RATE, at=START + 8 * DAY),
    "changepoints": lambda rows: analysis.changepoints(rows, RATE),
    "compare": lambda rows: analysis.compare(rows, "agent", baseline="base"),
    "resample": lambda rows: analysis.resample(rows, "weekly"),
    "summary": analysis.summary,
    "trend": lambda rows: analysis.trend(rows, RATE),
}
CHARTS: dict[str, Callable[[Any, Any], Any]] = {
    "compare": lambda rows, _: plots.trend(rows, RATE, align="start"),
    "lifecycle": lambda rows, lived: plots.lifecycle(StudyData(rows, lived)),
    "overview": lambda rows, _: plots.overview(rows),
    "scatter": lambda rows, _: plots.scatter(rows),
    "trend": lambda rows, lived: plots.trend(StudyData(rows, lived), RATE, rolling=3),
}


def two_studies(lists: str) -> pl.DataFrame:
    """Return two studies of 16 days, with missing values of each kind and the given lists of sessions."""
    rows = pl.concat([checkpoints("agent", 1, 16), checkpoints("base", 2, 16, seed=2)])
    sessions = pl.Series("sessions_included", [LISTS[lists](index) for index in range(rows.height)], dtype=pl.List(pl.String()))
    gaps = [pl.when(pl.int_range(pl.len()) != 3).then(name).alias(name) for name in ("avg_session_duration", "total_tokens", "total_cost")]
    return rows.with_columns(sessions, *gaps)


@pytest.mark.parametrize("lists", LISTS)
@pytest.mark.parametrize("conversion", CONVERSIONS)
def test_list_columns_are_read(conversion: str, lists: str) -> None:
    """As an object column of arrays, and as Arrow lists."""
    rows = two_studies(lists)
    assert read_columns(CONVERSIONS[conversion](rows), CHECKPOINTS, list(CHECKPOINTS), []).equals(
        read_columns(rows, CHECKPOINTS, list(CHECKPOINTS), [])
    )


@pytest.mark.slow
@pytest.mark.parametrize("conversion", CONVERSIONS)
@pytest.mark.parametrize("name", ANALYSES)
def test_analyses_accept_converted_frames(name: str, conversion: str) -> None:
    rows = two_studies("of one length")
    assert repr(ANALYSES[name](CONVERSIONS[conversion](rows))) == repr(ANALYSES[name](rows))


@pytest.mark.slow
@pytest.mark.parametrize("conversion", CONVERSIONS)
@pytest.mark.parametrize("name", CHARTS)
def test_charts_accept_converted_frames(name: str, conversion: str) -> None:
    rows, lived, convert = two_studies("of one length"), lifecycle("agent", 1, ("study_started", START)), CONVERSIONS[conversion]
    assert named(CHARTS[name](convert(rows), convert(lived)).to_dict()) == named(CHARTS[name](rows, lived).to_dict())


@pytest.mark.parametrize("conversion", CONVERSIONS)
def test_audit_accepts_converted_lifecycle(conversion: str) -> None:
    rows, lived, convert = two_studies("of one length"), lifecycle("agent", 1, ("study_started", START)), CONVERSIONS[conversion]
    assert repr(analysis.audit(StudyData(convert(rows), convert(lived)))) == repr(analysis.audit(StudyData(rows, lived)))


def test_polars_array_column_is_read() -> None:
    rows = two_studies("of one length")
    fixed = rows.with_columns(pl.col("sessions_included").cast(pl.Array(pl.String(), 2)))
    assert repr(analysis.trend(fixed, RATE)) == repr(analysis.trend(rows, RATE))


@pytest.mark.parametrize("values", [[["a"], "b"], [[1, 2], [3]], [{"a": 1}, ["b"]], [3, None]])
def test_column_of_another_type_is_rejected(values: list[Any]) -> None:
    rows = CONVERSIONS["numpy"](two_studies("empty").head(2)).assign(sessions_included=pd.Series(values, dtype="object"))
    with pytest.raises(InvalidInputError) as error:
        analysis.audit(rows)
    assert (error.value.field, error.value.column) == ("checkpoints", "sessions_included")  # type: ignore[attr-defined]
    assert analysis.trend(rows, RATE).only().checkpoints == 2


@pytest.mark.slow
@pytest.mark.parametrize("conversion", ["polars", "object", *CONVERSIONS])
def test_decimal_columns_are_numbers(conversion: str) -> None:
    """In a Polars column, a pandas object column, and an Arrow column."""
    rows = two_studies("empty")
    costs = [None if cost is None else Decimal(str(cost)) for cost in rows["total_cost"]]
    exact = rows.with_columns(total_cost=pl.Series(costs, dtype=pl.Decimal(38, 18)))
    frame: Any = exact
    if conversion == "object":
        frame = rows.to_pandas().assign(total_cost=pd.Series(costs, dtype="object"))
    elif conversion != "polars":
        frame = CONVERSIONS[conversion](exact)
    assert repr(analysis.trend(frame, "total_cost")) == repr(analysis.trend(rows, "total_cost"))


@pytest.mark.parametrize("lists", LISTS)
@pytest.mark.parametrize("conversion", CONVERSIONS)
def test_converted_frames_are_recorded_unchanged(tmp_path: Path, conversion: str, lists: str) -> None:
    columns = [name for name in VALUES if name not in ("study_id", "study", "period_type", "checkpoint_id", "recorded_at")]
    rows = two_studies(lists).head(16)
    with evalkit.connect(tmp_path) as kit:
        kit.start_study(kit.create_study("copy", at=START), at=START)
        assert kit.record_checkpoints("copy", CONVERSIONS[conversion](rows.select(columns))).recorded == 16
        recorded = kit.checkpoints().select(columns)
    expected = rows.select(columns).with_columns(pl.col("sessions_included").fill_null([]), pl.col("events_analyzed").fill_null(0))
    assert recorded.to_dicts() == expected.to_dicts()
