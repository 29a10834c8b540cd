"""Resampling of checkpoints to longer periods, as if each period had a single checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import tzinfo
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import polars as pl

from evalkit.analysis import _wording
from evalkit.analysis._calendar import begin_text, covered, local_dates, placed
from evalkit.analysis._resample_input import RESAMPLED, check_longer, check_period_types, read_checkpoints, resampled_columns
from evalkit.analysis._results import Result
from evalkit.analysis._rollup_rules import SESSION_TIME, Rule, rule_of, session_time
from evalkit.domain.catalog import METRICS
from evalkit.domain.definitions import Metric
from evalkit.domain.time_input import check_zone, zone_name
from evalkit.domain.times import MAX_COUNT
from evalkit.frames.columns import frame_schema
from evalkit.frames.normalize import to_library_of
from evalkit.frames.study_data import StudyData, study_data

if TYPE_CHECKING:
    import altair as alt

    from evalkit.frames.normalize import FrameLike
    from evalkit.frames.study_data import DataLike

__all__ = ["RESAMPLED", "Resampled", "resample"]

_TIME = "avg_session_duration"
_REASONS = {"study_id": "text", "study": "text", "period_start": "time", "metric": "text", "reason": "text"}


@dataclass(frozen=True, repr=False, eq=False)
class Resampled(Result):
    """Checkpoints resampled to longer periods.

    Attributes
    ----------
    to
        ``"daily"``, ``"weekly"`` or ``"monthly"``.
    tz
        The name of the time zone of the periods.
    checkpoints
        The number of checkpoints that were resampled.
    straddling
        The number of checkpoints that cross the boundary of a period. All values of such a checkpoint count in the period that contains
        its midpoint, and it covers only that period; `covered` may then be lower after resampling in two steps than in one.
    overlapping
        The number of periods in which checkpoints overlap.
    with_period, without_period
        The number of rows with a period, and of rows without a period, which were excluded.
    negative
        The number of negative values, which were treated as missing.

    Notes
    -----
    ``.frame`` has one row per study and period with a checkpoint, by study and time, with the columns and dtypes of
    ``kit.checkpoints()``, custom metrics included, so that charts and analyses accept it; times are in UTC. Four columns follow: `parts`
    (Int64, number of checkpoints), `covered` (Float64, covered share of the period, 0 to 1; null for runs), `partial` (Boolean, whether
    `covered` is below 1) and `session_time` (Duration(us), total duration of all sessions, which keeps means exact when resampling
    again).

    Examples
    --------
    >>> import polars as pl
    >>> from evalkit import analysis, samples
    >>> nights = pl.DataFrame(samples.sample_checkpoints("daily", "2026-01-05T00:00:00Z", 10, seed=1))
    >>> weeks = analysis.resample(nights, "weekly")
    >>> weeks.checkpoints, weeks.frame["parts"].to_list()
    (10, [7, 3])
    """

    to: str
    tz: str
    checkpoints: int
    straddling: int
    overlapping: int
    with_period: int
    without_period: int
    negative: int
    _rows: pl.DataFrame
    _source: StudyData
    _zone: tzinfo | None
    _metrics: dict[str, Metric]

    @cached_property
    def frame(self) -> FrameLike:
        """The resampled checkpoints, in the library (Polars or pandas) of the data."""
        columns = resampled_columns(self._metrics)
        dtypes = {**frame_schema({name: kind for name, kind in columns.items() if kind != "flag"}), "partial": pl.Boolean()}
        table = self._rows.select(pl.col(name).cast(dtypes[name]) for name in columns)
        return to_library_of(self._source.checkpoints, table, columns)

    @cached_property
    def data(self) -> StudyData:
        """The resampled checkpoints with the lifecycle of the studies, for charts and analyses."""
        source = self._source
        return StudyData(
            self.frame, source.lifecycle, studies=source.studies, metrics=source.metrics, notes=source.notes,
            provenance=source.provenance, scope=source.scope,
        )  # fmt: skip

    @cached_property
    def reasons(self) -> FrameLike:
        """The reason for each missing value, one row per value.

        The columns are `study_id`, `study`, `period_start`, `metric` and `reason`.
        """
        missing = [
            self._rows.filter(pl.col(name).is_null()).select(
                "study_id", "study", "period_start", metric=pl.lit(name), reason=f"{name}|reason"
            )
            for name in self._metrics
        ]
        rows = pl.concat(missing).sort("study_id", "period_start", maintain_order=True)
        return to_library_of(self._source.checkpoints, rows, _REASONS)

    def sentences(self) -> list[str]:
        """Return the result as text, one string per paragraph.

        The first paragraph is the result in one line. The rules, missing values and caveats follow.

        Examples
        --------
        >>> import polars as pl
        >>> from evalkit import analysis, samples
        >>> nights = pl.DataFrame(samples.sample_checkpoints("daily", "2026-01-05T00:00:00Z", 10, seed=1))
        >>> print(analysis.resample(nights, "weekly").sentences()[0])
        10 checkpoints resampled to 2 weekly periods (2026-01-05 to 2026-01-19 UTC; 1 partially covered, lowest coverage 42.8%).
        """
        return _wording.resampled(self, self._rows, begin_text(self.to, self._zone))

    def plot(self, metric: str = "session_success_rate") -> alt.LayerChart:
        """Draw one metric of the resampled checkpoints over time, like `evalkit.plots.trend`.

        Parameters
        ----------
        metric
            The name of a metric.

        Examples
        --------
        >>> import polars as pl
        >>> from evalkit import analysis, samples
        >>> nights = pl.DataFrame(samples.sample_checkpoints("daily", "2026-01-05T00:00:00Z", 14, seed=1))
        >>> chart = analysis.resample(nights, "weekly").plot("total_cost")
        """
        from evalkit.plots import trend

        return trend(self.data, metric)


def resample(data: DataLike, to: Literal["daily", "weekly", "monthly"], *, tz: str | tzinfo | None = None) -> Resampled:
    """Resample checkpoints to days, weeks or months.

    Days begin at 00:00, weeks on Monday and months on the 1st, in UTC or in the time zone `tz`. Periods without a checkpoint have no row.
    Each metric is combined by the rule in its definition, ``rollup``:

    - **sum** (counts, cost): the sum. Missing when a checkpoint has no value, as the sum would be too small, and when a sum of counts is
      above 2^63 - 1.
    - **weighted** (rates and durations with a denominator): Σ denominator x value / Σ denominator. Checkpoints with a denominator of 0 are
      ignored. Missing when a checkpoint has no denominator, or a denominator above 0 but no value.
    - **ratio** (cost per successful task): Σ total_cost / Σ (total_cost / cost_per_successful_task). Checkpoints with 0 completed tasks
      have no success, and their cost is included. Missing when a checkpoint has no total cost, or has tasks but no value, which may mean
      either no success or not measured. With a cost of 0, the number of successes cannot be computed: the value is 0 when the total cost
      of all checkpoints is 0, and otherwise missing.
    - **min**, **max** (custom metrics): missing when a checkpoint has no value. **last**: the value of the last checkpoint.
    - **none**: missing, as the denominator is not recorded, or the custom metric has no roll-up.

    A period with a single checkpoint has the values of that checkpoint. For nested periods (hours, days, weeks; hours, days, months),
    resampling in two steps gives the result of one step.

    Parameters
    ----------
    data
        A `StudyData`, a Polars or pandas frame like that of ``kit.checkpoints()``, or a `Resampled`. Only the columns of the period are
        required.
    to
        The longer period.
    tz
        The time zone of days, weeks and months: a name of the IANA database such as ``"Europe/Berlin"``, or a `datetime.tzinfo`. A day with
        a clock change has 23 or 25 hours. None: UTC.

    Returns
    -------
    Resampled
        The table is ``.frame``, with `period_start` and `period_end` in UTC.

    Raises
    ------
    InvalidInputError
        When the data lacks the columns of the period or a column has the wrong type, `to` or `tz` is invalid, or a study has longer
        periods than `to`.

    Notes
    -----
    A checkpoint counts in the period that contains its midpoint, so totals are conserved with every time zone. A daily checkpoint from
    00:00 to 24:00 UTC overlaps two days of another time zone: it counts in one of them, and covers only part of it. Use hourly
    checkpoints, or the time zone in which the checkpoints were recorded. To resample in several steps, pass the same `tz` in each.

    In data with a study of the cadence ``"per-run"`` (see ``kit.create_study``), a run of it counts in the period in which it starts.

    Totals of a day with a clock change are sums over 23 or 25 hours.

    Examples
    --------
    >>> import polars as pl
    >>> from evalkit import analysis, samples
    >>> hours = pl.DataFrame(samples.sample_checkpoints("hourly", "2026-03-27T23:00:00Z", 48, seed=1))
    >>> days = analysis.resample(hours, "daily", tz="Europe/Berlin")  # the clocks go forward on March 29
    >>> days.frame.select("checkpoint_id", "period_start", "parts")
    shape: (3, 3)
    ┌────────────────────┬─────────────────────────┬───────┐
    │ checkpoint_id      ┆ period_start            ┆ parts │
    │ ---                ┆ ---                     ┆ ---   │
    │ str                ┆ datetime[μs, UTC]       ┆ i64   │
    ╞════════════════════╪═════════════════════════╪═══════╡
    │ -/daily/2026-03-28 ┆ 2026-03-27 23:00:00 UTC ┆ 24    │
    │ -/daily/2026-03-29 ┆ 2026-03-28 23:00:00 UTC ┆ 23    │
    │ -/daily/2026-03-30 ┆ 2026-03-29 22:00:00 UTC ┆ 1     │
    └────────────────────┴─────────────────────────┴───────┘
    """
    kind = check_longer(to)
    zone = None if tz is None else check_zone("tz", tz)
    prepared = study_data(data)
    metrics = {**METRICS, **prepared.catalog}
    checkpoints, without_period, negative = read_checkpoints(prepared, metrics)
    check_period_types(checkpoints, kind, zone)
    rows = placed(checkpoints, kind, zone).with_columns(session_time().alias(SESSION_TIME))
    rows = rows.with_columns(group=pl.struct("study_id", "begin").rle_id())
    rules = {name: rule_of(metric, exact_durations=True) for name, metric in metrics.items()}
    rolled = _rolled(rows, kind, zone, metrics, rules)
    rolled = rolled.with_columns(
        _reason(metric, rules[name], present=name in prepared).alias(f"{name}|reason") for name, metric in metrics.items()
    )
    return Resampled(
        kind, "UTC" if zone is None else zone_name(zone), checkpoints=int(rolled["parts"].sum()),
        straddling=int(rows["straddles"].sum()), overlapping=int(rolled["overlaps"].sum()),
        with_period=checkpoints.height, without_period=without_period, negative=negative, _rows=rolled, _source=prepared, _zone=zone,
        _metrics=metrics,
    )  # fmt: skip


def _rolled(rows: pl.DataFrame, to: str, tz: tzinfo | None, metrics: Mapping[str, Metric], rules: Mapping[str, Rule]) -> pl.DataFrame:
    """Return one row per study and period, with the columns and their aggregates."""
    aggregates = {name: expression for rule in rules.values() for name, expression in rule.aggregates.items()}
    only = {f"{name}|only": pl.col(name).first() for name in metrics}
    grouped = rows.group_by("group", maintain_order=True).agg(
        pl.col("study_id").first(), pl.col("study").drop_nulls().last(), pl.col("timestamp").max(), pl.col("recorded_at").max(),
        period_start=pl.col("begin").first(), period_end=pl.col("finish").first(), rows=pl.len(), parts=pl.col("parts").fill_null(1).sum(),
        **aggregates, **only, analyzed=pl.col("events_analyzed").cast(pl.Int128()).sum(), unanalyzed=pl.col("events_analyzed").null_count(),
    )  # fmt: skip
    joined = grouped.join(covered(rows), on="group", how="left", maintain_order="left")
    joined = joined.join(_sessions(rows), on="group", how="left", maintain_order="left")
    valued = joined.with_columns(_value(metrics[name], rule).alias(name) for name, rule in rules.items())
    time, unknown = pl.col(f"{_TIME}|time"), pl.sum_horizontal(f"{_TIME}|{part}" for part in ("no_denominator", "no_value", "too_long"))
    return valued.with_columns(
        period_type=pl.lit(to),
        checkpoint_id=pl.format("{}/{}/{}", "study_id", pl.lit(to), local_dates(joined["period_start"], tz)),
        events_analyzed=pl.when((pl.col("unanalyzed") == 0) & (pl.col("analyzed") <= MAX_COUNT)).then("analyzed"),
        partial=(pl.col("covered") < 1).fill_null(False),  # runs count whole
        **{SESSION_TIME: pl.when((unknown == 0) & (time <= MAX_COUNT)).then(time)},
    )


def _value(metric: Metric, rule: Rule) -> pl.Expr:
    only = pl.col(f"{metric.name}|only")
    faulty = pl.any_horizontal(condition for condition, _ in rule.faults)
    value = rule.value
    if metric.kind == "duration":
        only = only.dt.total_microseconds()
        value = value.round()
    combined = pl.when(~faulty).then(value)
    kind = pl.Int64() if metric.kind in ("count", "duration") else pl.Float64()
    rolled = pl.when(pl.col("rows") == 1).then(only.cast(kind)).otherwise(combined.cast(kind))
    return rolled.cast(pl.Duration("us")) if metric.kind == "duration" else rolled


def _reason(metric: Metric, rule: Rule, *, present: bool) -> pl.Expr:
    if not present:
        return pl.lit(f"no column {metric.name} in the frame")
    # With the rollup "none", a single row that was resampled from several checkpoints has the reason of the rule.
    single = pl.col("rows") == 1 if metric.rollup != "none" else pl.col("parts") == 1
    no_reason = pl.when(pl.col(metric.name).is_not_null()).then(pl.lit(None, dtype=pl.String()))
    reason = no_reason.when(single).then(pl.lit("missing in the only checkpoint"))
    for condition, text in rule.faults:
        reason = reason.when(condition).then(text)
    return reason


def _sessions(rows: pl.DataFrame) -> pl.DataFrame:
    """Return the distinct sessions of each period in order.

    Null when a checkpoint of the period has no recorded sessions.
    """
    name = "sessions_included"
    each = rows.lazy().select("group", name).explode(name, empty_as_null=False).unique(maintain_order=True, keep="first").group_by("group")
    sessions = each.agg(pl.col(name).drop_nulls())
    missing = rows.lazy().group_by("group").agg(missing=pl.col(name).null_count())
    union = pl.coalesce(name, pl.lit([], dtype=pl.List(pl.String())))
    joined = missing.join(sessions, on="group", how="left")
    return joined.select("group", pl.when(pl.col("missing") == 0).then(union).alias(name)).collect()
