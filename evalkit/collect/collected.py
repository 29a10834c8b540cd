"""The result of collecting."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from html import escape
from itertools import groupby
from typing import Any, Literal, NamedTuple

import polars as pl

from evalkit._util.text import plural
from evalkit.collect.source import Problems

__all__ = ["Collected", "CollectedPeriod", "PeriodStatus"]


PeriodStatus = Literal["recorded", "amended", "late", "unchanged", "empty", "incomplete", "retracted", "conflict"]
_NO_DATA = ("empty", "incomplete")
_SCHEMA = {
    "period_start": pl.Datetime("us", "UTC"), "period_end": pl.Datetime("us", "UTC"), "status": pl.String(), "sessions": pl.Int64(),
    "key": pl.String(), "checkpoint_id": pl.String(), "note": pl.String(),
}  # fmt: skip


class CollectedPeriod(NamedTuple):
    """What was done for a period."""

    period_start: datetime
    """The start of the period."""
    period_end: datetime
    """The end of the period, which is not part of it."""
    status: PeriodStatus
    """
    ``recorded``, ``amended`` (late sessions), ``late`` (late sessions that are not recorded), ``unchanged``, ``empty`` (no sessions, and
    not known to be idle), ``incomplete`` (logs may have been deleted), ``retracted``, or ``conflict`` (another process changed the
    checkpoint meanwhile).
    """
    sessions: int
    """The number of sessions in the period, with those of the evidence."""
    key: str
    """The idempotency key of the checkpoint."""
    checkpoint_id: str | None
    """The id of the checkpoint; None without one."""
    note: str
    """Details, such as the changed metrics."""


@dataclass(frozen=True, repr=False)
class Collected:
    """The result of ``kit.collect`` and ``kit.record_sessions``: what was done by period.

    Examples
    --------
    >>> Collected("nightly agent", "inspect", ())
    Collected('nightly agent', inspect: no period is due)
    """

    study: str
    """The name of the study."""
    source: str
    """The name of the source."""
    periods: tuple[CollectedPeriod, ...]
    """The due periods, oldest first."""
    dry_run: bool = False
    """Whether nothing was recorded, and `periods` says what would be."""
    files: int | None = None
    """The number of files of the source; None if it does not count them."""
    changed_files: int | None = None
    """The number of files that were read now."""
    waiting: int = 0
    """The number of sessions that are still open, or in periods that are not due yet."""
    outside: int = 0
    """The number of sessions that ended while the study did not run."""
    problems: Problems = field(default_factory=Problems)
    """What could not be read."""
    notes: tuple[str, ...] = ()
    """Why metrics are missing, and other remarks."""
    zone: tzinfo = UTC
    """The time zone in which tables show the periods."""
    stopped: bool = False
    """Whether the study is stopped."""

    def __repr__(self) -> str:
        return f"Collected({self.study!r}, {self.source}: {self._counts()})"

    def __str__(self) -> str:
        return "\n".join([f"{self.study}: {self._counts()}", *self._lines()])

    def _repr_html_(self) -> str:
        cells = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in self._rows())
        head = "".join(f"<th>{name}</th>" for name in ("period", "status", "sessions", "note"))
        table = f"<table><thead><tr>{head}</tr></thead><tbody>{cells}</tbody></table>" if cells else ""
        remarks = "".join(f"<li>{escape(remark)}</li>" for remark in self.remarks)
        return f"<p>{escape(self.study)}: {escape(self._counts())}</p>{table}{f'<ul>{remarks}</ul>' if remarks else ''}"

    def _counts(self) -> str:
        if not self.periods:
            return "no period is due"
        counts = Counter(period.status for period in self.periods)
        text = ", ".join(f"{count:,} {status}" for status, count in counts.items())
        return f"{text} (dry run, nothing was recorded)" if self.dry_run else text

    def _rows(self) -> list[tuple[str, str, str, str]]:
        """Return the cells of the table of changed periods.

        Successive periods without data have one row.
        """
        rows = []
        shown = (period for period in self.periods if period.status != "unchanged")
        for (status, note, sessions), group in groupby(shown, lambda period: (period.status, period.note, period.sessions)):
            periods = list(group)
            alone = [periods] if status in _NO_DATA or not sessions else [[period] for period in periods]
            for same in alone:
                first, last = (self._day(period.period_start) for period in (same[0], same[-1]))
                several = f"{first} to {last} ({plural(len(same), 'period')})"
                rows.append((first if len(same) == 1 else several, status, f"{sessions:,}", note))
        return rows

    def _day(self, start: datetime) -> str:
        return start.astimezone(self.zone).strftime("%Y-%m-%d %H:%M").removesuffix(" 00:00")

    def _lines(self) -> list[str]:
        rows = self._rows()
        widths = [max(len(row[column]) for row in rows) for column in range(4)] if rows else []
        table = ["  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        return [*table, *(f"  {remark}" for remark in self.remarks)]

    @property
    def remarks(self) -> list[str]:
        """What else there is to know, as sentences."""
        from evalkit.collect.sources import problem_message

        remarks = list(self.notes)
        if self.waiting:
            remarks.append(f"{plural(self.waiting, 'session')} still open or in periods that are not due yet.")
        if self.outside:
            remarks.append(f"{plural(self.outside, 'session')} ended while the study did not run.")
        if any(period.status == "late" for period in self.periods):
            remarks.append("Late sessions are not recorded. To amend the checkpoints: amend_late=True, --amend-late in a shell.")
        message = problem_message(self.problems)
        return [*remarks, str(message)] if message is not None else remarks

    @property
    def frame(self) -> pl.DataFrame:
        """The periods as a DataFrame."""
        return pl.DataFrame([tuple(period) for period in self.periods], schema=_SCHEMA, orient="row")

    @property
    def exit_code(self) -> int:
        """0, or 3 if nothing was recorded and the newest due period has no data.

        Of a stopped study, it is 0.
        """
        statuses = [period.status for period in self.periods]
        if self.stopped or not statuses or not {"recorded", "amended"}.isdisjoint(statuses):
            return 0
        return 3 if statuses[-1] in _NO_DATA else 0

    def as_dict(self) -> dict[str, Any]:
        """Return all values by name, as JSON types.

        Examples
        --------
        >>> Collected("nightly agent", "inspect", ()).as_dict()["periods"]
        []
        """
        periods = [
            {**period._asdict(), "period_start": period.period_start.isoformat(), "period_end": period.period_end.isoformat()}
            for period in self.periods
        ]
        return {
            "study": self.study, "source": self.source, "dry_run": self.dry_run, "periods": periods, "files": self.files,
            "changed_files": self.changed_files, "waiting": self.waiting, "outside": self.outside,
            "skipped": [problem._asdict() for problem in self.problems.skipped], "ignored": self.problems.ignored,
            "notes": list(self.notes),
        }  # fmt: skip
