"""Roll checkpoints up to longer periods, so that what comes out is what one checkpoint over the longer period would have measured."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import polars as pl

from evalkit.analysis._given import checkpoints_of
from evalkit.analysis._resample_calendar import BEGINNINGS, check_longer, check_reach, covered, placed
from evalkit.analysis._resample_parts import RESAMPLED, read_parts
from evalkit.analysis._result import Result, like
from evalkit.analysis._rollup_rules import SESSION_TIME, Rule, rule_of, session_time
from evalkit.domain.metrics import METRICS, Metric
from evalkit.domain.times import MAX_COUNT
from evalkit.frames.columns import frame_schema
from evalkit.plots import trend
from evalkit.plots._words import plural

__all__ = ["Resampled", "resample"]

_TIME = "avg_session_duration"
_REASONS = {"study_id": "text", "study": "text", "period_start": "time", "metric": "text", "reason": "text"}
_RULES = {name: rule_of(metric, exact_durations=True) for name, metric in METRICS.items()}


@dataclass(frozen=True, repr=False, eq=False)
class Resampled(Result):
    """Checkpoints of longer periods.

    Attributes
    ----------
    frame
        A row for each study and period that has a checkpoint, by study and time, with the columns and dtypes of ``kit.checkpoints()``,
        so that charts and analyses take it. After these stand `parts` (Int64: how many checkpoints), `covered` (Float64: the share of
        the period, 0 to 1, that they cover), `partial` (whether that is less than all of it) and `session_time` (Duration(us): all
        sessions together; in rolling up again it is what keeps the average session duration exact).
    to
        ``"daily"``, ``"weekly"`` or ``"monthly"``.
    checkpoints
        How many checkpoints were rolled up.
    straddling
        How many of them lie across the start or end of a period. Each counts wholly in the period where its middle lies, but covers no
        other; rolling up in two steps may then cover less than in one.
    overlapping
        In how many of the periods checkpoints overlap each other.
    """

    frame: Any
    to: str
    checkpoints: int
    straddling: int
    overlapping: int
    _rows: pl.DataFrame
    _notes: list[str]

    @cached_property
    def reasons(self) -> Any:
        """Why values are missing: a table of study_id, study, period_start, metric and reason, a row for each that is."""
        told = [
            self._rows.filter(pl.col(name).is_null()).select(
                "study_id", "study", "period_start", metric=pl.lit(name), reason=f"{name}|reason"
            )
            for name in METRICS
        ]
        return like(self.frame, pl.concat(told).sort("study_id", "period_start", maintain_order=True), _REASONS)

    def sentences(self) -> list[str]:
        """Say what was rolled up, which periods are only partly covered, and what is missing."""
        rows, periods = self._rows, self._rows.height
        if not periods:
            return [f"Nothing to resample to {self.to} periods: no checkpoints.", *self._notes]
        studies = plural(rows["study_id"].n_unique(), "study", "studies")
        told = [
            f"Resampled {plural(self.checkpoints, 'checkpoint')} of {studies} to {plural(periods, self.to + ' period')} "
            f"({BEGINNINGS[self.to]}): counts and cost are added, rates and durations weighted by what they count, and cost per "
            "successful task is total cost over the successes that it implies."
        ]
        if partial := int(rows["partial"].sum()):
            least = math.floor(float(rows.select(pl.col("covered").min()).item()) * 1000) / 10
            which = f"{partial:,} of {plural(periods, 'period')}, the least to" if periods > 1 else "the only period, to"
            told.append(f"Only partly covered by checkpoints: {which} {least:.1f} %; sums there are those of a part.")
        told += [*self._on_missing(), *self._notes]
        if self.straddling:
            told.append(f"Across the boundary of a period: {plural(self.straddling, 'checkpoint')}, counted wholly where the middle lies.")
        if self.overlapping:
            told.append(f"With checkpoints that overlap: {plural(self.overlapping, 'period')}; what two of them measured is counted twice.")
        return told

    def _on_missing(self) -> list[str]:
        gone = {name: count for name in METRICS if (count := self._rows[name].null_count())}
        if not gone:
            return []
        everywhere = [METRICS[name].label for name, count in gone.items() if count == self._rows.height]
        somewhere = [f"{METRICS[name].label} ({count:,})" for name, count in gone.items() if count < self._rows.height]
        parts = [f"in every period {', '.join(everywhere)}"] if everywhere else []
        parts += [f"in some {', '.join(somewhere)}"] if somewhere else []
        return [f"Missing {'; '.join(parts)}. The table .reasons says why, for each period."]

    def plot(self, metric: str = "session_success_rate") -> Any:
        """Draw one metric of the longer periods over time, as `evalkit.plots.trend` does."""
        return trend(self.frame, metric)


def resample(frame: Any, to: Literal["daily", "weekly", "monthly"]) -> Resampled:
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
    frame
        As ``kit.checkpoints()`` gives it, Polars or Pandas; or ``(kit.checkpoints(), kit.lifecycle())``, or a result that has such a
        frame. Of the columns only the period is needed. A `Resampled` or its frame is rolled up further.
    to
        The longer period.

    Raises
    ------
    InvalidInputError
        When the frame is none, has no periods or holds something else, `to` is none of the three, or a study's periods are longer.
    """
    to_kind = check_longer(to)
    given = checkpoints_of(frame)
    read, notes = read_parts(given)
    check_reach(read, to_kind)
    rows = placed(read, to_kind).with_columns(session_time().alias(SESSION_TIME))
    rows = rows.with_columns(group=pl.struct("study_id", "begin").rle_id())
    rolled = _rolled(rows, to_kind)
    columns = [str(name) for name in given.columns]
    rolled = rolled.with_columns(_reason(metric, present=name in columns).alias(f"{name}|reason") for name, metric in METRICS.items())
    table = rolled.select(pl.col(name).cast(dtype) for name, dtype in _schema().items())
    return Resampled(
        like(given, table, RESAMPLED), to_kind, checkpoints=int(rolled["parts"].sum()), straddling=int(rows["straddles"].sum()),
        overlapping=int(rolled["overlaps"].sum()), _rows=rolled, _notes=notes,
    )  # fmt: skip


