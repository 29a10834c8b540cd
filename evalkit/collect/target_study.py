"""The study to record in: it exists, or is created with its first sessions."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import TYPE_CHECKING, Any

import polars as pl

from evalkit.collect.collector import NewStudy
from evalkit.domain import validation as checks
from evalkit.domain.commands import CreateStudy
from evalkit.domain.refusals import invalid
from evalkit.domain.study import Study, StudyStatus
from evalkit.domain.time_input import check_at, check_local_time
from evalkit.domain.times import wire_time
from evalkit.errors import InvalidInputError, StudyNotFoundError, collect_warnings

if TYPE_CHECKING:
    from evalkit.domain.study_references import StudyRef
    from evalkit.kit import EvalKit

__all__ = ["TargetStudy", "existing_study"]


def existing_study(kit: EvalKit, study: StudyRef) -> Study | None:
    """Return the study that matches a reference; None without one."""
    try:
        return _resolved(kit, study)
    except StudyNotFoundError:
        return None


def _resolved(kit: EvalKit, study: StudyRef) -> Study:
    """Return the study that matches a reference, without a warning about a missing home."""
    with collect_warnings(lambda _: None):
        return kit.resolve(study)


@dataclass(frozen=True, kw_only=True)
class TargetStudy:
    """The study to record in, as the user names it.

    With `since`, one that does not exist is created, and a pending one is started.
    """

    kit: EvalKit
    study: StudyRef
    since: Any
    period: Any
    zone: tzinfo
    dry_run: bool

    def check(self) -> None:
        """Check that the study exists or can be created, before a source is read.

        Reading may take long.

        Raises
        ------
        InvalidInputError
            If the study has another period, or was created after `since`.
        StudyNotFoundError
            If it does not exist, and `since` was not passed.
        TransitionError
            If it was never started, and `since` was not passed.
        """
        found = self._found(dry_run=True)
        if isinstance(found, Study) and self.since is None:
            self.kit._recordable(found)

    def find(self, sessions: pl.DataFrame) -> Study | NewStudy:
        """Return the study, created and started if need be, except in a dry run.

        Raises
        ------
        InvalidInputError
            If a new study would start after the last session, because its start cannot be changed.
        """
        began, last = self._began(), sessions["ended_at"].max()
        if began is not None and isinstance(last, datetime) and last < began:
            found = existing_study(self.kit, self.study)
            if found is None or found.started_at is None:
                problem = f"the last session ended before it, at {wire_time(last)}"
                raise invalid("since", self.since, problem, hint="Pass an earlier day.")
        return self._found(dry_run=self.dry_run)

    def remark_on_since(self, before: Study | None) -> str | None:
        """Return why `since` had no effect on a study; None if it had.

        Parameters
        ----------
        before
            The study before the command; None if it did not exist.
        """
        began = self._began()
        if began is None or before is None or before.started_at is None or began >= before.started_at:
            return None
        return (
            f"since has no effect: study {before.name!r} was started on {wire_time(before.started_at)}. "
            "For earlier sessions, collect into another study."
        )

    def _began(self) -> datetime | None:
        return None if self.since is None else check_at("since", check_local_time("since", self.since, self.zone))

    def _found(self, *, dry_run: bool) -> Study | NewStudy:
        """Return the study; with `since`, it is created and started, except in a dry run."""
        began, found = self._began(), existing_study(self.kit, self.study)
        if found is None:
            return self._created(began, dry_run=dry_run)
        self._check_period(found)
        if began is None or found.status is not StudyStatus.PENDING:
            return found
        if began < found.created_at:
            name = found.name
            raise InvalidInputError(
                f"Cannot start study {name!r} on {wire_time(began)}: it was created later, on {wire_time(found.created_at)}",
                hint=f"Create another one with kit.create_study(NAME, at=...), or start this one now with kit.start_study({name!r}).",
                shell_hint=f"Create another one with --at {wire_time(began)}, or start this one now: evalkit study start {name!r}.",
                field="since", value=self.since,
            )  # fmt: skip
        return NewStudy(found.name, found.period_type, began) if dry_run else self.kit.start_study(found, at=began)

    def _created(self, began: datetime | None, *, dry_run: bool) -> Study | NewStudy:
        if began is None or not isinstance(self.study, str):
            try:
                return _resolved(self.kit, self.study)
            except StudyNotFoundError as error:
                raise error.but(
                    hint="To create and start it, pass since=, the day of its first period.",
                    shell_hint="To create and start it, pass --since DATE, the day of its first period.",
                ) from None
        command = CreateStudy(self.study, period="daily" if self.period is None else self.period)
        if dry_run:
            return NewStudy(command.name, command.period_type, began)
        return self.kit.start_study(self.kit.create_study(command, at=began), at=began)

    def _check_period(self, study: Study) -> None:
        if self.period is None:
            return
        length, count = checks.check_period(self.period)
        if length is not study.period_type or count not in (None, study.period_value):
            problem = f"study {study.name!r} has {study.period} periods, which cannot be changed"
            raise invalid("period", self.period, problem, hint="Omit it, or create another study.")
