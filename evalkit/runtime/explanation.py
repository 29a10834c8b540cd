"""The history of one checkpoint: its event, log position, origin and versions."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic_core import from_json, to_jsonable_python

from evalkit.domain.corrections import changed_text, changes_of
from evalkit.domain.events import CheckpointAmended, CheckpointRetracted, event_of
from evalkit.domain.lenient import Provenance
from evalkit.domain.study import Checkpoint
from evalkit.errors import LogUnavailableError
from evalkit.eventlog.event_log import LogPosition, partition_of, record_at
from evalkit.readmodel.schema import read_head
from evalkit.runtime.engine import Engine

__all__ = ["Explanation", "Version", "explain"]


@dataclass(frozen=True)
class Version:
    """A correction of a checkpoint: an amendment, or its retraction."""

    revision: int | None
    """The version that the amendment made; None for a retraction."""
    changes: dict[str, Any]
    """The new values by name; None withdraws a value. Empty for a retraction."""
    provenance: Provenance | None
    """The origin of the new values, if it changed."""
    reason: str
    author: str | None
    event_id: str
    position: LogPosition
    """The partition and offset of its event in the log."""
    written_at: datetime | None
    """When the event was appended, by its writer's clock; None for events without it."""


@dataclass(frozen=True)
class Explanation:
    """Where the values of a checkpoint come from, as `EvalKit.explain` returns it.

    Examples
    --------
    >>> import tempfile, evalkit
    >>> kit = evalkit.connect(tempfile.mkdtemp())
    >>> study = kit.start_study(kit.create_study("nightly agent"))
    >>> made = kit.record_checkpoint(study, {"period_start": "2026-01-31", "total_cost": 15}, tz="UTC", key="a")
    >>> made = kit.amend_checkpoint(made, {"total_cost": 1.5}, reason="The decimal point was wrong")
    >>> explanation = kit.explain((study, "a"))
    >>> explanation.versions[0].changes, explanation.position.offset
    ({'total_cost': 1.5}, 2)
    """

    study: str
    """The name of the study."""
    checkpoint: Checkpoint
    """The latest version."""
    event_id: str
    """The id of the event that recorded it."""
    position: LogPosition
    """The partition and offset of that event in the log."""
    written_at: datetime | None
    """When that event was appended, by its writer's clock; None for events without it."""
    provenance: Provenance | None
    """The origin of the latest values."""
    versions: tuple[Version, ...]
    """The amendments and the retraction, in the order of the log."""
    event: bytes | None
    """The event as it is in the log; None when the log is unreachable."""

    def as_dict(self) -> dict[str, Any]:
        """Return the explanation as data for JSON.

        Examples
        --------
        >>> import tempfile, evalkit
        >>> kit = evalkit.connect(tempfile.mkdtemp())
        >>> study = kit.start_study(kit.create_study("nightly agent"))
        >>> made = kit.record_checkpoint(study, {"period_start": "2026-01-31", "total_cost": 15}, tz="UTC")
        >>> explanation = kit.explain(made).as_dict()
        >>> explanation["study"], explanation["versions"]
        ('nightly agent', [])
        """
        versions = [
            {
                "revision": version.revision, "changes": to_jsonable_python(version.changes),
                "provenance": None if version.provenance is None else version.provenance.model_dump(), "reason": version.reason,
                "author": version.author, "event_id": version.event_id, **version.position._asdict(),
                "written_at": to_jsonable_python(version.written_at),
            }
            for version in self.versions
        ]  # fmt: skip
        return {
            "study_id": self.checkpoint.study_id, "study": self.study, "checkpoint_id": self.checkpoint.id, "event_id": self.event_id,
            **self.position._asdict(), "written_at": to_jsonable_python(self.written_at),
            "provenance": None if self.provenance is None else self.provenance.model_dump(), "revision": self.checkpoint.revision,
            "retracted": self.checkpoint.retracted, "versions": versions,
            "event": None if self.event is None else from_json(self.event),
        }  # fmt: skip

    def __str__(self) -> str:
        made = self.checkpoint
        lines = [
            f"{made!r} of study {self.study!r}",
            f"  id         {made.id}",
            f"  recorded   {_moment(made.recorded_at)}, written {_moment(self.written_at)}",
            f"  event      {self.event_id}, {_place(self.position)}",
            f"  provenance {'unknown' if self.provenance is None else _origin(self.provenance)}",
        ]
        for version in self.versions:
            changes = [changed_text(version.changes)] if version.changes else []
            changes += [] if version.provenance is None else [f"collector {version.provenance.collector}"]
            what = "retracted" if version.revision is None else f"revision {version.revision}: {'; '.join(changes)}"
            by = "" if version.author is None else f" by {version.author!r}"
            lines.append(f"  {what}; reason: {version.reason!r}{by}, written {_moment(version.written_at)}, {_place(version.position)}")
        return "\n".join(lines)

    __repr__ = __str__


def explain(engine: Engine, study: str, checkpoint: Checkpoint) -> Explanation:
    """Return the history of a checkpoint of a read model that is up to date.

    Parameters
    ----------
    engine
        The log and the read model.
    study
        The name of the checkpoint's study.
    checkpoint
        Its latest version.
    """
    head = read_head(engine.database)
    partition = partition_of(checkpoint.study_id, 1 if head is None else len(head.positions))
    key = (checkpoint.study_id, checkpoint.id)
    sql = "SELECT event_id, written_at, log_offset FROM checkpoints WHERE study_id = ? AND id = ?"
    ((event_id, written_at, offset),) = engine.database.execute(sql, key)
    position = LogPosition(partition, int(str(offset)))
    sql = """SELECT body, event_id, written_at, log_offset FROM changes
    WHERE study_id = ? AND subject = ? AND kind IN ('checkpoint_amended', 'checkpoint_retracted') ORDER BY seq"""
    versions: list[Version] = []
    for body, of_event, written, at in engine.database.execute(sql, key):
        event = event_of(str(body))
        assert isinstance(event, CheckpointAmended | CheckpointRetracted)
        place = str(of_event), LogPosition(partition, int(str(at))), _stored_time(written)
        if isinstance(event, CheckpointAmended):
            changes = {name: value for name, value in changes_of(event).items() if name != "provenance"}
            versions.append(Version(event.revision + 1, changes, event.provenance, event.reason, event.author, *place))
        else:
            versions.append(Version(None, {}, None, event.reason, event.author, *place))
    try:
        record = record_at(engine.log, position)
    except LogUnavailableError:
        record = None
    return Explanation(
        study, checkpoint, str(event_id), position, _stored_time(written_at), checkpoint.provenance, tuple(versions),
        None if record is None else record.data,
    )  # fmt: skip


def _stored_time(text: object) -> datetime | None:
    return None if text is None else datetime.fromisoformat(str(text))


def _moment(moment: datetime | None) -> str:
    return "at an unknown time" if moment is None else f"{moment:%Y-%m-%d %H:%M:%S} UTC"


def _place(position: LogPosition) -> str:
    return f"partition {position.partition}, offset {position.offset}"


def _origin(provenance: Provenance) -> str:
    parts = {name: value for name, value in provenance.model_dump(exclude_defaults=True).items() if name not in ("collector", "version")}
    name = provenance.collector if provenance.version is None else f"{provenance.collector} {provenance.version}"
    texts = [f"{field}: {', '.join(map(_text, value)) if isinstance(value, list) else value}" for field, value in parts.items()]
    return "; ".join([name, *texts])


def _text(value: object) -> str:
    return str(value["name"]) if isinstance(value, dict) else str(value)
