"""What `evalkit doctor` says about collecting."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from evalkit._util.text import alternatives, moment, plural
from evalkit.collect.due import DEFAULT_GRACE, days_to_keep, due_periods, parse_grace, period_key, retention_needed, running_intervals
from evalkit.collect.evidence import Evidence
from evalkit.collect.log_files import log_files
from evalkit.collect.recorded_sessions import evidence_rows
from evalkit.collect.requests import saved_source
from evalkit.collect.saved_source import Places, SavedSource, read_places
from evalkit.collect.source import FileSource, Problems
from evalkit.collect.sources import SourceReference, has_default, parse_location
from evalkit.domain.study import Study
from evalkit.domain.time_input import check_zone
from evalkit.errors import EvalkitError, Message

if TYPE_CHECKING:
    from evalkit.kit import EvalKit

__all__ = ["Health", "collect_health"]

_NAMED = 4
"""The largest number of checkpoints that a problem names."""
_SOON = timedelta(days=7)
"""Logs that are deleted within this time are a problem."""


@dataclass
class Health:
    """Problems, and notes that need no action now."""

    problems: list[Message] = field(default_factory=list)
    notes: list[Message] = field(default_factory=list)


def collect_health(kit: EvalKit, now: datetime | None = None) -> Health:
    """Check the evidence of all studies, and the saved sources.

    Sources can have due periods, and logs that will be deleted soon.

    Examples
    --------
    >>> import tempfile, evalkit
    >>> collect_health(evalkit.connect(tempfile.mkdtemp())).problems
    []
    """
    health, now = Health(), now or datetime.now(UTC)
    if not kit.engine.exists:
        return health
    settings = kit.engine.settings
    evidence = Evidence(settings.evidence)
    rows = evidence_rows(kit)
    missing: dict[str, list[str]] = {}
    is_closed = evidence.folder.exists() and not os.access(evidence.folder, os.R_OK | os.X_OK)
    if is_closed:
        problem = f"Cannot read the folder of the evidence {str(evidence.folder)!r}: permission denied"
        health.problems.append(Message(problem=problem, hint="Ask its owner for read access, or set EVALKIT_EVIDENCE to another folder."))
    for study_name, start, evidence_hash in rows.select("study", "period_start", "evidence").iter_rows():
        if not is_closed and not evidence.has(evidence_hash):
            missing.setdefault(study_name, []).append(moment(start))
    for study_name, starts in missing.items():
        named = starts if len(starts) <= _NAMED else [*starts[: _NAMED - 1], f"{len(starts) - _NAMED + 1:,} more"]
        health.problems.append(
            Message(
                problem=f"The sessions of {plural(len(starts), 'checkpoint')} of study {study_name!r} ({alternatives(named, 'and')}) "
                f"are not in {str(evidence.folder)!r}",
                hint="Copy the files from the machine that collected them, or set EVALKIT_EVIDENCE to a folder that all machines share.",
            )
        )  # fmt: skip
    if rows.height and not kit.engine.embedded and settings.shared_evidence is None:
        health.notes.append(
            Message(
                problem=f"The sessions of {plural(rows.height, 'checkpoint')} are on this machine alone",
                hint="Set EVALKIT_EVIDENCE to a folder that all machines share.",
            )
        )
    for study in kit.storage.list_studies() if kit.engine.not_writable is None else ():
        try:
            _check_source(kit, study, health, now)
        except (EvalkitError, OSError) as error:
            health.problems.append(Message(problem=f"Cannot check the source of study {study.name!r}: {error}"))
    return health


def _check_source(kit: EvalKit, study: Study, health: Health, now: datetime) -> None:
    """Check the source that a study keeps, if any."""
    saved = saved_source(study)
    if saved is None or study.started_at is None:
        return
    zone = check_zone("zone", saved.zone or "UTC")
    grace = parse_grace(saved.grace) if saved.grace else DEFAULT_GRACE
    running = running_intervals(kit._handlers.checkpoints.lifecycle(study))
    periods = due_periods(study.period_type, running, zone, now, grace)
    keys = {period_key(saved.name, period.start): period for period in periods}
    done = kit._handlers.checkpoints.versions_of_keys(study, list(keys))
    places = read_places(kit.engine.settings.home, study.id)
    if places is not None and (message := places.problem(study.name)) is not None:
        health.problems.append(message)
    reference = _place(places, saved)
    days = None if reference is None else reference.retention_days
    oldest = None if days is None else now - timedelta(days=days)
    due = [period for key, period in keys.items() if key not in done and (oldest is None or period.start >= oldest)]
    command = f"evalkit collect {study.name!r}"
    if due:
        health.notes.append(
            Message(
                problem=f"{plural(len(due), 'period')} of study {study.name!r} due since {due[0].end:%Y-%m-%d}",
                hint=f"Record them with kit.collect({study.name!r}). Those without data stay due.",
                shell_hint=f"Record them with: {command}. Those without data stay due.",
            )
        )  # fmt: skip
    if days is None or reference is None or not isinstance(reference.source, FileSource):
        return
    collected_until = max((period.end for key, period in keys.items() if key in done), default=None)
    due_until = max((period.end for period in periods), default=now - _SOON)
    soon = min(_SOON, timedelta(days=days) / 4)
    leaving = [
        modified
        for modified in _modification_times(reference.source, reference.path)
        if (collected_until is None or modified >= collected_until)
        and modified < due_until
        and modified + timedelta(days=days) < now + soon
    ]
    if timedelta(days=days) <= retention_needed(study.period_type, grace):
        health.problems.append(
            Message(
                problem=f"The logs of study {study.name!r} are deleted after {days:g} days, before a {study.period_type.value} period "
                "can be recorded",
                hint=f"Keep them for {days_to_keep(study.period_type, grace)} days or longer, with cleanupPeriodDays of Claude Code.",
            )
        )  # fmt: skip
    elif leaving:
        first = min(leaving) + timedelta(days=days)
        health.problems.append(
            Message(
                problem=f"{plural(len(leaving), 'log')} of study {study.name!r} that no checkpoint covers will be deleted from "
                f"{max(first, now):%Y-%m-%d} on, {days:g} days after the last activity",
                hint=f"Collect them now: kit.collect({study.name!r}).", shell_hint=f"Collect them now: {command}",
            )
        )  # fmt: skip


def _place(places: Places | None, saved: SavedSource) -> SourceReference | None:
    """Return the source with its path on this machine; None if the logs are on another one."""
    if places is None and not has_default(saved.source):
        return None
    reference = parse_location(f"{saved.source}:" if places is None else places.location)
    return reference if reference.path.exists() else None


def _modification_times(source: FileSource, location: Path) -> list[datetime]:
    times = []
    for _, path in log_files(location, source.matches, Problems()):
        try:
            times.append(datetime.fromtimestamp(path.stat().st_mtime, UTC))
        except OSError:
            continue
    return times