def _schema() -> dict[str, pl.DataType]:
    dtypes = {**frame_schema({name: kind for name, kind in RESAMPLED.items() if kind != "flag"}), "partial": pl.Boolean()}
    return {name: dtypes[name] for name in RESAMPLED}


def _rolled(rows: pl.DataFrame, to: str) -> pl.DataFrame:
    """Give a row for each study and period: the columns of `RESAMPLED`, and the aggregates that they were made of."""
    aggregates = {name: made for rule in _RULES.values() for name, made in rule.aggregates.items()}
    only = {f"{name}|only": pl.col(name).first() for name in METRICS}
    grouped = rows.group_by("group", maintain_order=True).agg(
        pl.col("study_id").first(), pl.col("study").drop_nulls().last(), pl.col("timestamp").max(), pl.col("recorded_at").max(),
        period_start=pl.col("begin").first(), period_end=pl.col("finish").first(), rows=pl.len(), parts=pl.col("parts").fill_null(1).sum(),
        **aggregates, **only, analyzed=pl.col("events_analyzed").cast(pl.Int128()).sum(), unanalyzed=pl.col("events_analyzed").null_count(),
    )  # fmt: skip
    joined = grouped.join(covered(rows), on="group", how="left", maintain_order="left")
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
    told = known.when(alone).then(pl.lit("it is missing in its only checkpoint"))
    for condition, text in faults:
        told = told.when(condition).then(text)
    return told


def _sessions(rows: pl.DataFrame) -> pl.DataFrame:
    """Give the sessions of each period in order, each once; missing where one of its checkpoints does not name its own."""
    name = "sessions_included"
    each = rows.lazy().select("group", name).explode(name).unique(maintain_order=True, keep="first").group_by("group")
    named = each.agg(pl.col(name).drop_nulls())
    unnamed = rows.lazy().group_by("group").agg(unnamed=pl.col(name).null_count())
    union = pl.coalesce(name, pl.lit([], dtype=pl.List(pl.String())))
    joined = unnamed.join(named, on="group", how="left")
    return joined.select("group", pl.when(pl.col("unnamed") == 0).then(union).alias(name)).collect()
