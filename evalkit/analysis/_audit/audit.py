"""The audit: whether the data can carry an analysis. What is missing, doubled, misplaced or contradicts itself, in plain words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

import polars as pl

from evalkit._util.text import plural
from evalkit.analysis import _wording
from evalkit.analysis._audit.checks import record_findings, value_findings
from evalkit.analysis._audit.coverage import period_findings
from evalkit.analysis._audit.finding_kinds import SEVERITIES, findings
from evalkit.analysis._audit.tiling import Running, grids, running
from evalkit.analysis._results import Result
from evalkit.analysis._series import PARTIAL
from evalkit.domain.metrics import METRICS
from evalkit.domain.study import Study
from evalkit.domain.validation import invalid
from evalkit.errors import InvalidInputError
from evalkit.frames.columns import CHECKPOINTS, LIFECYCLE
from evalkit.frames.normalize import MISSING_STUDY, labeled, metric_named, read_columns, to_library_of
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
"""The table's columns and their kinds, as in `evalkit.frames.columns`; Pandas holds the lists of `rows` as it holds lists of texts."""


@dataclass(frozen=True, repr=False, eq=False)
class Audit(Result):
    """What an audit found.

    Attributes
    ----------
    checked
        How many checkpoints were looked at.
    studies
        Of how many studies.
    unchecked
        Sentences that say what could not be checked, and why.

    Notes
    -----
    ``.frame`` has a row a finding, by study, the worst first: study_id, study (its name), severity (``error``: cannot be true; ``warning``:
    probably wrong, or it biases an analysis; ``note``: worth knowing), kind (a short code, a key of `KINDS` in `finding_kinds`), metrics
    (the names that it touches; empty means all), checkpoints (their ids; empty for missing periods, and where the data has no ids), rows
    (the numbers, from 0, of the rows in the frame that was audited), count (how many checkpoints, or missing periods), start and end (UTC;
    null where no checkpoint of it has a period), message (what, the values, what to do).
    """

    checked: int
    studies: int
    unchecked: Sequence[str]
    _rows: pl.DataFrame = field(repr=False)
    _data: StudyData = field(repr=False)

    @cached_property
    def frame(self) -> FrameLike:
        """A row for each finding, in the library (Polars or pandas) of the data."""
        return to_library_of(self._data.checkpoints, self._rows.select(list(_COLUMNS)), _COLUMNS)

    @property
    def errors(self) -> int:
        """How many findings say what cannot be true."""
        return self._of("error")

    @property
    def warnings(self) -> int:
        """How many findings say what is probably wrong, or biases an analysis."""
        return self._of("warning")

    @property
    def notes(self) -> int:
        """How many findings are only worth knowing."""
        return self._of("note")

    def _of(self, severity: str) -> int:
        return self._rows.filter(pl.col("severity") == severity).height

    def filter(self, metric: str | None = None, *, study: Study | str | None = None) -> Audit:
        """Return the findings that touch a metric or what it is a mean over, those that touch one study, or both.

        Parameters
        ----------
        metric
            A name of the catalogue; None for every metric. Findings about periods touch every metric.
        study
            A `Study`, an id, a name, or the last four or more characters of an id; None for every study.

        Raises
        ------
        InvalidInputError
            When there is no metric of the name.
        StudyNotFoundError, AmbiguousStudyError
            When no study of the data, or more than one, matches `study`.
        """
        rows = self._rows
        if metric is not None:
            touched = [name for name in (metric_named(metric).name, METRICS[metric].denominator) if name]
            met = pl.col("metrics").list.eval(pl.element().is_in(touched)).list.any()
            rows = rows.filter(met | (pl.col("metrics").list.len() == 0))
        if study is not None:
            rows = rows.filter(pl.col("study_id") == self._data.find(study).id)
        return replace(self, _rows=rows)

    def plot(self) -> alt.LayerChart:
        """Draw where the findings are in time."""
        from evalkit.plots._result_layers import audit_chart

        return audit_chart(self._rows)

    def worst(self, most: int) -> pl.DataFrame:
        """Return the worst findings, as a Polars table with the columns of ``.frame``."""
        return self._rows.select(list(_COLUMNS)).sort(pl.col("severity").cast(pl.Enum(SEVERITIES)), maintain_order=True).head(most)

    def sentences(self) -> list[str]:
        """Return how many findings there are, the worst ten of them, and what could not be checked."""
        return _wording.audit(self, self._rows.sort(pl.col("severity").cast(pl.Enum(SEVERITIES)), maintain_order=True))


