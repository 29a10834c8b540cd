"""Decides for each due period: record, amend, or leave it. It writes nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from functools import cache
from typing import Any, NamedTuple

import polars as pl

from evalkit._util.distribution import installed_version
from evalkit._util.text import alternatives, plural
from evalkit.collect.checkpoint_values import checkpoint_values, implied_metrics, included_names, measured_metrics
from evalkit.collect.collected import CollectedPeriod, PeriodStatus
from evalkit.collect.due import DEFAULT_GRACE, Interval, days_to_keep, retention_needed
from evalkit.collect.evidence import Evidence, evidence_hash, evidence_hashes, merged_sessions
from evalkit.collect.labels import LabelFunction
from evalkit.collect.placement import covered_time
from evalkit.collect.prices import Prices
from evalkit.collect.source import Problems
from evalkit.collect.sources import completed_by
from evalkit.domain.commands import RecordCheckpoint
from evalkit.domain.definitions import Metric
from evalkit.domain.study import Checkpoint, PeriodType
from evalkit.domain.times import duration_pair

__all__ = ["DETAILS", "PeriodPlan", "Planner", "ReadSessions", "Settings"]

DETAILS = ("events_analyzed", "sessions_included")
"""What can be amended besides metrics."""
_SHOWN = 3
_MAX_SOURCES = 100
"""The largest number of files that the provenance of a checkpoint lists; the evidence has the others."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How the sessions of a source are recorded."""

    name: str
    """The name of the source in idempotency keys."""
    collector: str
    """The name of the format, for the provenance."""
    zone: tzinfo = UTC
    """The time zone whose calendar the periods follow."""
    grace: timedelta = DEFAULT_GRACE
    allow_empty: bool = False
    """Whether a period without sessions is recorded even if the source does not cover it."""
    amend_late: bool = False
    dry_run: bool = False
    labels: pl.DataFrame | LabelFunction | None = None
    prices: Prices | None = None
    only_with_sessions: bool = False
    """Whether periods without sessions are left out, as for a frame."""


class ReadSessions(NamedTuple):
    """The sessions of a source, with their labels and prices."""

    sessions: pl.DataFrame
    problems: Problems
    files: int | None = None
    """The number of files; None if the source does not count them."""
    changed: int | None = None
    """The number of files that were read now."""
    retention_days: float | None = None
    """After how many days the logs are deleted; None if they are kept."""


@dataclass
class PeriodPlan:
    """A due period, and what to do with it."""

    bounds: Interval
    key: str
    """The idempotency key of its checkpoint."""
    sessions: pl.DataFrame
    """Those of the logs; once compared with a checkpoint, those of its evidence too."""
    checkpoint: Checkpoint | None
    status: PeriodStatus = "unchanged"
    note: str = ""
    evidence: str = ""
    """The hash of the sessions."""
    moved: int = 0
    """The number of sessions of the logs that were recorded in other periods."""
    recorded: pl.DataFrame | None = None
    """The sessions in the evidence of the checkpoint; None if they are not known."""
    command: RecordCheckpoint | None = None
    """The checkpoint to record."""
    changes: dict[str, Any] = field(default_factory=dict)
    """The values to amend."""
    provenance: dict[str, Any] = field(default_factory=dict)

    @property
    def has_evidence(self) -> bool:
        """Whether the sessions are those of the checkpoint's evidence."""
        return self.checkpoint is not None and bool(self.evidence) and _evidence_name(self.checkpoint) == self.evidence

    def result(self) -> CollectedPeriod:
        """Return what was done."""
        checkpoint = None if self.checkpoint is None else str(self.checkpoint.id)
        return CollectedPeriod(*self.bounds, self.status, self.sessions.height, self.key, checkpoint, self.note)


