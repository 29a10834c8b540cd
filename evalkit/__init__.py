"""evalkit: longitudinal evaluation studies of AI agents.

>>> import evalkit
>>> kit = evalkit.connect()  # doctest: +SKIP
>>> study = kit.create_study("nightly agent", period="daily")  # doctest: +SKIP
"""

from importlib import import_module as _import_module
from typing import TYPE_CHECKING as _TYPE_CHECKING

from evalkit.domain.catalog import METRICS
from evalkit.domain.commands import CreateStudy, RecordCheckpoint
from evalkit.domain.definitions import Metric
from evalkit.domain.ids import CheckpointId, StudyId
from evalkit.domain.metrics import LongitudinalMetrics, TimePeriod
from evalkit.domain.notes import Note
from evalkit.domain.study import Checkpoint, PeriodType, Study, StudyConfig, StudyStatus
from evalkit.errors import (
    AmbiguousStudyError,
    ConflictError,
    DatabaseBusyError,
    DatabaseDamagedError,
    DatabaseError,
    DatabaseUnavailableError,
    EvalkitError,
    EvalkitWarning,
    InvalidInputError,
    LogDamagedError,
    LogError,
    LogIncompleteError,
    LogMismatchError,
    LogUnavailableError,
    Message,
    MissingExtraError,
    OutcomeUnknownError,
    ReadOnlyError,
    RebuildSupersededError,
    RecorderError,
    SchemaError,
    StudyExistsError,
    StudyNotFoundError,
    TransitionError,
)
from evalkit.kit import EvalKit, connect
from evalkit.readmodel.pins import Pin
from evalkit.readmodel.rebuild import RebuildResult
from evalkit.readmodel.repository import EvalStorage
from evalkit.readmodel.verify import VerifyResult
from evalkit.runtime.checkpoints import RecordedCheckpoints
from evalkit.runtime.explanation import Explanation
from evalkit.runtime.status import Status

if _TYPE_CHECKING:
    from evalkit.frames.mirror import Mirror
    from evalkit.frames.study_data import StudyData
    from evalkit.panel.panel import Panel
    from evalkit.recording.recorder import Recorder

__all__ = [
    "METRICS",
    "AmbiguousStudyError",
    "Checkpoint",
    "CheckpointId",
    "ConflictError",
    "CreateStudy",
    "DatabaseBusyError",
    "DatabaseDamagedError",
    "DatabaseError",
    "DatabaseUnavailableError",
    "EvalKit",
    "EvalStorage",
    "EvalkitError",
    "EvalkitWarning",
    "Explanation",
    "InvalidInputError",
    "LogDamagedError",
    "LogError",
    "LogIncompleteError",
    "LogMismatchError",
    "LogUnavailableError",
    "LongitudinalMetrics",
    "Message",
    "Metric",
    "Mirror",
    "MissingExtraError",
    "Note",
    "OutcomeUnknownError",
    "Panel",
    "PeriodType",
    "Pin",
    "ReadOnlyError",
    "RebuildResult",
    "RebuildSupersededError",
    "RecordCheckpoint",
    "RecordedCheckpoints",
    "Recorder",
    "RecorderError",
    "SchemaError",
    "Status",
    "Study",
    "StudyConfig",
    "StudyData",
    "StudyExistsError",
    "StudyId",
    "StudyNotFoundError",
    "StudyStatus",
    "TimePeriod",
    "TransitionError",
    "VerifyResult",
    "connect",
]

_LAZY = {
    "Mirror": "evalkit.frames.mirror", "Panel": "evalkit.panel.panel", "Recorder": "evalkit.recording.recorder",
    "StudyData": "evalkit.frames.study_data",
}  # fmt: skip
"""Names that are imported on first access, because their modules are slow to import."""


def __getattr__(name: str) -> object:
    if name in ("analysis", "collect", "plots"):
        return _import_module(f"evalkit.{name}")
    if name in _LAZY:
        return getattr(_import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'evalkit' has no attribute {name!r}")
