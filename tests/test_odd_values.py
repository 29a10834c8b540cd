"""Odd values of NumPy, pandas, Polars and the standard library: a command records them, or its error names the field and the row."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import evalkit
from evalkit import METRICS, EvalKit, InvalidInputError
from evalkit.domain.commands import CHECKPOINT_COLUMNS
from tests.properties import examples

DAY = datetime(2026, 1, 1, tzinfo=UTC)
NEXT = DAY + timedelta(days=1)
ROW = {"period_start": DAY, "period_end": NEXT}
YEAR_12000 = pd.Timestamp(np.datetime64("12000-01-01", "s")).tz_localize("UTC")
RATES = [name for name, metric in METRICS.items() if metric.kind == "rate"]
COUNTS = [name for name, metric in METRICS.items() if metric.kind == "count"]


class Model(str, Enum):  # noqa: UP042 - the str() of a StrEnum is its text
    """An enumeration whose str() is not its value."""

    SMALL = "m-1"


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EvalKit]:
    """A kit with a running study to record in."""
    with evalkit.connect(tmp_path_factory.mktemp("odd") / "home") as kit:
        kit.create_study("running")
        kit.start_study("running")
        yield kit


# --- periods ----------------------------------------------------------------------------------------------------------------------------

PERIODS = [
    (pd.NaT, pd.NaT),
    (float("nan"), float("nan")),
    (pd.NA, pd.NA),
    (np.datetime64("NaT"), np.datetime64("NaT")),
    (pd.Series([DAY, NEXT]), pd.Series([DAY, NEXT])),
    (pl.Series([DAY, NEXT]), pl.Series([DAY, NEXT])),
    (np.array([1, 2]), np.array([1, 2])),
    (YEAR_12000, YEAR_12000),
    {"start": pd.NaT, "end": pd.NaT},
]


@pytest.mark.parametrize("period", PERIODS, ids=lambda period: str(type(next(iter(period)))))
@pytest.mark.parametrize("bounds", [{}, ROW], ids=["alone", "beside its bounds"])
def test_period_of_missing_values_is_rejected(kit: EvalKit, period: Any, bounds: dict[str, Any]) -> None:
    """Also next to period_start and period_end."""
    metrics = {**bounds, "period": period}
    with pytest.raises(InvalidInputError) as error:
        kit.record_checkpoint("running", metrics)
    assert (error.value.field, error.value.row) == ("period_start", None)
    with pytest.raises(InvalidInputError) as error:
        kit.record_checkpoints("running", [ROW, metrics])
    assert (error.value.field, error.value.row) == ("period_start", 1)


@pytest.mark.parametrize("period", [pd.Series([DAY, NEXT]), pl.Series([DAY, NEXT]), np.array([DAY, NEXT]), np.array(5), pd.NA])
def test_period_that_is_not_a_pair_is_rejected(kit: EvalKit, period: Any) -> None:
    with pytest.raises(InvalidInputError) as error:
        kit.record_checkpoints("running", [ROW, {"period": period}])
    assert (error.value.field, error.value.row) == ("period", 1)


def test_period_may_repeat_its_bounds(kit: EvalKit) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert (
            kit.record_checkpoint("running", {**ROW, "period": ("2026-01-01T01:00:00+01:00", pd.Timestamp(NEXT))}).metrics.period.start
            == DAY
        )
    with pytest.raises(InvalidInputError) as error:
        kit.record_checkpoint("running", {**ROW, "period": (DAY, NEXT + timedelta(days=1))})
    assert error.value.field == "period"


# --- numbers ----------------------------------------------------------------------------------------------------------------------------

FRAMES: dict[str, Callable[[str, Any], Any]] = {
    "rows": lambda name, value: [{**ROW, name: value}],
    "pandas object": lambda name, value: pd.DataFrame(
        {**{key: [time] for key, time in ROW.items()}, name: pd.Series([value], dtype=object)}
    ),
    "polars decimal": lambda name, value: pl.DataFrame({**ROW, name: [value]}, schema_overrides={name: pl.Decimal(20, 2)}),
    "polars object": lambda name, value: pl.DataFrame({**ROW, name: [value]}, schema_overrides={name: pl.Object}),
}


def arrow(name: str, value: Any) -> pd.DataFrame:
    pyarrow = pytest.importorskip("pyarrow")
    column = pd.Series([value], dtype=pd.ArrowDtype(pyarrow.decimal128(20, 2)))
    return pd.DataFrame({**{key: [time] for key, time in ROW.items()}, name: column})


@pytest.mark.parametrize("make", [*FRAMES.values(), arrow], ids=[*FRAMES, "arrow decimal"])
@pytest.mark.parametrize(
    ("name", "value"), [("session_success_rate", "0.10"), ("total_cost", "12.34"), ("avg_session_duration", "1.5"), ("total_tokens", "5")]
)
def test_decimal_is_recorded_as_number(kit: EvalKit, make: Callable[[str, Any], Any], name: str, value: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        (recorded,) = kit.record_checkpoints("running", make(name, Decimal(value))).checkpoint_ids
    measured = kit.checkpoints().filter(pl.col("checkpoint_id") == recorded)[name].item()
    assert (measured.total_seconds() if isinstance(measured, timedelta) else measured) == float(value)


@pytest.mark.parametrize("value", ["NaN", "sNaN", "Infinity", "-Infinity", "1E+1000000"])
@pytest.mark.parametrize("name", [name for name in METRICS if name not in COUNTS])
def test_decimal_that_is_not_finite_is_rejected(kit: EvalKit, name: str, value: str) -> None:
    for metric in (name, "total_tokens"):
        with pytest.raises(InvalidInputError) as error:
            kit.record_checkpoints("running", [{**ROW, metric: Decimal(value)}])
        assert (error.value.field, error.value.row) == (metric, 0)


DUST = [
    (1.0000000000000002, 1.0), (np.float32(1.0000001), 1.0), (1.0000001, 1.0), (Decimal("1.0000001"), 1.0), (-1e-9, 0.0), (np.float32(-1e-7), 0.0),
]  # fmt: skip


@pytest.mark.parametrize(("value", "bound"), DUST)
@pytest.mark.parametrize("name", RATES)
def test_rates_are_clipped_within_rounding_error(kit: EvalKit, name: str, value: Any, bound: float) -> None:
    """Within 1e-6, a float32 rounding error."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        recorded = getattr(kit.record_checkpoint("running", {"period": (DAY, NEXT), name: value}).metrics, name)
    assert (type(recorded), recorded) == (float, bound)


