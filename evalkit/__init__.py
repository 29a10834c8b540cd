"""evalkit: longitudinal evaluation studies of AI agents, from a notebook.

>>> import evalkit
>>> kit = evalkit.connect()  # doctest: +SKIP
"""

from importlib import import_module as _import_module
from typing import Any as _Any

from evalkit.domain.commands import CreateStudy, RecordCheckpoint
from evalkit.domain.ids import CheckpointId, StudyId
from evalkit.domain.metrics import METRICS, LongitudinalMetrics, TimePeriod
from evalkit.domain.study import Checkpoint, PeriodType, Study, StudyConfig, StudyStatus
from evalkit.errors import (
    AmbiguousStudyError,
    ConflictError,
    EvalkitError,
    EvalkitWarning,
    InvalidInputError,
    OutcomeUnknownError,
    StudyExistsError,
    StudyNotFoundError,
    TransitionError,
)
from evalkit.kit import EvalKit, connect

__all__ = [
    "METRICS",
    "AmbiguousStudyError",
    "Checkpoint",
    "CheckpointId",
    "ConflictError",
    "CreateStudy",
    "EvalKit",
    "EvalkitError",
    "EvalkitWarning",
    "InvalidInputError",
    "LongitudinalMetrics",
    "OutcomeUnknownError",
    "PeriodType",
    "RecordCheckpoint",
    "Study",
    "StudyConfig",
    "StudyExistsError",
    "StudyId",
    "StudyNotFoundError",
    "StudyStatus",
    "TimePeriod",
    "TransitionError",
    "connect",
]


def __getattr__(name: str) -> _Any:
    if name in ("analysis", "plots"):  # heavy, so imported when first asked for
        return _import_module(f"evalkit.{name}")
    raise AttributeError(f"module 'evalkit' has no attribute {name!r}")
