"""The queries that only commands and explanations need."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from evalkit.domain.events import NoteAdded, event_of
from evalkit.domain.ids import time_of_event
from evalkit.domain.notes import Note, note_of
from evalkit.domain.study import Checkpoint
from evalkit.domain.times import stored_text
from evalkit.readmodel.corrections import NOT_RETRACTED, Corrections
from evalkit.readmodel.repository import EvalStorage
from evalkit.readmodel.rows import readable

__all__ = ["CommandQueries"]


class CommandQueries(EvalStorage):
    """The queries of `EvalStorage`, and those that only commands and explanations need."""

    def versions(self, study_id: str, checkpoint_ids: Sequence[str]) -> tuple[dict[str, Checkpoint], Corrections]:
        """Return the latest versions of checkpoints by id, with retracted ones, and corrections."""
        return self._versions(study_id, checkpoint_ids)

    def overlapping_period(self, study_id: str, start: datetime, end: datetime) -> tuple[datetime, datetime] | None:
        """Return the first period of a checkpoint that overlaps with a period, or None.

        Retracted checkpoints are not considered.
        """
        times = stored_text(end), stored_text(start)
        return self._period(study_id, "AND period_start < ? AND period_end > ? ORDER BY period_start LIMIT 1", times)

    def last_period(self, study_id: str) -> tuple[datetime, datetime] | None:
        """Return the period with the latest end of the checkpoints of a study, or None.

        Retracted checkpoints are not considered.
        """
        return self._period(study_id, "ORDER BY period_end DESC, period_start LIMIT 1")

    def starts_by_time_of_day(self, study_id: str) -> list[tuple[str, datetime]]:
        """Return the earliest checkpoint, its id and start, for each time of day of a start.

        Retracted checkpoints are not considered.
        """
        if not self._before_read():
            return []
        sql = f"""SELECT id, MIN(period_start) FROM checkpoints
            WHERE study_id = ? AND {NOT_RETRACTED} GROUP BY SUBSTR(period_start, 12)"""
        return [(str(name), datetime.fromisoformat(str(start))) for name, start in self._database.execute(sql, (study_id,))]

    def _period(self, study_id: str, condition: str, args: tuple[str, ...] = ()) -> tuple[datetime, datetime] | None:
        if not self._before_read():
            return None
        sql = f"SELECT period_start, period_end FROM checkpoints WHERE study_id = ? AND {NOT_RETRACTED} {condition}"
        for start, end in self._database.execute(sql, (study_id, *args)):
            return datetime.fromisoformat(str(start)), datetime.fromisoformat(str(end))
        return None

    def lifecycle(self, study_id: str) -> list[tuple[str, datetime]]:
        """Return the kind and time of the lifecycle events of a study, in their order."""
        if not self._before_read():
            return []
        rows = self._database.execute("SELECT kind, event_id FROM lifecycle WHERE study_id = ? ORDER BY seq", (study_id,))
        return [(str(kind), time_of_event(str(event_id))) for kind, event_id in rows]

    def get_note(self, study_id: str, note_id: str) -> Note | None:
        """Return the note with an exact id in a study, or None."""
        if not self._before_read():
            return None
        sql = "SELECT body FROM changes WHERE study_id = ? AND kind = 'note_added' AND subject = ?"
        with readable(self._database):
            events = [event_of(str(body)) for (body,) in self._database.execute(sql, (study_id, note_id))]
        return next((note_of(event) for event in events if isinstance(event, NoteAdded)), None)

    def find_checkpoints(self, reference: str, limit: int) -> list[tuple[str, str]]:
        """Return (study id, id) of up to `limit` checkpoints by an id, or else the end of an id.

        Retracted checkpoints are included.
        """
        if not self._before_read():
            return []
        exact = "SELECT study_id, c.id FROM studies s CROSS JOIN checkpoints c ON c.study_id = s.id AND c.id = ? LIMIT ?"
        ending = "SELECT study_id, id FROM checkpoints WHERE substr(id, -length(?)) = ? ORDER BY study_id, id LIMIT ?"
        rows = self._database.execute(exact, (reference, limit)) or self._database.execute(ending, (reference, reference, limit))
        return [(str(study_id), str(checkpoint_id)) for study_id, checkpoint_id in rows]