@pytest.mark.parametrize("value", [1.00001, -1e-5, np.float32(1.00001)])
@pytest.mark.parametrize("name", RATES)
def test_rates_outside_rounding_error_are_rejected(kit: EvalKit, name: str, value: Any) -> None:
    with pytest.raises(InvalidInputError) as error:
        kit.record_checkpoint("running", {"period": (DAY, NEXT), name: value})
    assert error.value.field == name


def test_negative_amounts_are_rejected(kit: EvalKit) -> None:
    with pytest.raises(InvalidInputError) as error:
        kit.record_checkpoint("running", {"period": (DAY, NEXT), "total_cost": -1e-9})
    assert (error.value.field, error.value.value) == ("total_cost", -1e-9)


def test_duration_beyond_numpy_range_is_rejected(kit: EvalKit) -> None:
    """NumPy's conversion to nanoseconds overflows without an error."""
    with pytest.raises(InvalidInputError) as error:
        kit.record_checkpoint("running", {"period": (DAY, NEXT), "avg_session_duration": np.timedelta64(2**62, "D")})
    assert error.value.field == "avg_session_duration"


def test_string_enumeration_is_recorded_as_value(kit: EvalKit) -> None:
    study = kit.create_study("enumeration", tags=[Model.SMALL], metadata={"model": Model.SMALL})
    assert (study.config.tags, study.config.metadata) == (["m-1"], {"model": "m-1"})


# --- any odd value in any field -----------------------------------------------------------------------------------------------------------

