"""The audit: whether the data can carry an analysis. What is missing, doubled, misplaced or contradicts itself, in plain words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import polars as pl

from evalkit.analysis._audit.audited import Audited, read
from evalkit.analysis._audit.bookkeeping import record_findings
from evalkit.analysis._audit.contradictions import value_findings
from evalkit.analysis._audit.coverage import period_findings
from evalkit.analysis._audit.finding_kinds import KINDS, SEVERITIES, findings
from evalkit.analysis._audit.running import Running
from evalkit.analysis._audit.tiling import grids
from evalkit.analysis._result import Result, like
from evalkit.domain.metrics import METRICS
from evalkit.frames.normalize import metric_named
from evalkit.plots._words import plural

__all__ = ["Audit", "Findings", "audit", "audit_of"]

_MOST_TOLD = 10
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
    frame
        A row a finding, by study, the worst first: study_id, study (its name), severity (``error``: cannot be true; ``warning``: probably
        wrong, or it biases an analysis; ``note``: worth knowing), kind (a short code, a key of `KINDS` in `finding_kinds`),
        metrics (the names that it touches; empty means all), checkpoints (their ids; empty for missing periods, and where the frame has no
        ids), rows (the numbers, from 0, of the rows in the frame that was audited), count (how many checkpoints, or missing periods), start
        and end (UTC; null where no checkpoint of it has a period), message (what, the values, what to do).
    checked
        How many checkpoints were looked at.
    studies
        Of how many studies.
    unchecked
        Sentences that say what could not be checked, and why.
    """

    frame: Any
    checked: int
    studies: int
    unchecked: Sequence[str]
    _rows: pl.DataFrame = field(repr=False)

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

    def about(self, metric: str | None = None, study_id: str | None = None) -> Audit:
        """Give the findings that touch a metric or what it is a mean over, those that touch one study, or both.

        Parameters
        ----------
        metric
            A name of the catalogue; None for every metric. Findings about periods touch every metric.
        study_id
            An id as in `frame`; None for every study.

        Raises
        ------
        InvalidInputError
            When there is no metric of the name.
        """
        rows = self._rows
        if metric is not None:
            touched = [name for name in (metric_named(metric).name, METRICS[metric].denominator) if name]
            met = pl.col("metrics").list.eval(pl.element().is_in(touched)).list.any()
            rows = rows.filter(met | (pl.col("metrics").list.len() == 0))
        if study_id is not None:
            rows = rows.filter(pl.col("study_id") == study_id)
        return replace(self, frame=like(self.frame, rows, _COLUMNS), _rows=rows)

    def plot(self) -> Any:
        """Draw where the findings lie in time."""
        from evalkit.plots._result_layers import audited

        return audited(self._rows)

    def sentences(self) -> list[str]:
        """Say how many findings there are, the worst ten of them, and what could not be checked."""
        looked_at = f"{plural(self.checked, 'checkpoint')} of {plural(self.studies, 'study', 'studies')}"
        if self._rows.is_empty():
            return [f"Audit of {looked_at}: nothing found.", *self.unchecked]
        counted = [plural(count, name) for name, count in zip(SEVERITIES, (self.errors, self.warnings, self.notes), strict=True) if count]
        told = [f"Audit of {looked_at}: {' and '.join([', '.join(counted[:-1])] * (len(counted) > 1) + counted[-1:])}."]
        worst = self._rows.sort(pl.col("severity").cast(pl.Enum(SEVERITIES)), maintain_order=True).head(_MOST_TOLD)
        named = self._rows["study_id"].n_unique() > 1 or self.studies > 1
        advised: set[str] = set()
        for row in worst.iter_rows(named=True):
            # What to do is said once: of a kind there may be findings in many studies.
            said = row["message"].removesuffix(f" {KINDS[row['kind']].advice}") if row["kind"] in advised else row["message"]
            advised.add(row["kind"])
            told.append(f"{row['severity'].capitalize()}: {row['study'] + ': ' if named else ''}{said}")
        more = self._rows.height - worst.height
        return [*told, *([f"And {more:,} more: they stand in .frame."] if more else []), *self.unchecked]


Findings: TypeAlias = Callable[[], Audit]
"""Computes the findings of an audit when they are first asked for: an audit takes much longer than most analyses."""