class Planner:
    """Plans the due periods of one study.

    Parameters
    ----------
    period_type
        The type of the study's periods.
    settings
        How sessions are recorded.
    read
        The sessions of the source.
    evidence
        The sessions of recorded checkpoints.
    definitions
        The definitions of the study's custom metrics by name.
    now
        The time at which the source was read.
    """

    def __init__(
        self,
        period_type: PeriodType,
        settings: Settings,
        read: ReadSessions,
        evidence: Evidence,
        definitions: Mapping[str, Metric],
        *,
        now: datetime,
    ) -> None:
        self._period_type, self._settings, self._read, self._evidence, self._now = period_type, settings, read, evidence, now
        self._definitions = dict(definitions)
        self._measured = measured_metrics(read.sessions)
        self.notes: dict[str, None] = {}
        """Remarks about the data, in their order."""
        self.definitions: list[Metric] = []
        """The definitions that the study lacks."""

    def plan(self, periods: Sequence[PeriodPlan], checkpoints: Mapping[str, Checkpoint]) -> None:
        """Decide about periods.

        Parameters
        ----------
        periods
            The due periods, whose status and changes are set.
        checkpoints
            The checkpoints of the source by key, those of other periods too.
        """
        self._leave_recorded(periods, checkpoints)
        sessions = self._read.sessions
        ended = sessions.filter(pl.col("ended_at") <= self._now)
        if later := sessions["ended_at"].count() - ended.height:
            self._remark(f"{plural(later, 'session')} ended in the future, by the clock of this machine. Check the times of the logs.")
        covered = covered_time(ended, checkpoints.values())
        hashes = evidence_hashes([period.sessions for period in periods])
        changed = []
        for period, current in zip(periods, hashes, strict=True):
            period.evidence = current
            if self._is_new(period, covered) if period.checkpoint is None else self._is_different(period, period.checkpoint):
                changed.append(period)
        if changed:
            together = pl.concat([period.sessions for period in changed], how="diagonal_relaxed")
            if together.height and (together["outcome"] == "unknown").all():
                self._remark(
                    "No session has an outcome, so session_success_rate is missing. Pass labels (--labels in a shell) to add them."
                )
            self.definitions = implied_metrics(together, self._definitions)
            self._definitions |= {metric.name: metric for metric in self.definitions}
        for period in changed:
            self._prepare(period)
        self._explain_retention(periods)

    def _explain_retention(self, periods: Sequence[PeriodPlan]) -> None:
        """Add how often to collect, or how long to keep logs, if they are deleted too soon."""
        days = self._read.retention_days
        if days is None:
            return
        spare = timedelta(days=days) - retention_needed(self._period_type, self._settings.grace)
        if spare <= timedelta(0):
            kept, kind = days_to_keep(self._period_type, self._settings.grace), self._period_type.value
            self._remark(
                f"Logs are deleted after {days:g} days, before a {kind} period can be recorded. Keep them for {kept} days or longer."
            )
        elif any(period.status == "incomplete" for period in periods):
            often = plural(max(spare // timedelta(days=1), 1), "day") if spare >= timedelta(days=1) else "hour"
            self._remark(f"Logs are deleted after {days:g} days, so incomplete periods are not recorded. Collect at least every {often}.")

    def _remark(self, note: str) -> None:
        self.notes[note] = None

    def _is_expired(self, period: PeriodPlan) -> bool:
        """Return whether logs of a period may have been deleted."""
        days = self._read.retention_days
        return days is not None and period.bounds.start < self._now - timedelta(days=days)

    def _leave_recorded(self, periods: Sequence[PeriodPlan], checkpoints: Mapping[str, Checkpoint]) -> None:
        """Leave each session in the period in which it was recorded.

        Otherwise it would count twice when its end changes.
        """
        owners: dict[str, str] = {}
        for key, checkpoint in checkpoints.items():
            if not checkpoint.retracted:
                owners |= dict.fromkeys(self._recorded_ids(checkpoint), key)
        moved = 0
        for period in periods:
            ids = period.sessions["session_id"].to_list()
            elsewhere = [session_id for session_id in ids if owners.get(session_id, period.key) != period.key]
            if elsewhere:
                moved += len(elsewhere)
                period.moved = len(elsewhere)
                period.sessions = period.sessions.filter(~pl.col("session_id").is_in(elsewhere))
        if moved:
            self._remark(f"{plural(moved, 'session')} stayed in the period of the first recording, although the end has changed.")

    def _recorded_ids(self, checkpoint: Checkpoint) -> Sequence[str]:
        """Return the ids of the sessions of a checkpoint.

        They are in its evidence if the event had no room for them.
        """
        if checkpoint.sessions_included or not checkpoint.metrics.sessions_completed:
            return checkpoint.sessions_included
        recorded = self._evidence.read(_evidence_name(checkpoint) or "")
        return [] if recorded is None else recorded["session_id"].to_list()

    def _is_new(self, period: PeriodPlan, covered: Interval | None) -> bool:
        """Return whether a period without a checkpoint gets one; otherwise say why not."""
        if self._is_expired(period):
            period.status = "incomplete"
            period.note = f"begins more than {self._read.retention_days:g} days ago, after which the logs are deleted"
            return False
        if period.sessions.height or self._settings.allow_empty:
            return True
        if period.moved:  # something ran in it
            period.status, period.note = "empty", f"{plural(period.moved, 'session')} in other periods, where they were recorded before"
            return False
        if hidden := self._read.problems.hidden_since(period.bounds.start):
            reason = f"{plural(hidden, 'file')} could not be read"
            period.status, period.note = "empty", f"no sessions, but {reason}"
            return False
        if covered is None or period.bounds.start < covered.start or covered.end < period.bounds.end:
            period.status, period.note = "empty", "no sessions, and the logs have none before or none after it"
            return False
        return True

    def _is_different(self, period: PeriodPlan, checkpoint: Checkpoint) -> bool:
        """Return whether the sessions of a period are not those of its checkpoint.

        They become those that are known from the logs and the evidence.
        """
        if checkpoint.retracted:
            period.status = "retracted"
            return False
        name, expired = _evidence_name(checkpoint), self._is_expired(period)
        if not expired and period.evidence == name:
            return False
        if name is not None and (recorded := self._evidence.read(name)) is not None:
            # Logs of an expired period may be incomplete, so only its evidence counts.
            merged = recorded if expired else merged_sessions(period.sessions, recorded)
            period.sessions = completed_by(merged, self._settings.labels, self._settings.prices, Problems())
            period.recorded = recorded
            period.evidence = name if period.sessions.equals(recorded) else evidence_hash(period.sessions)
            return period.evidence != name
        included = checkpoint.sessions_included
        comparable = (
            not expired
            and checkpoint.revision == 0  # otherwise a value may be a correction
            and len(included) == checkpoint.metrics.sessions_completed
            and period.sessions.height >= checkpoint.events_analyzed
            and set(period.sessions["session_id"]).issuperset(included)
        )
        if not comparable:
            period.note = "its evidence is not on this machine, so the recorded sessions are not compared"
        return comparable

    def _prepare(self, period: PeriodPlan) -> None:
        """Set the status of a new or changed period, and what to append."""
        values, problems = checkpoint_values(period.sessions, self._definitions, self._measured)
        self.notes.update(dict.fromkeys(problems))
        details: dict[str, Any] = {"events_analyzed": period.sessions.height, "sessions_included": included_names(period.sessions)}
        period.provenance = self._provenance(period)
        if period.checkpoint is not None:
            self._prepare_amendment(period, period.checkpoint, values, details)
            return
        period.status = "recorded"
        bounds = {"period_start": period.bounds.start, "period_end": period.bounds.end, "provenance": period.provenance}
        period.command = RecordCheckpoint({**values, **bounds}, **details, key=period.key, definitions=self._definitions)

    def _prepare_amendment(self, period: PeriodPlan, checkpoint: Checkpoint, values: Mapping[str, Any], details: Mapping[str, Any]) -> None:
        """Set what differs from the checkpoint, except metrics that a person amended."""
        stored = _values_of(checkpoint)
        if period.recorded is None:  # what cannot be computed from sessions stays
            before = {metric: stored.get(metric) for metric in values}
        else:
            before = checkpoint_values(period.recorded, self._definitions, self._measured)[0]
        different = [metric for metric in {**before, **values} if _plain(values.get(metric)) != _plain(before.get(metric))]
        corrected = [metric for metric in different if metric in before and _plain(stored.get(metric)) != _plain(before[metric])]
        period.changes = {metric: values.get(metric) for metric in different if metric not in corrected}
        period.changes |= {name: value for name, value in details.items() if value != getattr(checkpoint, name)}
        if corrected:
            self._remark(f"Metrics that were amended by hand are kept: {', '.join(corrected)}.")
        if period.changes:
            added = period.sessions.height - (checkpoint.events_analyzed if period.recorded is None else period.recorded.height)
            period.note = (f"{plural(added, 'more session')}; " if added > 0 else "") + _named(period.changes)
            period.status = "amended" if self._settings.amend_late else "late"

    def _provenance(self, period: PeriodPlan) -> dict[str, Any]:
        sessions, prices = period.sessions, self._settings.prices

        def names(column: str) -> list[str]:
            return sorted(sessions[column].drop_nulls().unique().to_list())

        agents, versions, bases = names("agent"), names("agent_version"), names("cost_basis")
        files = sessions.select("source", "source_sha256").drop_nulls("source").unique().sort("source")
        values: dict[str, Any] = {
            "collector": self._settings.collector,
            "version": _version(),
            "sources": [{"name": name, "sha256": sha256} for name, sha256 in files.rows()] if files.height <= _MAX_SOURCES else [],
            "models": names("model"),
            "agent": agents[0] if len(agents) == 1 else None,
            "agent_version": versions[-1] if versions else None,
            "cost_basis": bases[0] if len(bases) == 1 else None,
            "prices": prices.name if prices is not None and "estimated" in bases else None,
            "evidence": period.evidence,
        }
        return {name: value for name, value in values.items() if value is not None}


@cache
def _version() -> str:
    return installed_version()


def _evidence_name(checkpoint: Checkpoint) -> str | None:
    return None if checkpoint.provenance is None else checkpoint.provenance.evidence


def _values_of(checkpoint: Checkpoint) -> dict[str, Any]:
    values = {name: value for name, value in vars(checkpoint.metrics).items() if name not in ("period", "custom") and value is not None}
    return {**values, **checkpoint.metrics.custom}


def _plain(value: Any) -> Any:
    return duration_pair(value) if isinstance(value, timedelta) else value


def _named(changes: Mapping[str, Any]) -> str:
    names = [name for name in changes if name not in DETAILS] or list(changes)
    shown = names if len(names) <= _SHOWN else [*names[: _SHOWN - 1], f"{len(names) - _SHOWN + 1} more metrics"]
    return f"{alternatives(shown, 'and')} changed"
