"""evalkit: longitudinal evaluation studies of AI agents, from a notebook.

>>> import evalkit
>>> kit = evalkit.connect()  # doctest: +SKIP
"""

from evalkit.commands import CreateStudy, RecordCheckpoint
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
from evalkit.ids import CheckpointId, StudyId
from evalkit.kit import EvalKit, connect
from evalkit.metrics import METRICS, LongitudinalMetrics, TimePeriod
from evalkit.study import Checkpoint, PeriodType, Study, StudyConfig, StudyStatus

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