ODD = [
    None, pd.NA, pd.NaT, np.datetime64("NaT"), np.timedelta64("NaT"), float("nan"), float("inf"), -float("inf"), np.float32("nan"), True, np.True_,
    0, -1, 10**5000, 2**63, np.int64(5), np.uint64(2**64 - 1), np.float32(0.5), np.float16(5), np.longdouble("1e400"), 1j, np.complex64(1), -0.0,
    np.array(5), np.array(0.5), np.array("a"), np.array([]), np.array([0.5, 0.5]), np.array([1, 2]), np.array([["a"]]), pd.Series([1, 2]),
    pl.Series(["a", None]), pl.DataFrame({"a": [1]}), pd.DataFrame({"a": [1]}), pl.col("a"), pl.LazyFrame(), pd.Index(["a"]),
    Decimal("0.5"), Decimal(5), Decimal("NaN"), Decimal("sNaN"), Decimal("-Infinity"), Decimal("1E+1000000000"), Decimal("1E-1000"),
    Fraction(1, 2), Fraction(10**400), Fraction(10**5000, 3), timedelta(1), timedelta.max, -timedelta(1), pd.Timedelta(5), np.timedelta64(1, "Y"),
    np.timedelta64(5, "fs"), np.timedelta64(5, "h"), np.timedelta64(2**62, "D"), pd.Timedelta(np.timedelta64(2**60, "s")), date(2026, 1, 1), time(), DAY,
    DAY.replace(tzinfo=None), datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC), pd.Timestamp(DAY), pd.Timestamp.max, YEAR_12000,
    np.datetime64("2026-01-01"), pd.Period("2026-01"), pd.Interval(0, 1), "", " ", "a", "\ud800", "nan", "0.5", "5", "daily", "weekly:" + "9" * 5000, "weekly:²",
    "2026-01-01T00:00:00Z", "9999-12-31T23:59:59-23:59", np.str_("a"), b"a", Model.SMALL, [], [1, 2], [1, np.int64(2)], (1, 2), (pd.NA, pd.NA),
    ("weekly", 10**5000), ("weekly", np.int64(2)), (pl.Series([1]), 2), [pd.NA], ["a"], ["a", np.str_("b")], {"a"}, {"a": "b"}, {"a": pd.NA}, {pd.NA: "a"},
    {"start": DAY, "end": pd.NA}, object(), len, int,
]  # fmt: skip
FIELDS = [*CHECKPOINT_COLUMNS, "period"]
PARAMETERS = ["timestamp", "events_analyzed", "sessions_included", "key", "at"]
STUDY = ["name", "period", "description", "tags", "metadata", "at", "if_exists"]
ALSO = {"period": ("period_start", "period_end"), "period_start": ("period_end",), "metadata": ("metadata key", "metadata[")}
"""Other fields that an error may name: a part of the field, or a field that it is compared with."""


def error_of(command: Callable[[], object]) -> InvalidInputError | None:
    """Return the InvalidInputError of a command, or None if it succeeds."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            command()
        except InvalidInputError as error:
            return error
    return None


def check(error: InvalidInputError | None, field: str, row: int | None = None) -> None:
    if error is not None:
        assert error.field.startswith((field, *ALSO.get(field, ()))), error
        assert error.field in str(error)
        assert error.row == row
        assert error.__cause__ is None


def rows_with(field: Any, value: Any) -> list[dict[Any, Any]]:
    """Return two rows, the second with the value."""
    return [ROW, {field: value} if isinstance(field, str) and field == "period" else {**ROW, field: value}]


def frame_with(field: str, value: Any) -> pd.DataFrame:
    """Return the same rows as a frame of object columns."""
    columns = {name: pd.Series([time, time], dtype=object) for name, time in ROW.items()}
    columns.setdefault(field, pd.Series([None, None], dtype=object)).iat[1] = value
    return pd.DataFrame(columns)


@pytest.mark.slow
@settings(max_examples=examples(1000))
@given(value=st.sampled_from(ODD), field=st.sampled_from(FIELDS), parameter=st.sampled_from(PARAMETERS), of_study=st.sampled_from(STUDY))
def test_any_odd_value_is_recorded_or_rejected(kit: EvalKit, value: Any, field: str, parameter: str, of_study: str) -> None:
    """In every field; for a list or frame, the error has the row."""
    check(error_of(lambda: kit.record_checkpoint("running", rows_with(field, value)[1])), field)
    check(error_of(lambda: kit.record_checkpoints("running", rows_with(field, value))), field, row=1)
    if field != "period":
        check(error_of(lambda: kit.record_checkpoints("running", frame_with(field, value))), field, row=1)
    check(error_of(lambda: kit.record_checkpoint("running", ROW, **{parameter: value})), parameter)
    check(error_of(lambda: kit.create_study(**{"name": "odd", "if_exists": "open", of_study: value})), of_study)


@pytest.mark.parametrize(
    "name",
    [pd.NA, pd.NaT, 10**5000, YEAR_12000, ("a", "b"), b"total_cost", None, np.datetime64("2026-01-01")],
    ids=lambda name: type(name).__name__,
)
def test_metric_name_that_is_not_a_string_is_rejected(kit: EvalKit, name: Any) -> None:
    """Frames whose header is a row of values have such names."""
    for command, row in (
        (lambda: kit.record_checkpoint("running", {**ROW, name: 1}), None),
        (lambda: kit.record_checkpoints("running", rows_with(name, 1)), 1),
    ):
        with pytest.raises(InvalidInputError) as error:
            command()
        assert error.value.row == row
    frame = pd.DataFrame([[DAY, NEXT, 1]], columns=pd.Index([*ROW, name], dtype=object, tupleize_cols=False))
    with pytest.raises(InvalidInputError):
        kit.record_checkpoints("running", frame)


def test_frame_without_known_columns_is_rejected(kit: EvalKit) -> None:
    with pytest.raises(InvalidInputError) as error:
        kit.record_checkpoints("running", pd.DataFrame({"study": ["running"]}))
    assert (error.value.field, error.value.row) == ("period_start", 0)