def audit(source: Any, study: Any = None) -> Audit:
    """Look for what is wrong with checkpoints. A perfect series gives no finding.

    Parameters
    ----------
    source
        A kit; or a frame as ``kit.checkpoints()`` gives it, Polars or Pandas; or ``(kit.checkpoints(), kit.lifecycle())``, which say when a
        study ran, too; or a result that has such a frame. Only period_start and period_end are needed; what is not there is not checked.
        Without study ids and names a frame is one study.
    study
        Which study, or a list of them; None for all. With a kit as ``kit.checkpoints`` takes it; with frames an id, a name, or the last
        four or more characters of an id.

    Returns
    -------
    Audit
        Of more than three places of one kind in a study one finding is made. What is found:

        - periods: ``no_period``, ``backwards_period``, ``empty_period``; ``missing_period``: the study ran for more than half of a period
          of its tiling, and no checkpoint covers that, nor has its middle there; ``overlapping_periods``; ``wrong_length`` for the period
          type (a month may begin on any day, and ends on the same day of the next, or its last); ``shifted_period``: right in length, but
          not where the study's others are; with a lifecycle ``outside_running`` and ``inside_pause`` for more than half of a period,
          ``partly_outside`` and ``partly_paused`` for less, or of a period that `resample` marked as `partial`. Without a period
          type the length of at least half of the periods is the right one.
        - records: ``recorded_late``, more than a period and more than a day after its end; ``shared_sessions``, the same session in two
          checkpoints of a study; ``session_count``.
        - values: ``not_finite``, ``rate_outside``, ``negative_value``, ``below_one_iteration``, ``over_nothing`` (a mean over a count of
          0), ``rate_not_of_count``, ``cost_below_task``, ``successes_not_whole``, ``first_above_successes``. A number written with up to
          six decimals may be off by half of the last one: only what no rounding explains is told.

    Raises
    ------
    InvalidInputError
        When `source` is none of these, a frame lacks a column or has one of another type, or no study answers to `study`.
    StudyNotFoundError, AmbiguousStudyError
        When no study of the kit, or more than one, answers to `study`.
    """
    return audit_of(read(source, study))


def audit_of(given: Audited) -> Audit:
    """Compute the audit of what was read."""
    rows = given.rows
    has_both = pl.col("start").is_not_null() & pl.col("end").is_not_null()
    placed = rows.filter(has_both & (pl.col("end") > pl.col("start")))
    grid = grids(placed)
    alone = rows.with_columns(rows=pl.concat_list("row"), count=pl.lit(1))
    found = [
        findings("no_period", alone.filter(has_both.not_()), lambda place: f"row {place['row']}"),
        findings("backwards_period", alone.filter(pl.col("end") < pl.col("start")), lambda place: f"row {place['row']}"),
        findings("empty_period", alone.filter(pl.col("end") == pl.col("start")), lambda place: f"row {place['row']}"),
        *period_findings(placed, grid, given.ran),
        *record_findings(placed, grid),
        *value_findings(rows),
    ]
    table = _table(pl.concat(found), given)
    return Audit(
        frame=like(given.frame, table, _COLUMNS), checked=rows.height, studies=rows["study_id"].n_unique(),
        unchecked=_unchecked(grid, given.ran, rows), _rows=table,
    )  # fmt: skip


def _table(found: pl.DataFrame, given: Audited) -> pl.DataFrame:
    """Give the findings as users see them: with names, ids and times, in order."""
    labels = given.rows.select("study_id", study="label").unique().cast(pl.String())
    ids = given.rows.select("row", checkpoint="checkpoint_id")
    ordered = found.sort("study_id", "severity", "start", maintain_order=True, nulls_last=True).with_row_index("place")
    named = ordered.select("place", row="rows").explode("row", keep_nulls=False, empty_as_null=False).join(ids, on="row", how="left")
    checkpoints = named.group_by("place", maintain_order=True).agg(checkpoints=pl.col("checkpoint").drop_nulls())
    time = pl.Datetime("us", "UTC")
    return (
        ordered.join(labels, on="study_id", how="left")
        .join(checkpoints, on="place", how="left")
        .sort("place")
        .with_columns(pl.col("checkpoints").fill_null([]), pl.col("severity").cast(pl.String()), pl.col("start", "end").cast(time))
        .select(list(_COLUMNS))
    )


def _unchecked(grid: pl.DataFrame, ran: Running | None, rows: pl.DataFrame) -> list[str]:
    """Say what could not be checked."""
    studies = rows["study_id"].unique().cast(pl.String())
    without = studies.len() if ran is None else len(set(studies.to_list()) - set(ran.known["study_id"].to_list()))
    told = []
    if without:
        told.append(
            f"Not checked, for want of {'its' if without == 1 else 'their'} lifecycle, for {plural(without, 'study', 'studies')}: whether "
            "checkpoints lie outside the running time or inside a pause. Give a kit, or (checkpoints, lifecycle)."
        )
    if loose := grid["length"].null_count():
        told.append(
            f"Not checked, for {plural(loose, 'study', 'studies')}: missing periods and lengths. There is no "
            "period type, and no length that half of the periods have."
        )
    return told
