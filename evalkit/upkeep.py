"""The part of the facade that looks after the read model: where it stands, made anew, compared with the log."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext

from evalkit._util.progress_bar import progress_bar
from evalkit.errors import ReadOnlyError
from evalkit.queries import Queries
from evalkit.readmodel.rebuild import RebuildResult, rebuild
from evalkit.readmodel.verify import VerifyResult, verify
from evalkit.runtime.status import Status, read_status

__all__ = ["Upkeep"]


class Upkeep(Queries):
    """Says how the read model is, makes it anew from the log, and compares it with the log."""

    def status(self) -> Status:
        """Say where the kit keeps its things, how far the read model is, and what is wrong, if anything is."""
        return read_status(self._engine)

    def rebuild(self, *, adopt_log: bool = False, on_progress: Callable[[int, int], None] | None = None) -> RebuildResult:
        """Make the read model anew from the log, while readers go on with the old one.

        Parameters
        ----------
        adopt_log
            Accept a log that is not the one the read model was made from.
        on_progress
            Called with the number of events replayed, and in the log; by default a progress bar is shown.

        Raises
        ------
        LogMismatchError
            When the log is another one, or lost events.
        """
        engine = self._engine
        if engine.not_writable is not None:
            raise ReadOnlyError(f"{engine.not_writable}, so the read model cannot be rebuilt. Ask for write access.")
        if not engine.exists:
            engine.ready_to_read()
            return RebuildResult(0, 0)
        try:
            with progress_bar("Rebuilding") if on_progress is None else nullcontext(on_progress) as show:
                return rebuild(engine.database, engine.log, adopt_log=adopt_log, on_progress=show, writer=engine.writer)
        finally:
            engine.consumer.restart()

    def verify(self, *, expect: str | None = None) -> VerifyResult:
        """Fold the log afresh and compare every row of the read model with it.

        Parameters
        ----------
        expect
            A digest noted earlier, to compare with as well.
        """
        if self._engine.ready_to_read():
            return verify(self._engine.database, self._engine.log, expect=expect)
        return VerifyResult("", None, expect)
