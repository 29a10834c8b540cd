"""Roll checkpoints up to longer periods, so that what comes out is what one checkpoint over the longer period would have measured."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import polars as pl

from evalkit.analysis import _wording
from evalkit.analysis._results import Result
from evalkit.analysis._rollup_rules import SESSION_TIME, Rule, rule_of, session_time
from evalkit.domain.metrics import METRICS, Metric
from evalkit.domain.periods import LONGEST
from evalkit.domain.study import PeriodType
from evalkit.domain.times import MAX_COUNT
from evalkit.domain.validation import invalid, nearest
from evalkit.errors import InvalidInputError
from evalkit.frames.columns import CHECKPOINTS, frame_schema
from evalkit.frames.normalize import MISSING_STUDY, like
from evalkit.frames.study_data import StudyData, study_data

if TYPE_CHECKING:
    import altair as alt

    from evalkit.frames.normalize import FrameLike
    from evalkit.frames.study_data import DataLike

__all__ = ["BEGINNINGS", "RESAMPLED", "Resampled", "resample"]

BEGINNINGS = {
    "daily": "days begin at 00:00 UTC",
    "weekly": "weeks begin on Monday, 00:00 UTC",
    "monthly": "months begin on the 1st, 00:00 UTC",
}
"""The period types that checkpoints can be rolled up to, and where each begins."""
RESAMPLED = {**CHECKPOINTS, "parts": "count", "covered": "rate", "partial": "flag", SESSION_TIME: "duration"}
"""The columns of a resampled frame, with their kinds: those of ``kit.checkpoints()``, and four more."""
_COUNTS = [name for name, kind in RESAMPLED.items() if kind == "count"]
_EVERY = {"daily": "1d", "weekly": "1w", "monthly": "1mo"}
_MOST_NAMED = 3
_TIME = "avg_session_duration"
_REASONS = {"study_id": "text", "study": "text", "period_start": "time", "metric": "text", "reason": "text"}
_RULES = {name: rule_of(metric, exact_durations=True) for name, metric in METRICS.items()}


@dataclass(frozen=True, repr=False, eq=False)
class Resampled(Result):
    """Checkpoints of longer periods.

    Attributes
    ----------
    to
        ``"daily"``, ``"weekly"`` or ``"monthly"``.
    checkpoints
        How many checkpoints were rolled up.
    straddling
        How many of them lie across the start or end of a period. Each counts wholly in the period where its middle lies, but covers no
        other; rolling up in two steps may then cover less than in one.
    overlapping
        In how many of the periods checkpoints overlap each other.
    with_period, without_period
        How many rows had a period, and how many had none and were left out.
    negative
        How many values below 0 were taken as missing.

    Notes
    -----
    ``.frame`` has a row for each study and period that has a checkpoint, by study and time, with the columns and dtypes of
    ``kit.checkpoints()``, so that charts and analyses take it. After these stand `parts` (Int64: how many checkpoints), `covered`
    (Float64: the share of the period, 0 to 1, that they cover), `partial` (whether that is less than all of it) and `session_time`
    (Duration(us): all sessions together; in rolling up again it is what keeps the average session duration exact).
    """

    to: str
    checkpoints: int
    straddling: int
    overlapping: int
    with_period: int
    without_period: int
    negative: int
    _rows: pl.DataFrame
    _given: StudyData

    @cached_property
    def frame(self) -> FrameLike:
        """The checkpoints of the longer periods, in the library (Polars or pandas) of the data."""
        table = self._rows.select(pl.col(name).cast(dtype) for name, dtype in _schema().items())
        return like(self._given.checkpoints, table, RESAMPLED)

    @cached_property
    def data(self) -> StudyData:
        """The same with the lifecycle of the studies, for charts and analyses."""
        return StudyData(self.frame, self._given.lifecycle, studies=self._given.studies)

    @cached_property
    def reasons(self) -> FrameLike:
        """Why values are missing: a table of study_id, study, period_start, metric and reason, a row for each that is."""
        missing = [
            self._rows.filter(pl.col(name).is_null()).select(
                "study_id", "study", "period_start", metric=pl.lit(name), reason=f"{name}|reason"
            )
            for name in METRICS
        ]
        rows = pl.concat(missing).sort("study_id", "period_start", maintain_order=True)
        return like(self._given.checkpoints, rows, _REASONS)

    def sentences(self) -> list[str]:
        """Return what was rolled up, which periods are only partly covered, and what is missing."""
        return _wording.resampled(self, self._rows, BEGINNINGS[self.to])

    def plot(self, metric: str = "session_success_rate") -> alt.LayerChart:
        """Draw one metric of the longer periods over time, as `evalkit.plots.trend` does."""
        from evalkit.plots import trend

        return trend(self.data, metric)


def resample(data: DataLike, to: Literal["daily", "weekly", "monthly"]) -> Resampled:
    """Roll checkpoints up to days, weeks or months, by the roll-up rules of the catalogue.

    The calendar is that of UTC: days begin at 00:00, weeks on Monday, months on the 1st. A period without a checkpoint has no row.

    - **sum** (counts, cost): added; missing where one checkpoint lacks it, for a sum over some is too small, and where a sum of counts
      is above 2^63 - 1.
    - **weighted** (rates and durations with a denominator): Σ denominator x value / Σ denominator. A checkpoint with the denominator 0
      does not count. Missing where a denominator is missing, or a checkpoint with another than 0 lacks the value.
    - **ratio** (cost per successful task): Σ total_cost / Σ (total_cost / cost_per_successful_task). A checkpoint with 0 tasks completed
      has no success and adds its cost. Missing where total cost is, and where a checkpoint with tasks lacks the value: that is "none was
      solved" or "not measured", and nothing tells which. Checkpoints that cost nothing imply no number of successes: they
      combine to 0 with each other, and to missing with others.
    - **none**: missing, since what it is a mean over is not recorded.

    A period with only one checkpoint keeps that one's values. Where periods nest (hours, days, weeks; hours, days, months), rolling up in
    two steps gives what one step gives.

    Parameters
    ----------
    data
        A `StudyData`, a frame as ``kit.checkpoints()`` returns it, Polars or pandas, or a `Resampled`, which is rolled up further. Of the
        columns only the period is needed.
    to
        The longer period.

    Raises
    ------
    InvalidInputError
        When the data has no periods or holds something else, `to` is none of the three, or a study's periods are longer.
    """
    kind = _check_longer(to)
    known = study_data(data)
    read, without_period, negative = _read(known)
    _check_reach(read, kind)
    rows = _placed(read, kind).with_columns(session_time().alias(SESSION_TIME))
    rows = rows.with_columns(group=pl.struct("study_id", "begin").rle_id())
    rolled = _rolled(rows, kind)
    rolled = rolled.with_columns(_reason(metric, present=name in known).alias(f"{name}|reason") for name, metric in METRICS.items())
    return Resampled(
        kind, checkpoints=int(rolled["parts"].sum()), straddling=int(rows["straddles"].sum()), overlapping=int(rolled["overlaps"].sum()),
        with_period=read.height, without_period=without_period, negative=negative, _rows=rolled, _given=known,
    )  # fmt: skip


def _schema() -> dict[str, pl.DataType]:
    dtypes = {**frame_schema({name: kind for name, kind in RESAMPLED.items() if kind != "flag"}), "partial": pl.Boolean()}
    return {name: dtypes[name] for name in RESAMPLED}


def _rolled(rows: pl.DataFrame, to: str) -> pl.DataFrame:
    """Return a row for each study and period: the columns of `RESAMPLED`, and the aggregates that they were made of."""
    aggregates = {name: made for rule in _RULES.values() for name, made in rule.aggregates.items()}
    only = {f"{name}|only": pl.col(name).first() for name in METRICS}
    grouped = rows.group_by("group", maintain_order=True).agg(
        pl.col("study_id").first(), pl.col("study").drop_nulls().last(), pl.col("timestamp").max(), pl.col("recorded_at").max(),
        period_start=pl.col("begin").first(), period_end=pl.col("finish").first(), rows=pl.len(), parts=pl.col("parts").fill_null(1).sum(),
        **aggregates, **only, analyzed=pl.col("events_analyzed").cast(pl.Int128()).sum(), unanalyzed=pl.col("events_analyzed").null_count(),
    )  # fmt: skip
    joined = grouped.join(_covered(rows), on="group", how="left", maintain_order="left")
    joined = joined.join(_sessions(rows), on="group", how="left", maintain_order="left")
    valued = joined.with_columns(_value(name, rule).alias(name) for name, rule in _RULES.items())
    time, gone = pl.col(f"{_TIME}|time"), pl.sum_horizontal(f"{_TIME}|{part}" for part in ("bare", "lack", "lost"))
    return valued.with_columns(
        period_type=pl.lit(to),
        checkpoint_id=pl.format("{}/{}/{}", "study_id", pl.lit(to), pl.col("period_start").dt.strftime("%Y-%m-%d")),
        events_analyzed=pl.when((pl.col("unanalyzed") == 0) & (pl.col("analyzed") <= MAX_COUNT)).then("analyzed"),
        partial=pl.col("covered") < 1,
        **{SESSION_TIME: pl.when((gone == 0) & (time <= MAX_COUNT)).then(time)},
    )


def _value(name: str, rule: Rule) -> pl.Expr:
    only = pl.col(f"{name}|only")
    faulty = pl.any_horizontal(condition for condition, _ in rule.faults)
    value = rule.value
    if METRICS[name].kind == "duration":
        only = only.dt.total_microseconds()
        value = value.round()
    combined = pl.when(~faulty).then(value)
    kind = pl.Int64() if METRICS[name].kind in ("count", "duration") else pl.Float64()
    made = pl.when(pl.col("rows") == 1).then(only.cast(kind)).otherwise(combined.cast(kind))
    return made.cast(pl.Duration("us")) if METRICS[name].kind == "duration" else made


def _reason(metric: Metric, *, present: bool) -> pl.Expr:
    if not present:
        return pl.lit(f"the frame has no column {metric.name}")
    faults = _RULES[metric.name].faults
    # A row that is a roll-up itself lacks the value for a reason of its own, which for these is always the same.
    alone = pl.col("rows") == 1 if metric.rollup != "none" else pl.col("parts") == 1
    known = pl.when(pl.col(metric.name).is_not_null()).then(pl.lit(None, dtype=pl.String()))
    reason = known.when(alone).then(pl.lit("it is missing in its only checkpoint"))
    for condition, text in faults:
        reason = reason.when(condition).then(text)
    return reason


def _sessions(rows: pl.DataFrame) -> pl.DataFrame:
    """Return the sessions of each period in order, each once; missing where one of its checkpoints does not name its own."""
    name = "sessions_included"
    each = rows.lazy().select("group", name).explode(name).unique(maintain_order=True, keep="first").group_by("group")
    named = each.agg(pl.col(name).drop_nulls())
    unnamed = rows.lazy().group_by("group").agg(unnamed=pl.col(name).null_count())
    union = pl.coalesce(name, pl.lit([], dtype=pl.List(pl.String())))
    joined = unnamed.join(named, on="group", how="left")
    return joined.select("group", pl.when(pl.col("unnamed") == 0).then(union).alias(name)).collect()


def _read(data: StudyData) -> tuple[pl.DataFrame, int, int]:
    """Read the checkpoints by study and time, with the columns of `RESAMPLED`; and count the rows without a period and the negative values.

    The period stands in `start`, `end` and its middle `t`; every other column has the dtype of ``kit.checkpoints()``, and is missing
    where the frame has none of that name. NaN, infinity and values below 0 are no measurements, and are missing.

    Raises
    ------
    InvalidInputError
        When it has no periods, or a column holds something else than ``kit.checkpoints()`` gives.
    """
    bounds = ["period_start", "period_end"]
    rows = data.columns(RESAMPLED, bounds, [name for name in RESAMPLED if name not in (*bounds, "partial")])
    rows = rows.rename({"period_start": "start", "period_end": "end"}).with_columns(
        *(_whole(rows[name]) for name in _COUNTS), study_id=pl.coalesce("study_id", "study", pl.lit(MISSING_STUDY))
    )
    there = rows.filter(pl.col("start").is_not_null() & pl.col("end").is_not_null())
    measured = [*METRICS, "events_analyzed"]
    finite = [pl.when(pl.col(name).is_finite()).then(name) for name in (*METRICS, "covered") if there.schema[name].is_float()]
    read = there.with_columns(finite)
    sane = read.with_columns(pl.when(~_negative(name)).then(name).alias(name) for name in measured)
    negative = read.select(pl.sum_horizontal(_negative(name).sum() for name in measured)).item()
    middle = pl.col("start") + (pl.col("end") - pl.col("start")) / 2
    order = ["study_id", "t", "start", "timestamp", "checkpoint_id"]
    return sane.with_columns(t=middle).sort(order, maintain_order=True), rows.height - there.height, int(negative)


def _negative(name: str) -> pl.Expr:
    value = pl.col(name).dt.total_microseconds() if RESAMPLED[name] == "duration" else pl.col(name)
    return value < 0


def _whole(series: pl.Series) -> pl.Series:
    """Return counts that came as floats, as they do where Pandas had some missing, as whole numbers."""
    if not series.dtype.is_float():
        return series
    series = series.set(~series.is_finite(), None)
    if (odd := series.filter(series != series.round())).len():
        raise InvalidInputError(
            f"frame: the column {series.name!r} holds {odd[0]!r}; counts are whole numbers, as kit.checkpoints() gives them.",
            field=series.name, value=odd[0],
        )  # fmt: skip
    return series.cast(pl.Int64(), strict=False)


def _check_longer(to: object) -> str:
    """Check that something is a period type that can be rolled up to."""
    if not isinstance(to, str) or to not in BEGINNINGS:
        hint = f"{nearest(to, BEGINNINGS)} Give one of {', '.join(map(repr, BEGINNINGS))}.".strip()
        raise invalid("to", to, "is no period to roll up to", hint=hint)
    return str(to)


def _check_reach(rows: pl.DataFrame, to: str) -> None:
    """Refuse studies whose periods are longer than those asked for: what was measured over a month cannot be split into weeks.

    Where a study's period type is not in the frame, the middle one of its lengths decides.

    Parameters
    ----------
    rows
        Checkpoints with `study_id`, `study`, `period_type`, `start` and `end`.
    to
        A key of `BEGINNINGS`.
    """
    order = [kind.value for kind in PeriodType]
    ranks = {kind: rank for rank, kind in enumerate(order)}
    length = (pl.col("end") - pl.col("start")).median()
    by_length = (
        sum(
            (length > longest).cast(pl.Int8())
            for longest in (LONGEST[kind] for kind in (PeriodType.DAILY, PeriodType.WEEKLY, PeriodType.MONTHLY))
        )
        + 1
    )
    by_kind = pl.col("period_type").drop_nulls().replace_strict(ranks, default=None, return_dtype=pl.Int8()).max()
    name = pl.coalesce(pl.col("study").drop_nulls().last(), pl.col("study_id").first())
    studies = rows.group_by("study_id", maintain_order=True).agg(name=name, rank=pl.coalesce(by_kind, by_length))
    studies = studies.filter(pl.col("rank") > order.index(to))
    if studies.is_empty():
        return
    names, rank = studies["name"].to_list(), max(studies["rank"].to_list())
    shown = ", ".join(map(repr, names[:_MOST_NAMED])) + (f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else "")
    instead = f"Give {order[rank]!r}, or leave" if rank < len(order) else "Leave"
    raise invalid(
        "to", to, f"is shorter than the periods of {shown}; what was measured over a longer period cannot be split. "
        f"{instead} these studies out of the frame.",
    )  # fmt: skip


def _placed(rows: pl.DataFrame, to: str) -> pl.DataFrame:
    """Return each checkpoint the period of the calendar that its middle lies in: `begin`, `finish`, and whether it `straddles` one.

    Parameters
    ----------
    rows
        Checkpoints with `t` (the middle), `start` and `end`.
    to
        A key of `BEGINNINGS`.
    """
    begin = pl.col("t").dt.truncate(_EVERY[to])
    in_period = rows.with_columns(begin=begin, finish=begin.dt.offset_by(_EVERY[to]))
    return in_period.with_columns(straddles=(pl.col("start") < pl.col("begin")) | (pl.col("end") > pl.col("finish")))


def _covered(rows: pl.DataFrame) -> pl.DataFrame:
    """Return how much of each calendar period its checkpoints cover: `group`, `covered` (0 to 1), and whether any `overlaps` another.

    Time that two checkpoints cover counts once. Of a checkpoint that is itself a roll-up counts the share that it covers.

    Parameters
    ----------
    rows
        Checkpoints with `group` (of a period), `start`, `end`, `begin`, `finish` and `covered` (their own share, missing for all of it).
    """
    from_, until = pl.max_horizontal("start", "begin"), pl.min_horizontal("end", "finish")
    seen = until.cum_max().shift(1).over("group")
    new = (until - pl.max_horizontal(from_, seen)).dt.total_microseconds().clip(0)
    # Shares of whole microseconds are whole again: so two roll-ups cover exactly what one does.
    part = (new * pl.col("covered").fill_null(1.0).clip(0, 1)).round().cast(pl.Int64())
    length = (pl.col("finish") - pl.col("begin")).dt.total_microseconds().first()
    ordered = rows.select("group", "start", "end", "begin", "finish", "covered").sort("group", "start", maintain_order=True)
    grouped = ordered.with_columns(part=part, overlaps=seen > from_).group_by("group", maintain_order=True)
    return grouped.agg(pl.col("overlaps").any(), covered=pl.col("part").sum() / length)
