"""Odd values of NumPy, Pandas, Polars and the standard library: a command records them, or refuses them and names the field and the row."""

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
    """A text that is not its own str()."""

    SMALL = "m-1"


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EvalKit]:
    """A kit with a running study that each test records in."""
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
def test_a_period_of_missing_values_is_refused_by_name_and_row(kit: EvalKit, period: Any, bounds: dict[str, Any]) -> None:
    """Also where the same mapping has period_start and period_end, with which the period is compared."""
    given = {**bounds, "period": period}
    with pytest.raises(InvalidInputError, match=r"^Invalid period_start ") as raised:
        kit.record_checkpoint("running", given)
    assert (raised.value.field, raised.value.row) == ("period_start", None)
    with pytest.raises(InvalidInputError, match=r"^row 1, Invalid period_start ") as raised:
        kit.record_checkpoints("running", [ROW, given])
    assert (raised.value.field, raised.value.row) == ("period_start", 1)


@pytest.mark.parametrize("period", [pd.Series([DAY, NEXT]), pl.Series([DAY, NEXT]), np.array([DAY, NEXT]), np.array(5), pd.NA])
def test_a_period_that_is_not_a_pair_is_refused_by_name_and_row(kit: EvalKit, period: Any) -> None:
    """A Series is not a pair, whatever it holds."""
    with pytest.raises(InvalidInputError, match=r"^row 1, Invalid period "):
        kit.record_checkpoints("running", [ROW, {"period": period}])


def test_a_period_may_repeat_its_bounds_in_another_form(kit: EvalKit) -> None:
    """The same times are no contradiction; other times are."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert (
            kit.record_checkpoint("running", {**ROW, "period": ("2026-01-01T01:00:00+01:00", pd.Timestamp(NEXT))}).metrics.period.start
            == DAY
        )
    with pytest.raises(InvalidInputError, match=r"^period: .* contradicts period_end"):
        kit.record_checkpoint("running", {**ROW, "period": (DAY, NEXT + timedelta(days=1))})


# --- numbers ----------------------------------------------------------------------------------------------------------------------------

FRAMES: dict[str, Callable[[str, Any], Any]] = {
    "rows": lambda name, value: [{**ROW, name: value}],
    "pandas object": lambda name, value: pd.DataFrame({**{key: [one] for key, one in ROW.items()}, name: pd.Series([value], dtype=object)}),
    "polars decimal": lambda name, value: pl.DataFrame({**ROW, name: [value]}, schema_overrides={name: pl.Decimal(20, 2)}),
    "polars object": lambda name, value: pl.DataFrame({**ROW, name: [value]}, schema_overrides={name: pl.Object}),
}


def arrow(name: str, value: Any) -> pd.DataFrame:
    pyarrow = pytest.importorskip("pyarrow")
    column = pd.Series([value], dtype=pd.ArrowDtype(pyarrow.decimal128(20, 2)))
    return pd.DataFrame({**{key: [one] for key, one in ROW.items()}, name: column})


@pytest.mark.parametrize("make", [*FRAMES.values(), arrow], ids=[*FRAMES, "arrow decimal"])
@pytest.mark.parametrize(
    ("name", "value"), [("session_success_rate", "0.10"), ("total_cost", "12.34"), ("avg_session_duration", "1.5"), ("total_tokens", "5")]
)
def test_a_decimal_is_a_number(kit: EvalKit, make: Callable[[str, Any], Any], name: str, value: str) -> None:
    """A Decimal of the standard library, Polars or Arrow is recorded as the number that it is."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        (recorded,) = kit.record_checkpoints("running", make(name, Decimal(value))).checkpoint_ids
    measured = kit.checkpoints().filter(pl.col("checkpoint_id") == recorded)[name].item()
    assert (measured.total_seconds() if isinstance(measured, timedelta) else measured) == float(value)


@pytest.mark.parametrize("value", ["NaN", "sNaN", "Infinity", "-Infinity", "1E+1000000"])
@pytest.mark.parametrize("name", [name for name in METRICS if name not in COUNTS])
def test_a_decimal_that_is_not_finite_is_refused(kit: EvalKit, name: str, value: str) -> None:
    """It is refused as a float that is not finite is, and so is a count of it."""
    with pytest.raises(InvalidInputError, match=rf"^row 0, {name}: Decimal\('{value.replace('+', r'[+]')}'\) is not finite"):
        kit.record_checkpoints("running", [{**ROW, name: Decimal(value)}])
    with pytest.raises(InvalidInputError, match=r"^row 0, total_tokens: .* is no whole number"):
        kit.record_checkpoints("running", [{**ROW, "total_tokens": Decimal(value)}])


DUST = [
    (1.0000000000000002, 1.0), (np.float32(1.0000001), 1.0), (1.0000001, 1.0), (Decimal("1.0000001"), 1.0), (-1e-9, 0.0), (np.float32(-1e-7), 0.0),
]  # fmt: skip