def audit(data: DataLike, *, study: Study | str | Iterable[Study | str] | None = None) -> Audit:
    """Look for what is wrong with checkpoints. A perfect series gives no finding.

    Parameters
    ----------
    data
        A `StudyData`, a frame as ``kit.checkpoints()`` returns it, Polars or pandas, or a `Resampled`. With a lifecycle, as ``kit.data()``
        brings it, the audit knows when the studies ran. Only period_start and period_end are needed; what is absent is not checked.
        Without study ids and names a frame is one study.
    study
        Which study, or a list of them: a `Study`, an id, a name, or the last four or more characters of an id; None for all.

    Returns
    -------
    Audit
        Of more than three places of one kind in a study one finding is made. What is found:

        - periods: ``no_period``, ``backwards_period``, ``empty_period``; ``missing_period``: the study ran for half of a period of its
          tiling or more, and no checkpoint covers that, nor has its middle there; ``overlapping_periods``; ``wrong_length`` for the period
          type (a month may begin on any day, and ends on the same day of the next, or its last); ``shifted_period``: right in length, but
          not where the study's others are; with a lifecycle ``outside_running`` and ``inside_pause`` for more than half of a period,
          ``partly_outside`` and ``partly_paused`` for less, or of a period that `resample` marked as `partial`. Without a period
          type the length of at least half of the periods is the right one.
        - records: ``recorded_late``, more than a period and more than a day after its end; ``shared_sessions``, the same session in two
          checkpoints of a study; ``session_count``.
        - values: ``not_finite``, ``rate_outside``, ``negative_value``, ``below_one_iteration``, ``over_nothing`` (a mean over a count of
          0), ``rate_not_of_count``, ``cost_below_task``, ``successes_not_whole``, ``first_above_successes``. A number written with up to
          six decimals may be off by half of the last one: only what rounding cannot explain is reported.

    Raises
    ------
    InvalidInputError
        When the data lacks a column or has one of another type.
    StudyNotFoundError, AmbiguousStudyError
        When no study of the data, or more than one, matches `study`.
    """
    known = study_data(data)
    if study is None:
        return known.once("audit", audit_of)
    asked = [study] if isinstance(study, str | Study) or not isinstance(study, Iterable) else list(study)
    return audit_of(known, [known.find(one).id for one in asked])


def audit_of(data: StudyData, study_ids: Sequence[str] | None = None) -> Audit:
    """Compute the audit of some studies, or of all."""
    optional = [name for name in CHECKPOINTS if name not in ("period_start", "period_end")]
    columns = data.columns(CHECKPOINTS, ["period_start", "period_end"], optional).with_row_index("row")
    ran = None if data.lifecycle is None else running(_steps(data, columns))
    rows = _prepared(columns.with_columns(pl.col("row").cast(pl.Int64()), _partial(data)), study_ids)
    has_both = pl.col("start").is_not_null() & pl.col("end").is_not_null()
    placed = rows.filter(has_both & (pl.col("end") > pl.col("start")))
    grid = grids(placed)
    alone = rows.with_columns(rows=pl.concat_list("row"), count=pl.lit(1))
    parts = [
        findings("no_period", alone.filter(has_both.not_()), lambda place: f"row {place['row']}"),
        findings("backwards_period", alone.filter(pl.col("end") < pl.col("start")), lambda place: f"row {place['row']}"),
        findings("empty_period", alone.filter(pl.col("end") == pl.col("start")), lambda place: f"row {place['row']}"),
        *period_findings(placed, grid, ran),
        *record_findings(placed, grid),
        *value_findings(rows),
    ]
    return Audit(
        checked=rows.height, studies=rows["study_id"].n_unique(), unchecked=_unchecked(grid, ran, rows),
        _rows=_table(pl.concat(parts), rows), _data=data,
    )  # fmt: skip


