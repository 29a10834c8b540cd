"""The sessions of recorded checkpoints: read them, and compute metrics again from them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from evalkit._util.text import alternatives, plural
from evalkit.collect.checkpoint_values import checkpoint_values
from evalkit.collect.evidence import Evidence
from evalkit.collect.session_frame import SESSION_SCHEMA
from evalkit.domain.catalog import METRICS
from evalkit.domain.refusals import unknown_name
from evalkit.errors import warn

if TYPE_CHECKING:
    from evalkit.domain.study_references import StudyRef
    from evalkit.kit import EvalKit

__all__ = ["Recomputed", "evidence_rows", "evidence_sessions", "recompute"]

_KEYS = ("study_id", "study", "checkpoint_id", "period_start")


def evidence_rows(kit: EvalKit, study: Any = None) -> pl.DataFrame:
    """Return the checkpoints that have evidence, with the hash of their sessions.

    The columns are study_id, study, checkpoint_id, period_start and evidence.
    """
    rows = kit.provenance(study).filter(pl.col("evidence").is_not_null())
    return rows.select("study_id", "study", "checkpoint_id", "period_start", "evidence")


def evidence_sessions(kit: EvalKit, study: Any) -> pl.DataFrame:
    """See `EvalKit.sessions`."""
    evidence, rows = Evidence(kit.engine.settings.evidence), evidence_rows(kit, study)
    frames = [pl.DataFrame(schema={**{name: rows.schema[name] for name in _KEYS}, **SESSION_SCHEMA})]
    missing = 0
    for row in rows.iter_rows(named=True):
        sessions = evidence.read(row["evidence"])
        if sessions is None:
            missing += 1
            continue
        keys = [pl.lit(row[name], dtype=rows.schema[name]).alias(name) for name in _KEYS]
        frames.append(sessions.select(*keys, pl.all()))
    if missing:
        warn(f"The sessions of {plural(missing, 'checkpoint')} are not in {str(evidence.folder)!r}.")
    return pl.concat(frames, how="diagonal_relaxed")


@dataclass(frozen=True)
class Recomputed:
    """The result of ``kit.recompute``.

    Examples
    --------
    >>> Recomputed(amended=3, unchanged=27, without_evidence=0)
    Recomputed(3 amended, 27 unchanged)
    """

    amended: int
    """The number of checkpoints that were amended."""
    unchanged: int
    """The number of checkpoints that already have the values."""
    without_evidence: int
    """The number of checkpoints whose sessions are not known."""

    def __repr__(self) -> str:
        lacking = f", {self.without_evidence} without evidence" if self.without_evidence else ""
        return f"Recomputed({self.amended} amended, {self.unchanged} unchanged{lacking})"


def recompute(kit: EvalKit, study: StudyRef, metrics: Iterable[str] | None, *, reason: str) -> Recomputed:
    """See `EvalKit.recompute`."""
    target = kit.resolve(study)
    definitions = kit._handlers.definitions(target)
    names = None if metrics is None else [metrics] if isinstance(metrics, str) else list(metrics)
    for metric in names or ():
        if metric not in METRICS and metric not in definitions:
            raise unknown_name("metric", metric, [*METRICS, *definitions], field="metrics")
    evidence = Evidence(kit.engine.settings.evidence)
    amended = unchanged = lacking = 0
    without_value = dict.fromkeys(names or ())
    for checkpoint in kit.storage.get_checkpoints(target.id):
        name = None if checkpoint.provenance is None else checkpoint.provenance.evidence
        sessions = None if name is None else evidence.read(name)
        if sessions is None:
            lacking += 1
            continue
        values = {} if sessions.is_empty() else checkpoint_values(sessions, definitions)[0]
        changes = {metric: value for metric, value in values.items() if names is None or metric in names}
        for metric in [metric for metric in without_value if values.get(metric) is not None]:
            del without_value[metric]
        later = kit.amend_checkpoint(checkpoint, changes, reason=reason) if changes else checkpoint
        if later is checkpoint or later.already_recorded:
            unchanged += 1
        else:
            amended += 1
    if without_value and amended + unchanged:
        warn(f"No recorded session has a value from which {alternatives(list(map(repr, without_value)))} can be computed.")
    return Recomputed(amended, unchanged, lacking)
