"""The audit: missing, duplicate, misplaced and inconsistent checkpoints, with advice."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

import polars as pl

from evalkit._util.text import plural
from evalkit.analysis import _wording
from evalkit.analysis._audit.checks import record_findings, value_findings
from evalkit.analysis._audit.coverage import period_findings
from evalkit.analysis._audit.finding_kinds import SEVERITIES, findings
from evalkit.analysis._audit.runs import expected_periods, run_findings
from evalkit.analysis._audit.tiling import RunningTime, grids, running_time
from evalkit.analysis._results import Result
from evalkit.analysis._series import PARTIAL
from evalkit.domain.catalog import METRICS
from evalkit.domain.definitions import Metric
from evalkit.domain.study import Study
from evalkit.errors import InvalidInputError
from evalkit.frames.columns import CHECKPOINTS, LIFECYCLE, MALFORMED, empty_frame
from evalkit.frames.normalize import MISSING_STUDY, labeled, read_columns, to_library_of
from evalkit.frames.study_data import StudyData, study_data

if TYPE_CHECKING:
    import altair as alt

    from evalkit.frames.normalize import FrameLike
    from evalkit.frames.study_data import DataLike

__all__ = ["Audit", "audit", "audit_of"]

_TIMES = {"period_start": "start", "period_end": "end", "recorded_at": "recorded_at"}
_COLUMNS = {
    "study_id": "text", "study": "text", "severity": "text", "kind": "text", "metrics": "texts", "checkpoints": "texts", "rows": "texts",
    "count": "count", "start": "time", "end": "time", "message": "text",
}  # fmt: skip
"""The columns of ``.frame`` and their kinds, as in `evalkit.frames.columns`."""


@dataclass(frozen=True, repr=False, eq=False)
class Audit(Result):
    """The findings of an audit.

    Attributes
    ----------
    checked
        Number of checkpoints audited.
    studies
        Number of studies audited.
    unchecked
        The skipped checks and their reasons, as sentences.

    Notes
    -----
    ``.frame`` has one row per finding, sorted by study and severity, with the columns:

    - study_id and study (its name),
    - severity: ``error`` (cannot be true), ``warning`` (probably wrong, or biases an analysis) or ``note`` (worth knowing),
    - kind: a code, listed at `audit`,
    - metrics: names of the affected metrics; empty for all,
    - checkpoints: their ids; empty for missing periods and in data without ids,
    - rows: row numbers in the audited frame, from 0,
    - count: number of checkpoints, or of missing periods,
    - start and end (UTC): null if no checkpoint of the finding has a period,
    - message: the finding, its values, and advice.

    Examples
    --------
    >>> import polars as pl
    >>> from evalkit import analysis, samples
    >>> rows = samples.sample_checkpoints("daily", "2026-01-01T00:00:00Z", 10, seed=1)
    >>> result = analysis.audit(pl.DataFrame(rows[:4] + rows[6:]))
    >>> result.warnings, result.frame["kind"].to_list()
    (1, ['missing_period'])
    """

    checked: int
    studies: int
    unchecked: Sequence[str]
    _rows: pl.DataFrame = field(repr=False)
    _data: StudyData = field(repr=False)

    @cached_property
    def frame(self) -> FrameLike:
        """One row per finding, in the library of the data (Polars or pandas)."""
        return to_library_of(self._data.checkpoints, self._rows.select(list(_COLUMNS)), _COLUMNS)

    @property
    def errors(self) -> int:
        """Number of errors: values and periods that cannot be true."""
        return self._count("error")

    @property
    def warnings(self) -> int:
        """Number of warnings: probably wrong, or biasing an analysis."""
        return self._count("warning")

    @property
    def notes(self) -> int:
        """Number of notes: worth knowing."""
        return self._count("note")

    def _count(self, severity: str) -> int:
        return self._rows.filter(pl.col("severity") == severity).height

    def filter(self, metric: str | None = None, *, study: Study | str | None = None) -> Audit:
        """Return the findings that affect a metric, a study, or a metric of a study.

        Parameters
        ----------
        metric
            The name of a metric; None for every metric. Findings about its denominator are included, as are findings about
            periods, which affect every metric.
        study
            A `Study`, an id, a name, or the last four or more characters of an id; None for every study.

        Returns
        -------
        Audit
            The same audit with fewer findings.

        Raises
        ------
        InvalidInputError
            If the metric is unknown.
        StudyNotFoundError, AmbiguousStudyError
            If no study of the data, or more than one, matches `study`.

        Examples
        --------
        >>> import polars as pl
        >>> from evalkit import analysis, samples
        >>> rows = samples.sample_checkpoints("daily", "2026-01-01T00:00:00Z", 10, seed=1)
        >>> result = analysis.audit(pl.DataFrame([{**row, "tool_success_rate": 96.0} for row in rows[:1]] + rows[1:]))
        >>> result.errors, result.filter("total_cost").errors
        (1, 0)
        """
        rows = self._rows
        if metric is not None:
            affected = [name for name in (metric, self._data.metric(metric).denominator) if name]
            matches = pl.col("metrics").list.eval(pl.element().is_in(affected)).list.any()
            rows = rows.filter(matches | (pl.col("metrics").list.len() == 0))
        if study is not None:
            rows = rows.filter(pl.col("study_id") == self._data.find(study).id)
        return replace(self, _rows=rows)

    def plot(self) -> alt.LayerChart:
        """Return a chart of the findings over time.

        Returns
        -------
        altair.LayerChart
            One row per kind of finding.

        Examples
        --------
        >>> import polars as pl
        >>> from evalkit import analysis, samples
        >>> rows = samples.sample_checkpoints("daily", "2026-01-01T00:00:00Z", 10, seed=1)
        >>> chart = analysis.audit(pl.DataFrame(rows[:4] + rows[6:])).plot()
        """
        from evalkit.plots._result_layers import audit_chart

        return audit_chart(self._rows, self._data.scope.sentences())

    def worst(self, count: int) -> pl.DataFrame:
        """Return the most severe findings.

        Parameters
        ----------
        count
            The largest number of findings.

        Returns
        -------
        polars.DataFrame
            The columns of ``.frame``, sorted by severity.

        Examples
        --------
        >>> import polars as pl
        >>> from evalkit import analysis, samples
        >>> rows = samples.sample_checkpoints("daily", "2026-01-01T00:00:00Z", 10, seed=1)
        >>> analysis.audit(pl.DataFrame(rows[:4] + rows[6:])).worst(1)["count"].to_list()
        [2]
        """
        return self._by_severity().select(list(_COLUMNS)).head(count)

    def sentences(self) -> list[str]:
        """Return the number of findings, the ten most severe ones, and the skipped checks.

        Examples
        --------
        >>> import polars as pl
        >>> from evalkit import analysis, samples
        >>> rows = samples.sample_checkpoints("daily", "2026-01-01T00:00:00Z", 10, seed=1)
        >>> len(analysis.audit(pl.DataFrame(rows[:4] + rows[6:])).sentences())
        3
        """
        return _wording.audit(self, self._by_severity())

    def _by_severity(self) -> pl.DataFrame:
        return self._rows.sort(pl.col("severity").cast(pl.Enum(SEVERITIES)), maintain_order=True)


def audit(data: DataLike, *, study: Study | str | Iterable[Study | str] | None = None) -> Audit:
    """Check the quality of checkpoints. A flawless series has no findings.

    Parameters
    ----------
    data
        A `StudyData`, a Polars or pandas frame as ``kit.checkpoints()`` returns it, or a `Resampled`. Data with a lifecycle, from
        ``kit.data()``, is also checked against the running time of its studies. Only period_start and period_end are required; checks of
        absent columns are skipped. A frame without study ids and names is one study.
    study
        A study or a list of studies, each a `Study`, an id, a name, or the last four or more characters of an id; None for all.

    Returns
    -------
    Audit
        The findings. More than three places of one kind in a study are merged into one finding.

    Raises
    ------
    InvalidInputError
        If the data lacks a required column or a column has the wrong type.
    StudyNotFoundError, AmbiguousStudyError
        If no study of the data, or more than one, matches `study`.

    Notes
    -----
    The kinds of findings:

    - Periods: ``no_period``; ``backwards_period``; ``empty_period``; ``missing_period`` (at least half of a period is running time that no
      checkpoint covers, and no checkpoint has its midpoint in the period); ``overlapping_periods``; ``wrong_length`` for the period type
      (a month may start on any day, and ends on the same day of the next month or on its last day; a period without a gap or overlap may
      be an hour longer or shorter, as at a clock change of a local calendar); ``shifted_period`` (of the right length, but not aligned
      with the study's other periods). With a lifecycle: ``outside_running`` and ``inside_pause`` for more than half of a period,
      ``partly_outside`` and ``partly_paused`` for less, or for a period that `resample` marked as partial. Without a period type, the
      most common length is expected if at least half of the periods have it.
    - Runs, in data with a study of the cadence ``"per-run"`` (see ``kit.create_study``): ``missing_period`` (a period between the first and
      the last run, at least half of it running time, in which no run starts) and ``duplicate_runs`` instead of the checks of periods;
      ``outside_running`` and ``inside_pause`` as above. Any length is accepted.
    - Recording: ``recorded_late`` (more than a period and more than a day after the end); ``shared_sessions`` (the same session in several
      checkpoints of a study); ``session_count``.
    - Values, also of custom metrics: ``not_finite``, ``rate_outside``, ``negative_value``, ``value_outside`` (the range of the
      definition), ``below_one_iteration``, ``over_nothing`` (a mean over a count of zero), ``part_above_total`` (a count above its
      denominator, or more tool errors than tool calls), ``rate_not_of_count``, ``cost_below_task``, ``successes_not_whole``,
      ``first_above_successes``. Numbers with up to six decimals may be rounded; only contradictions that rounding cannot explain are
      reported.

    Examples
    --------
    >>> import polars as pl
    >>> from evalkit import analysis, samples
    >>> rows = samples.sample_checkpoints("daily", "2026-01-01T00:00:00Z", 10, seed=1)
    >>> result = analysis.audit(pl.DataFrame(rows[:4] + rows[6:]))
    >>> print(result.frame["message"][0])
    Missing checkpoints: 2 days, 2026-01-05 to 2026-01-07 UTC. Record them if they were measured;
    missing values count as unknown, never as zero.
    """
    prepared = study_data(data)
    if study is None:
        return prepared.once("audit", audit_of)
    references = [study] if isinstance(study, str | Study) or not isinstance(study, Iterable) else list(study)
    return audit_of(prepared, [prepared.find(reference).id for reference in references])


def audit_of(data: StudyData, study_ids: Sequence[str] | None = None) -> Audit:
    """Compute the audit of some studies, or of all."""
    custom = {name: metric for name, metric in data.catalog.items() if name not in METRICS and name not in data.undefined}
    kinds = {**CHECKPOINTS, **{name: metric.kind for name, metric in custom.items()}}
    optional = [name for name in kinds if name not in ("period_start", "period_end")]
    columns = data.columns(kinds, ["period_start", "period_end"], optional).with_row_index("row")
    running = None if data.lifecycle is None else running_time(_steps(data, columns))
    metrics = {**METRICS, **{name: data.metric(name) for name in METRICS}, **custom}
    rows = _prepared(columns.with_columns(pl.col("row").cast(pl.Int64()), _partial(data)), study_ids, metrics)
    has_both = pl.col("start").is_not_null() & pl.col("end").is_not_null()
    is_run = pl.col("study_id").is_in(list(data.per_run))
    has_length = pl.when(is_run).then(pl.col("end") >= pl.col("start")).otherwise(pl.col("end") > pl.col("start"))
    placed = rows.drop(custom).filter(has_both & has_length)
    runs, periods = placed.filter(is_run), placed.filter(is_run.not_())
    grid, of_runs = grids(periods), []
    if runs.height:
        expected = expected_periods(runs)
        grid = pl.concat([grid, grids(expected)])
        of_runs = run_findings(runs, expected, grid, running)
    per_row = rows.with_columns(rows=pl.concat_list("row"), count=pl.lit(1))
    tables = [
        findings("no_period", per_row.filter(has_both.not_()), lambda place: f"row {place['row']}"),
        findings("backwards_period", per_row.filter(pl.col("end") < pl.col("start")), lambda place: f"row {place['row']}"),
        findings("empty_period", per_row.filter((pl.col("end") == pl.col("start")) & is_run.not_()), lambda place: f"row {place['row']}"),
        *period_findings(periods, grid, running),
        *of_runs,
        *record_findings(placed, grid),
        findings("malformed_part", _malformed(data, per_row), lambda place: str(place["parts"])),
        *value_findings(rows, metrics),
    ]
    return Audit(
        checked=rows.height, studies=rows["study_id"].n_unique(), unchecked=[*_unchecked(grid, running, rows), *_undefined(data)],
        _rows=_table(pl.concat(tables), rows), _data=data,
    )  # fmt: skip


def _malformed(data: StudyData, per_row: pl.DataFrame) -> pl.DataFrame:
    """Return the rows whose events have optional parts that are invalid."""
    parts = empty_frame(MALFORMED) if data.malformed is None else data.malformed
    return per_row.join(parts, on=["study_id", "checkpoint_id"], how="inner", maintain_order="left")


def _partial(data: StudyData) -> pl.Series:
    """Return which periods `resample` marked as partial; False without such a column."""
    try:
        return data.column(PARTIAL, "flag").fill_null(False)
    except InvalidInputError:  # a column of this name with other content
        return pl.repeat(False, len(data.checkpoints), dtype=pl.Boolean(), eager=True).alias(PARTIAL)


def _prepared(columns: pl.DataFrame, study_ids: Sequence[str] | None, metrics: Mapping[str, Metric]) -> pl.DataFrame:
    """Return the rows of some studies with the dtypes that the checks need.

    study_id and label are strings, times microseconds since 1970, and metrics Float64.
    """
    values = (
        (pl.col(name).dt.total_microseconds() / 1e6 if metric.kind == "duration" else pl.col(name).cast(pl.Float64()).fill_nan(None)).alias(
            name
        )
        for name, metric in metrics.items()
    )
    times = (pl.col(name).dt.epoch("us").alias(short) for name, short in _TIMES.items())
    rows = labeled(columns, "period_start")[0].lazy().with_columns(pl.col("study_id", "label").cast(pl.String()), *values, *times)
    return (rows if study_ids is None else rows.filter(pl.col("study_id").is_in(list(study_ids)))).collect()


def _steps(data: StudyData, columns: pl.DataFrame) -> pl.DataFrame:
    """Return the lifecycle with the same study_id as the checkpoints.

    It is the id, the name, or a constant for a single study.
    """
    steps = read_columns(data.lifecycle, LIFECYCLE, ["seq", "status", "at"], ["study_id", "study"])  # type: ignore[arg-type]
    steps = steps.filter(pl.col("at").is_not_null())
    column = next((name for name in ("study_id", "study") if columns[name].is_not_null().any()), None)
    shared = column is not None and steps[column].is_not_null().any()
    studies = steps.select(pl.coalesce("study_id", "study", pl.lit(MISSING_STUDY)).n_unique()).item()
    if studies > 1 and not shared:
        raise InvalidInputError(
            f"Cannot match a lifecycle of {studies} studies with checkpoints that have no study_id or study",
            hint="Keep the lifecycle rows of one study.", field="lifecycle", value=studies,
        )  # fmt: skip
    name = pl.col(column) if column and shared else pl.lit(MISSING_STUDY)
    return steps.select(name.alias("study_id"), "seq", "status", at=pl.col("at").dt.epoch("us"))


def _table(records: pl.DataFrame, rows: pl.DataFrame) -> pl.DataFrame:
    """Return the findings with names, ids and times, in the order of ``.frame``."""
    labels = rows.select("study_id", study="label").unique().cast(pl.String())
    ids = rows.select("row", checkpoint="checkpoint_id")
    ordered = records.sort("study_id", "severity", "start", maintain_order=True, nulls_last=True).with_row_index("place")
    mentions = ordered.select("place", row="rows").explode("row", keep_nulls=False, empty_as_null=False).join(ids, on="row", how="left")
    checkpoints = mentions.group_by("place", maintain_order=True).agg(checkpoints=pl.col("checkpoint").drop_nulls())
    time = pl.Datetime("us", "UTC")
    return (
        ordered.join(labels, on="study_id", how="left")
        .join(checkpoints, on="place", how="left")
        .sort("place")
        .with_columns(message=pl.format("{} {}", "text", "advice"))
        .with_columns(pl.col("checkpoints").fill_null([]), pl.col("severity").cast(pl.String()), pl.col("start", "end").cast(time))
        .select(*_COLUMNS, "text", "advice")
    )


def _undefined(data: StudyData) -> list[str]:
    """Return sentences about the metrics whose values are not checked."""
    undefined = [f"Skipped for metrics without a definition: their values ({', '.join(data.undefined)})."] if data.undefined else []
    skipped = [
        f"Skipped: the values of {name!r}, because {problem}. Audit each study separately." for name, problem in data.contradictions.items()
    ]
    return [*undefined, *skipped]


def _unchecked(grid: pl.DataFrame, running: RunningTime | None, rows: pl.DataFrame) -> list[str]:
    """Return sentences about the skipped checks."""
    studies = rows["study_id"].unique().cast(pl.String())
    without = studies.len() if running is None else len(set(studies.to_list()) - set(running.bounds["study_id"].to_list()))
    unchecked = []
    if without:
        unchecked.append(
            f"Skipped for {plural(without, 'study', 'studies')} without lifecycle data: checkpoints outside the running time or inside a "
            "pause. Pass kit.data() or StudyData(checkpoints, lifecycle) to check them."
        )
    if irregular := grid["length"].null_count():
        unchecked.append(
            f"Skipped for {plural(irregular, 'study', 'studies')} without a period type: missing periods and period lengths. No length is "
            "shared by at least half of the periods."
        )
    return unchecked
