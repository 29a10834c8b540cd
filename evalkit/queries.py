"""The reading half of the facade: frames and models, brought up to date before they are read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, overload

from evalkit.domain import validation as checks
from evalkit.domain.study import Checkpoint, Study
from evalkit.frames.columns import CHECKPOINTS, LIFECYCLE, REJECTED, STUDIES, empty_frame
from evalkit.frames.pandas_output import to_pandas
from evalkit.frames.reader import FrameReader
from evalkit.frames.selection import select
from evalkit.readmodel.references import References
from evalkit.readmodel.repository import EvalStorage
from evalkit.readmodel.schema import read_head
from evalkit.runtime.engine import Engine

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

__all__ = ["Queries"]


class Queries:
    """Answers from the read model. When the log is out of reach it answers all the same, and warns once with the read model's age."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._frames = FrameReader(engine.database, engine.database_identity)
        self._studies = References(EvalStorage(engine.database, engine.has_tables), engine.settings.home)
        self.storage = EvalStorage(engine.database, engine.ready_to_read)
        """The read model as models."""

    def resolve(self, reference: Study | str) -> Study:
        """Give the one study that a `Study`, an id, a name or the end of an id stands for.

        Raises
        ------
        StudyNotFoundError, AmbiguousStudyError
            When no study, or more than one, answers to it.
        """
        self._engine.ready_to_read()
        return self._studies.resolve(reference)

    @overload
    def studies(self, *, backend: Literal["polars"] = "polars") -> pl.DataFrame: ...
    @overload
    def studies(self, *, backend: Literal["pandas"]) -> pd.DataFrame: ...
    def studies(self, *, backend: str = "polars") -> Any:
        """Return every study, newest first: by creation time, then id, both descending.

        Columns: study_id, name, status, period_type, period_value, description, tags, metadata, created_at, started_at, stopped_at,
        checkpoints (how many), last_period_end. Times are UTC.
        """
        return self._frame(STUDIES, self._frames.studies, backend)

    @overload
    def checkpoints(
        self, study: Study | str | Sequence[Study | str] | None = None, start: datetime | None = None, end: datetime | None = None,
        by: Literal["timestamp", "period"] = "timestamp", exclude: Iterable[Checkpoint | str] = (), *,
        backend: Literal["polars"] = "polars",
    ) -> pl.DataFrame: ...  # fmt: skip
    @overload
    def checkpoints(
        self, study: Study | str | Sequence[Study | str] | None = None, start: datetime | None = None, end: datetime | None = None,
        by: Literal["timestamp", "period"] = "timestamp", exclude: Iterable[Checkpoint | str] = (), *, backend: Literal["pandas"],
    ) -> pd.DataFrame: ...  # fmt: skip
    def checkpoints(
        self,
        study: Study | str | Sequence[Study | str] | None = None,
        start: datetime | None = None,
        end: datetime | None = None,
        by: Literal["timestamp", "period"] = "timestamp",
        exclude: Iterable[Checkpoint | str] = (),
        *,
        backend: str = "polars",
    ) -> Any:
        """Give checkpoints, all of them unless told otherwise: by study (oldest first), timestamp, id.

        Columns: study_id, study, period_type, checkpoint_id, timestamp, recorded_at, period_start, period_end, the 16 metrics,
        events_analyzed, sessions_included. A metric that was not measured is null.

        Parameters
        ----------
        study
            A study (see `stop_study`), a list of them, or None for all.
        start, end
            Only what lies in ``[start, end)``, with a time zone.
        by
            What must lie there: the ``"timestamp"``, or the start of the ``"period"``.
        exclude
            Checkpoints to leave out: `Checkpoint` objects, exact ids, or the last four or more characters of ids. Events cannot be
            deleted; what should not count is left out by name.
        backend
            ``"polars"`` or ``"pandas"``.

        Raises
        ------
        StudyNotFoundError, AmbiguousStudyError
            When no study, or more than one, answers to `study`.
        InvalidInputError
            When a time has no time zone, or `exclude` names no checkpoint.
        """

        def read() -> pl.DataFrame:
            chosen = None if study is None else [study] if isinstance(study, Study | str) else list(study)
            ids = None if chosen is None else list(dict.fromkeys(self._studies.resolve(one).id for one in chosen))
            return select(self._frames.checkpoints(ids), start, end, by, exclude)

        return self._frame(CHECKPOINTS, read, backend, always=study is not None)

    @overload
    def lifecycle(self, *, backend: Literal["polars"] = "polars") -> pl.DataFrame: ...
    @overload
    def lifecycle(self, *, backend: Literal["pandas"]) -> pd.DataFrame: ...
    def lifecycle(self, *, backend: str = "polars") -> Any:
        """Give what happened to each study: study_id, study, seq (its order in the log, from 1), kind, status (after it), at."""
        return self._frame(LIFECYCLE, self._frames.lifecycle, backend)

    @overload
    def rejected(self, *, backend: Literal["polars"] = "polars") -> pl.DataFrame: ...
    @overload
    def rejected(self, *, backend: Literal["pandas"]) -> pd.DataFrame: ...
    def rejected(self, *, backend: str = "polars") -> Any:
        """Give the events that changed nothing: study_id, event_id, kind, outcome (rejected or quarantined), reason, message, at."""
        return self._frame(REJECTED, self._frames.rejected, backend)

    def _read_version(self) -> object:
        """Give what is another one whenever a frame may be: cheap, to ask before frames are read again."""
        if not self._engine.ready_to_read() or (head := read_head(self._engine.database)) is None:
            return None
        return (self._engine.database_identity(), head.generation, *(position.next for position in head.positions))

    def _read_state(self) -> tuple[str | None, str | None]:
        """Give why the last answer may be behind the log, and why nothing can be appended; None each where there is no reason."""
        return self._engine.behind, self._engine.not_writable

    def _frame(self, columns: dict[str, str], read: Callable[[], pl.DataFrame], backend: str, *, always: bool = False) -> Any:
        if backend not in ("polars", "pandas"):
            raise checks.invalid("backend", backend, "is neither 'polars' nor 'pandas'.")
        self._frames.check_process()
        frame = read() if self._engine.ready_to_read() or always else empty_frame(columns)
        return frame if backend == "polars" else to_pandas(frame, columns)
