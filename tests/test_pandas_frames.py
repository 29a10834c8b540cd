"""Frames that Polars' own `to_pandas` made, with NumPy or Arrow columns, are read as the frame they come from."""

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
from evalkit.frames.columns import CHECKPOINTS
from evalkit.frames.normalize import read_columns
from tests.chart_frames import DAY, START, checkpoints, lifecycle
from tests.test_plots import named

pytest.importorskip("pyarrow")  # what `polars.DataFrame.to_pandas` needs; evalkit does not

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
    """Two studies of 16 days, with a value missing of each kind, and these lists of sessions."""
    rows = pl.concat([checkpoints("agent", 1, 16), checkpoints("base", 2, 16, seed=2)])
    sessions = pl.Series("sessions_included", [LISTS[lists](index) for index in range(rows.height)], dtype=pl.List(pl.String()))
    gone = [pl.when(pl.int_range(pl.len()) != 3).then(name).alias(name) for name in ("avg_session_duration", "total_tokens", "total_cost")]
    return rows.with_columns(sessions, *gone)


@pytest.mark.parametrize("lists", LISTS)
@pytest.mark.parametrize("conversion", CONVERSIONS)
def test_lists_of_every_kind_are_read(conversion: str, lists: str) -> None:
    """The list column is an object column of arrays, or one of Arrow lists."""
    rows = two_studies(lists)
    assert read_columns(CONVERSIONS[conversion](rows), CHECKPOINTS, list(CHECKPOINTS), []).equals(
        read_columns(rows, CHECKPOINTS, list(CHECKPOINTS), [])
    )


@pytest.mark.slow
@pytest.mark.parametrize("conversion", CONVERSIONS)
@pytest.mark.parametrize("name", ANALYSES)
def test_every_analysis_reads_what_polars_made_for_pandas(name: str, conversion: str) -> None:
    """The same result as from the Polars frame."""
    rows = two_studies("of one length")
    assert repr(ANALYSES[name](CONVERSIONS[conversion](rows))) == repr(ANALYSES[name](rows))


@pytest.mark.slow
@pytest.mark.parametrize("conversion", CONVERSIONS)
@pytest.mark.parametrize("name", CHARTS)
def test_every_chart_reads_what_polars_made_for_pandas(name: str, conversion: str) -> None:
    """The same specification as from the Polars frame."""
    rows, lived, convert = two_studies("of one length"), lifecycle("agent", 1, ("study_started", START)), CONVERSIONS[conversion]
    assert named(CHARTS[name](convert(rows), convert(lived)).to_dict()) == named(CHARTS[name](rows, lived).to_dict())


@pytest.mark.parametrize("conversion", CONVERSIONS)
def test_an_audit_reads_a_lifecycle_that_polars_made_for_pandas(conversion: str) -> None:
    """Beside the checkpoints, both converted."""
    rows, lived, convert = two_studies("of one length"), lifecycle("agent", 1, ("study_started", START)), CONVERSIONS[conversion]
    assert repr(analysis.audit(StudyData(convert(rows), convert(lived)))) == repr(analysis.audit(StudyData(rows, lived)))


def test_a_polars_column_of_lists_of_one_length_is_read() -> None:
    """As files of other programs hold it."""
    rows = two_studies("of one length")
    fixed = rows.with_columns(pl.col("sessions_included").cast(pl.Array(pl.String(), 2)))
    assert repr(analysis.trend(fixed, RATE)) == repr(analysis.trend(rows, RATE))


@pytest.mark.parametrize("values", [[["a"], "b"], [[1, 2], [3]], [{"a": 1}, ["b"]], [3, None]])
def test_a_column_of_something_else_is_refused_by_name(values: list[Any]) -> None:
    """The message names the column and says what is needed."""
    rows = CONVERSIONS["numpy"](two_studies("empty").head(2)).assign(sessions_included=pd.Series(values, dtype="object"))
    with pytest.raises(InvalidInputError, match="column 'sessions_included' holds"):
        analysis.audit(rows)
    assert analysis.trend(rows, RATE).only().checkpoints == 2


@pytest.mark.slow
@pytest.mark.parametrize("conversion", ["polars", "object", *CONVERSIONS])
def test_decimals_are_numbers(conversion: str) -> None:
    """In a Polars column, a Pandas column of objects, and an Arrow column."""
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
def test_what_polars_made_for_pandas_is_recorded_as_it_was(tmp_path: Path, conversion: str, lists: str) -> None:
    """Every column comes back from another study as it was, lists and missing values included."""
    columns = [name for name in CHECKPOINTS if name not in ("study_id", "study", "period_type", "checkpoint_id", "recorded_at")]
    rows = two_studies(lists).head(16)
    with evalkit.connect(tmp_path) as kit:
        kit.start_study(kit.create_study("copy", at=START), at=START)
        assert kit.record_checkpoints("copy", CONVERSIONS[conversion](rows.select(columns))).recorded == 16
        recorded = kit.checkpoints().select(columns)
    expected = rows.select(columns).with_columns(pl.col("sessions_included").fill_null([]), pl.col("events_analyzed").fill_null(0))
    assert recorded.to_dicts() == expected.to_dicts()