def _partial(data: StudyData) -> pl.Series:
    """Return which periods `resample` marked as covered in part: false where it is not said."""
    try:
        return data.column(PARTIAL, "flag").fill_null(False)
    except InvalidInputError:  # the name is free for whatever else a frame holds
        return pl.repeat(False, len(data.checkpoints), dtype=pl.Boolean(), eager=True).alias(PARTIAL)


def _prepared(columns: pl.DataFrame, study_ids: Sequence[str] | None) -> pl.DataFrame:
    """Return the rows of some studies: study_id and label as texts, times in microseconds since 1970, metrics as Float64."""
    values = (
        (pl.col(name).dt.total_microseconds() / 1e6 if metric.kind == "duration" else pl.col(name).cast(pl.Float64()).fill_nan(None)).alias(
            name
        )
        for name, metric in METRICS.items()
    )
    times = (pl.col(name).dt.epoch("us").alias(shown) for name, shown in _TIMES.items())
    rows = labeled(columns, "period_start")[0].lazy().with_columns(pl.col("study_id", "label").cast(pl.String()), *values, *times)
    return (rows if study_ids is None else rows.filter(pl.col("study_id").is_in(list(study_ids)))).collect()


def _steps(data: StudyData, columns: pl.DataFrame) -> pl.DataFrame:
    """Return the lifecycle by what the checkpoints call their studies: ids, names, or nothing, when there is only one."""
    steps = read_columns(data.lifecycle, LIFECYCLE, ["seq", "status", "at"], ["study_id", "study"])  # type: ignore[arg-type]
    steps = steps.filter(pl.col("at").is_not_null())
    named = next((name for name in ("study_id", "study") if columns[name].is_not_null().any()), None)
    shared = named is not None and steps[named].is_not_null().any()
    studies = steps.select(pl.coalesce("study_id", "study", pl.lit(MISSING_STUDY)).n_unique()).item()
    if studies > 1 and not shared:
        raise invalid(
            "lifecycle", studies, "studies are in it, and the checkpoints do not say whose they are", "keep the rows of one study"
        )
    name = pl.col(named) if named and shared else pl.lit(MISSING_STUDY)
    return steps.select(name.alias("study_id"), "seq", "status", at=pl.col("at").dt.epoch("us"))


def _table(found: pl.DataFrame, rows: pl.DataFrame) -> pl.DataFrame:
    """Return the findings as users see them: with names, ids and times, in order."""
    labels = rows.select("study_id", study="label").unique().cast(pl.String())
    ids = rows.select("row", checkpoint="checkpoint_id")
    ordered = found.sort("study_id", "severity", "start", maintain_order=True, nulls_last=True).with_row_index("place")
    named = ordered.select("place", row="rows").explode("row", keep_nulls=False, empty_as_null=False).join(ids, on="row", how="left")
    checkpoints = named.group_by("place", maintain_order=True).agg(checkpoints=pl.col("checkpoint").drop_nulls())
    time = pl.Datetime("us", "UTC")
    return (
        ordered.join(labels, on="study_id", how="left")
        .join(checkpoints, on="place", how="left")
        .sort("place")
        .with_columns(message=pl.format("{} {}", "text", "advice"))
        .with_columns(pl.col("checkpoints").fill_null([]), pl.col("severity").cast(pl.String()), pl.col("start", "end").cast(time))
        .select(*_COLUMNS, "text", "advice")
    )


def _unchecked(grid: pl.DataFrame, ran: Running | None, rows: pl.DataFrame) -> list[str]:
    """Say what could not be checked."""
    studies = rows["study_id"].unique().cast(pl.String())
    without = studies.len() if ran is None else len(set(studies.to_list()) - set(ran.known["study_id"].to_list()))
    unchecked = []
    if without:
        unchecked.append(
            f"Not checked, for want of {'its' if without == 1 else 'their'} lifecycle, for {plural(without, 'study', 'studies')}: whether "
            "checkpoints lie outside the running time or inside a pause. Give kit.data(), or StudyData(checkpoints, lifecycle)."
        )
    if loose := grid["length"].null_count():
        unchecked.append(
            f"Not checked, for {plural(loose, 'study', 'studies')}: missing periods and lengths. There is no "
            "period type, and no length that half of the periods have."
        )
    return unchecked
