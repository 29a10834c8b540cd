"""Amendments of checkpoints: the changed values, their effect, and their text in messages.

Pure: an amendment is made from a checkpoint and the values that a user passes, and applied to a checkpoint.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from evalkit._util.text import alternatives
from evalkit.domain import validation as checks
from evalkit.domain.catalog import METRICS
from evalkit.domain.commands import checked_provenance, unknown_field
from evalkit.domain.definitions import Metric
from evalkit.domain.events import CheckpointAmended, CheckpointContent
from evalkit.domain.lenient import MAX_CUSTOM
from evalkit.domain.metrics import LongitudinalMetrics, MetricChanges, constructed
from evalkit.domain.refusals import invalid, is_missing, shown
from evalkit.domain.study import Checkpoint
from evalkit.domain.times import duration_pair
from evalkit.errors import InvalidInputError

__all__ = ["amend_call", "amended", "amendment", "call_to_amend", "changed_text", "changes_of"]

_FIXED = frozenset(("period", "period_start", "period_end", "timestamp", "recorded_at", "key"))
_COUNTED = ("events_analyzed", "sessions_included")
_SHOWN = 4
"""The largest number of changes that a message shows."""


def amendment(
    checkpoint: Checkpoint, values: Mapping[str, Any], definitions: Mapping[str, Metric], *, reason: str, author: str | None
) -> CheckpointAmended | None:
    """Return the event that changes values of a checkpoint; None if no value differs.

    Parameters
    ----------
    checkpoint
        The latest version.
    values
        Metrics by name, and ``"events_analyzed"``, ``"sessions_included"`` and ``"provenance"``. None withdraws a metric.
    definitions
        The study's custom metrics.
    reason, author
        See `EvalKit.amend_checkpoint`.

    Raises
    ------
    InvalidInputError
        When a name is unknown or cannot be amended, or a value is invalid.
    """
    metrics: dict[str, Any] = {}
    custom: dict[str, Any] = {}
    others: dict[str, Any] = {}
    for name, value in values.items():
        if name in _FIXED:
            raise _not_amendable(checkpoint, name, value)
        if name == "events_analyzed":
            others[name] = checks.check_count(name, value)
        elif name == "sessions_included":
            others[name] = checks.check_texts(name, value)
        elif name == "provenance":
            others[name] = checked_provenance(value)
        elif name in METRICS:
            metrics[name] = None if is_missing(value) else checks.CHECKERS[name](name, value)
        elif name in definitions:
            custom[name] = None if is_missing(value) else checks.custom_check(definitions[name])(name, value)
        else:
            raise unknown_field("metric", name, definitions, alternative="")
    metrics = {name: value for name, value in metrics.items() if _comparable(value) != _comparable(getattr(checkpoint.metrics, name))}
    custom = {name: value for name, value in custom.items() if value != checkpoint.metrics.custom.get(name)}
    others = {name: value for name, value in others.items() if value != getattr(checkpoint, name)}
    if not (metrics or custom or others):
        return None
    if custom:
        metrics["custom"] = custom
    if author is not None:
        others["author"] = author
    event = CheckpointAmended(
        type="checkpoint_amended", study_id=checkpoint.study_id, checkpoint_id=checkpoint.id, revision=checkpoint.revision,
        metrics=MetricChanges(**metrics), reason=reason, **others,
    )  # fmt: skip
    count = len(amended(checkpoint, event).metrics.custom)
    if max(count, len(custom)) > MAX_CUSTOM:  # a reader ignores all of them, also in an amendment
        raise checks.too_many_custom(max(count, len(custom)))
    return event


def _comparable(value: object) -> object:
    """Return a value that compares exactly: a timedelta has no nanoseconds."""
    return duration_pair(value) if isinstance(value, timedelta) else value


def _not_amendable(checkpoint: Checkpoint, name: str, value: object) -> InvalidInputError:
    return invalid(
        name, value, "only metrics, events_analyzed, sessions_included and provenance can be amended",
        hint=f"Retract the checkpoint, and record it again: kit.retract_checkpoint({checkpoint.id!r}, reason='...').",
    ).but(shell_hint=f"Retract the checkpoint, and record it again: evalkit checkpoint retract {checkpoint.id} --reason TEXT")  # fmt: skip


def amended(checkpoint: Checkpoint, event: CheckpointAmended) -> Checkpoint:
    """Return the next version of a checkpoint."""
    changes = event.metrics.changed()
    custom = {name: value for name, value in {**checkpoint.metrics.custom, **event.metrics.custom}.items() if value is not None}
    standard = {name: value for name, value in changes.items() if name in METRICS}
    update: dict[str, Any] = {
        "metrics": constructed(LongitudinalMetrics, {**vars(checkpoint.metrics), **standard, "custom": custom}),
        "revision": checkpoint.revision + 1,
    }
    return checkpoint.model_copy(update=update | {name: value for name, value in _others(event).items() if value is not None})


def _others(event: CheckpointAmended) -> dict[str, Any]:
    return {"events_analyzed": event.events_analyzed, "sessions_included": event.sessions_included, "provenance": event.provenance}


def changes_of(event: CheckpointAmended) -> dict[str, Any]:
    """Return the values that an amendment sets, by name; None for a withdrawn metric."""
    return event.metrics.changed() | {name: value for name, value in _others(event).items() if value is not None}


def changed_text(changes: Mapping[str, Any]) -> str:
    """Return changed values as text: ``total_cost = 2.5 and tool_calls = None``."""
    texts = [f"{name} = {_literal(value)}" for name, value in changes.items()]
    more = len(texts) - _SHOWN
    return alternatives(texts if more <= 1 else [*texts[:_SHOWN], f"{more} more values"], "and")


def call_to_amend(study: str, key: str | None, checkpoint: Checkpoint, content: CheckpointContent) -> str | None:
    """Return the call that gives a checkpoint other content.

    None if its period or timestamp would change.

    Examples
    --------
    >>> import tempfile, evalkit
    >>> kit = evalkit.connect(tempfile.mkdtemp())
    >>> study = kit.start_study(kit.create_study("nightly"))
    >>> checkpoint = kit.record_checkpoint(study, {"period_start": "2026-01-31", "total_cost": 1}, key="a", tz="UTC")
    >>> other = evalkit.RecordCheckpoint({"period_start": "2026-01-31", "total_cost": 2}, tz="UTC", period_type="daily")
    >>> call_to_amend("nightly", "a", checkpoint, other)
    "kit.amend_checkpoint(('nightly', 'a'), {'total_cost': 2.0}, reason='...')"
    """
    old, new = checkpoint.metrics, content.metrics
    if (checkpoint.timestamp, old.period) != (content.timestamp, new.period):
        return None
    names = [name for name in METRICS if _comparable(getattr(old, name)) != _comparable(getattr(new, name))]
    changes = {name: getattr(new, name) for name in names}
    changes |= {name: new.custom.get(name) for name in old.custom | new.custom if old.custom.get(name) != new.custom.get(name)}
    changes |= {name: getattr(content, name) for name in _COUNTED if getattr(checkpoint, name) != getattr(content, name)}
    return amend_call(checkpoint.id if key is None else (study, key), changes)


def amend_call(reference: str | tuple[str, str], changes: Mapping[str, Any]) -> str:
    """Return the call that amends a checkpoint, to paste unless there are many changes.

    Examples
    --------
    >>> amend_call(("nightly", "a"), {"total_cost": 2.5, "events_analyzed": 3})
    "kit.amend_checkpoint(('nightly', 'a'), {'total_cost': 2.5, 'events_analyzed': 3}, reason='...')"
    """
    texts = [f"{name!r}: {_literal(value)}" for name, value in changes.items() if name != "provenance"]
    metrics = f"{{{', '.join(texts)}}}" if 0 < len(texts) <= _SHOWN else "metrics"
    return f"kit.amend_checkpoint({reference!r}, {metrics}, reason='...')"


def _literal(value: object) -> str:
    """Return a value as Python code: a duration in seconds."""
    if isinstance(value, timedelta):
        seconds, nanoseconds = duration_pair(value)
        return repr(seconds + nanoseconds / 1e9)
    return shown(value)
