"""One session of a recorder, from entering its block to leaving it."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from types import TracebackType
from typing import TYPE_CHECKING, Any

from evalkit.domain import validation as checks
from evalkit.errors import EvalkitError, EvalkitWarning, InvalidInputError, RecorderError, warn
from evalkit.recording.aggregate import SessionRecord

if TYPE_CHECKING:
    from evalkit.recording.recorder import Recorder

_MOST = 10**15

__all__ = ["Session"]

_INTERRUPTIONS = (KeyboardInterrupt, SystemExit, GeneratorExit, asyncio.CancelledError)
_inside: ContextVar[Session | None] = ContextVar("_inside", default=None)


class Session:
    """One session of a recorder, measured from entering to leaving."""

    def __init__(self, recorder: Recorder, name: str | None) -> None:
        self._recorder = recorder
        self.name = name
        """For ``sessions_included``; None until it is entered, when none was given."""
        self._state = "new"
        self._outer: Session | None = None
        self._start = 0
        self._succeeded: bool | None = None
        self._numbers: dict[str, Any] = {}
        self._refusal: Exception | None = None

    def __repr__(self) -> str:
        return f"Session({self.name!r})"

    def success(self, *, iterations: int | None = None, tokens: int | None = None, cost: float | None = None) -> None:
        """Report that the session reached its goal.

        An invalid number (``cost=nan``) is recorded as missing, and a warning says why: one wrong report does not end a long loop.

        Parameters
        ----------
        iterations
            The attempts that it took, 1 or more.
        tokens
            Read and written by all models.
        cost
            US dollars.

        Raises
        ------
        RecorderError
            Outside the session's ``with`` block, or when it was reported already.
        """
        self._report(True, iterations, tokens, cost)

    def failure(self, *, iterations: int | None = None, tokens: int | None = None, cost: float | None = None) -> None:
        """Report that the session did not reach its goal. See `success`."""
        self._report(False, iterations, tokens, cost)

    def _report(self, succeeded: bool, iterations: object, tokens: object, cost: object) -> None:
        refused = []
        try:
            self._check_turn()
            self._succeeded = succeeded
            for name, value, check in (
                ("iterations", iterations, _check_iterations),
                ("tokens", tokens, checks.check_count),
                ("cost", cost, checks.CHECKERS["total_cost"]),
            ):
                try:
                    number = None if checks.is_missing(value) else check(name, value)
                    if number is not None and number > _MOST:  # so that a checkpoint can hold the sum of thousands of sessions
                        raise checks.invalid(name, value, f"is more than {_MOST:,}, the most of one session")
                    self._numbers[name] = number
                except InvalidInputError as error:
                    refused.append(f"Session {self.name!r}: {error} It counts as missing.")
            for problem in refused:
                warn(problem)
        except (RecorderError, EvalkitWarning) as error:  # a warning is an exception where a filter makes it one
            self._refusal = error
            raise

    def _check_turn(self) -> None:
        if self._state != "open":
            over = "is over" if self._state == "closed" else "has not begun"
            raise RecorderError(f"The session {self.name!r} {over}", allowed="report inside its with block")
        if self._succeeded is not None:
            said = "success" if self._succeeded else "failure"
            raise RecorderError(f"The session {self.name!r} reported a {said} already", allowed="report once in each session")

    def __enter__(self) -> Session:
        if self._state != "new":
            raise RecorderError("This session was used already", allowed="begin another one: with rec.session() as s: ...")
        outer = _inside.get()
        if outer is not None and outer._recorder is self._recorder and outer._state == "open":
            raise RecorderError(
                f"The session {outer.name!r} is still running here", allowed="leave its with block before the next session begins"
            )
        self.name = self._recorder._begin_session(self.name)
        self._start = self._recorder._elapsed()
        self._state = "open"
        self._outer = outer
        _inside.set(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        nanoseconds = self._recorder._elapsed() - self._start
        self._state = "closed"
        _inside.set(self._outer)
        assert self.name is not None
        refused = error is not None and error is self._refusal
        stopped = error is not None and _interrupts(error)
        if stopped and self._succeeded is not None:
            kind, stopped = None, False  # the report came before
        ended = None if refused or stopped else SessionRecord(
            name=self.name, nanoseconds=nanoseconds, succeeded=bool(self._succeeded) and kind is None,
            reported=self._succeeded is not None or kind is not None, error=None if kind is None else kind.__name__, **self._numbers,
        )  # fmt: skip
        try:
            self._recorder._end_session(self.name, ended)
        except EvalkitError as refusal:
            if error is None:
                raise
            error.add_note(f"evalkit: the session {self.name!r} was not noted. {refusal}")  # what the agent raised goes on


def _interrupts(error: BaseException) -> bool:
    """Return whether an error says nothing about the agent: Ctrl-C, a stopped cell, a canceled task, or the end of the process."""
    if isinstance(error, BaseExceptionGroup):
        return error.subgroup(_INTERRUPTIONS) is not None
    return isinstance(error, _INTERRUPTIONS)


def _check_iterations(field: str, value: object) -> int:
    count = checks.check_count(field, value)
    if count < 1:
        raise checks.invalid(field, value, "is below 1; a session that was solved at the first attempt took 1.")
    return count