@pytest.mark.parametrize(("value", "bound"), DUST)
@pytest.mark.parametrize("name", RATES)
def test_rounding_dust_at_the_bounds_of_a_rate_is_the_bound(kit: EvalKit, name: str, value: Any, bound: float) -> None:
    """Within 1e-6, which float32 arithmetic can add."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        recorded = getattr(kit.record_checkpoint("running", {"period": (DAY, NEXT), name: value}).metrics, name)
    assert (type(recorded), recorded) == (float, bound)


@pytest.mark.parametrize("value", [1.00001, -1e-5, np.float32(1.00001)])
@pytest.mark.parametrize("name", RATES)
def test_what_is_further_outside_a_rate_is_refused(kit: EvalKit, name: str, value: Any) -> None:
    """More than rounding is a mistake."""
    with pytest.raises(InvalidInputError, match=rf"^{name}: .* outside the range 0 to 1"):
        kit.record_checkpoint("running", {"period": (DAY, NEXT), name: value})


def test_rounding_dust_below_an_amount_is_refused(kit: EvalKit) -> None:
    """Only rates have bounds that rounding can reach from the inside."""
    with pytest.raises(InvalidInputError, match=r"^total_cost: -1e-09 is outside the range"):
        kit.record_checkpoint("running", {"period": (DAY, NEXT), "total_cost": -1e-9})


def test_a_duration_beyond_what_numpy_can_convert_is_refused(kit: EvalKit) -> None:
    """Nothing is recorded in its stead: NumPy's conversion to nanoseconds overflows without an error."""
    with pytest.raises(InvalidInputError, match=r"^avg_session_duration: .* is out of range"):
        kit.record_checkpoint("running", {"period": (DAY, NEXT), "avg_session_duration": np.timedelta64(2**62, "D")})


def test_a_member_of_an_enumeration_of_texts_is_its_text(kit: EvalKit) -> None:
    """Not its name, which str() gives."""
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
"""Fields that an error may name where a value was given for another one: a part of it, or what it is compared with."""


def refused(command: Callable[[], object]) -> InvalidInputError | None:
    """The error of a command that must raise this one or none."""
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
    """Two rows, the second of which has this value."""
    return [ROW, {field: value} if isinstance(field, str) and field == "period" else {**ROW, field: value}]


def frame_with(field: str, value: Any) -> pd.DataFrame:
    """The same as a frame with columns of objects."""
    columns = {name: pd.Series([one, one], dtype=object) for name, one in ROW.items()}
    columns.setdefault(field, pd.Series([None, None], dtype=object)).iat[1] = value
    return pd.DataFrame(columns)


@pytest.mark.slow
@settings(max_examples=examples(1000))
@given(value=st.sampled_from(ODD), field=st.sampled_from(FIELDS), parameter=st.sampled_from(PARAMETERS), of_study=st.sampled_from(STUDY))
def test_any_odd_value_is_recorded_or_refused_by_name(kit: EvalKit, value: Any, field: str, parameter: str, of_study: str) -> None:
    """In every field of the commands that take values; of a list of rows and a frame the error names the row as well."""
    check(refused(lambda: kit.record_checkpoint("running", rows_with(field, value)[1])), field)
    check(refused(lambda: kit.record_checkpoints("running", rows_with(field, value))), field, row=1)
    if field != "period":
        check(refused(lambda: kit.record_checkpoints("running", frame_with(field, value))), field, row=1)
    check(refused(lambda: kit.record_checkpoint("running", ROW, **{parameter: value})), parameter)
    check(refused(lambda: kit.create_study(**{"name": "odd", "if_exists": "open", of_study: value})), of_study)


@pytest.mark.parametrize(
    "name",
    [pd.NA, pd.NaT, 10**5000, YEAR_12000, ("a", "b"), b"total_cost", None, np.datetime64("2026-01-01")],
    ids=lambda name: type(name).__name__,
)
def test_a_name_that_is_not_text_is_an_unknown_metric(kit: EvalKit, name: Any) -> None:
    """Such names come from frames whose header is a row of values."""
    for command, row in (
        (lambda: kit.record_checkpoint("running", {**ROW, name: 1}), None),
        (lambda: kit.record_checkpoints("running", rows_with(name, 1)), 1),
    ):
        with pytest.raises(InvalidInputError, match="is no metric") as raised:
            command()
        assert raised.value.row == row
    frame = pd.DataFrame([[DAY, NEXT, 1]], columns=pd.Index([*ROW, name], dtype=object, tupleize_cols=False))
    with pytest.raises(InvalidInputError, match="is no metric"):
        kit.record_checkpoints("running", frame)


def test_a_pandas_frame_without_a_known_column_is_refused(kit: EvalKit) -> None:
    """Its rows lack their periods."""
    with pytest.raises(InvalidInputError, match=r"^row 0, period_start is missing"):
        kit.record_checkpoints("running", pd.DataFrame({"study": ["running"]}))
