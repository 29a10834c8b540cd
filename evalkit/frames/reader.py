"""The read model as frames: the whole history of every study, read in pages that are one state."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import polars as pl
from pydantic_core import from_json

from evalkit._util.forks import reset_in_child
from evalkit.domain.metrics import METRICS, LongitudinalMetrics
from evalkit.domain.study import TRANSITIONS, Checkpoint, StudyConfig, StudyStatus
from evalkit.domain.times import MAX_COUNT, duration_pair
from evalkit.domain.validation import check_time, invalid
from evalkit.frames.columns import CHECKPOINTS, LIFECYCLE, REJECTED, STUDIES, empty_frame, frame_schema
from evalkit.readmodel.database.database import Database, PageSize, Row, Statement, Value
from evalkit.readmodel.rows import readable
from evalkit.readmodel.schema import HEAD_STATEMENTS, head_of
from evalkit.readmodel.snapshot import Snapshot, consistently

__all__ = ["FrameReader", "select"]

_PAGE = 5000
_PAGE_BYTES = 4 << 20  # a quote takes two bytes on its way from a server, which sends 10 MB at most
_SEPARATOR = "\x1e"  # cannot stand in JSON, where a line break may


@dataclass
class _Known:
    """The checkpoints read so far. They never change: what is new comes after `last`, until a rebuild makes a new generation."""

    generation: int
    last: int
    frame: pl.DataFrame
    identity: object = None


class FrameReader:
    """Reads frames from a read model. A frame is one state of it, however many pages it took.

    Parameters
    ----------
    database
        Where the read model is.
    identity
        Gives what tells it from another one that took its place: what was read from that one is forgotten.
    """

    def __init__(self, database: Database, identity: Callable[[], object] = lambda: None) -> None:
        self._database = database
        self._identity = identity
        self._lock = threading.Lock()
        self._known: _Known | None = None
        self._page = PageSize(_PAGE, _PAGE_BYTES)
        reset_in_child(self)

    def reset_in_child(self) -> None:
        """Go on in a forked process."""
        self._lock = threading.Lock()

    def studies(self) -> pl.DataFrame:
        """Give every study, newest first: by creation time, then id."""
        counted: Statement = ("SELECT study_id, count(*), max(period_end) FROM checkpoints GROUP BY study_id", ())

        def read() -> pl.DataFrame:
            snapshot = Snapshot(self._database, counted)
            counts = {study_id: tuple(rest) for study_id, *rest in snapshot.beside}
            rows: list[list[Any]] = []
            for study in sorted(snapshot.studies(), key=lambda one: (one.created_at, one.id), reverse=True):
                config = StudyConfig.model_validate_json(study.config, extra="ignore")
                metadata = [{"key": key, "value": value} for key, value in config.metadata.items()]
                times = (study.created_at, study.started_at, study.stopped_at)
                rows.append([*study[:5], config.description, config.tags, metadata, *times, *counts.get(study.id, (0, None))])
            return _from_rows(rows, STUDIES)

        with readable(self._database):
            return consistently(read)

    def lifecycle(self) -> pl.DataFrame:
        """Give what happened to each study: studies oldest first, each in the order of its log."""
        status = {kind: leads_to.value for kind, (_, leads_to) in TRANSITIONS.items()} | {"study_created": StudyStatus.PENDING.value}

        def read() -> pl.DataFrame:
            snapshot = Snapshot(self._database)
            studies = {study.id: study for study in snapshot.studies()}
            entries = snapshot.rows("lifecycle", "study_id, seq, kind, event_id", ("study_id", "seq"))
            rows: list[list[Any]] = [[one, studies[str(one)].name, seq, kind, status[str(kind)], at] for one, seq, kind, at in entries]
            rows.sort(key=lambda row: (studies[row[0]].created_at, row[0], row[2]))
            return _from_rows(rows, LIFECYCLE, event_times=("at",))

        with readable(self._database):
            return consistently(read)

    def rejected(self) -> pl.DataFrame:
        """Give the events that changed nothing, rejected and quarantined, in the order of their times."""

        def read() -> pl.DataFrame:
            snapshot = Snapshot(self._database)
            columns = "study_id, event_id, reason, kind, message"
            rows: list[list[Any]] = [
                [study_id, event_id, kind, "rejected", reason, message, event_id]
                for study_id, event_id, reason, kind, message in snapshot.rows("rejected", columns, ("study_id", "event_id", "reason"))
            ]
            for study_id, _, event_id, error in snapshot.rows("quarantined", "study_id, key, event_id, error", ("study_id", "key")):
                rows.append([study_id or None, event_id or None, None, "quarantined", "not a valid event", error, event_id or None])
            rows.sort(key=lambda row: tuple(part or "" for part in (row[6], row[0], row[4])))
            return _from_rows(rows, REJECTED, event_times=("at",))

        with readable(self._database):
            return consistently(read)

    def checkpoints(self, study_ids: Sequence[str] | None = None) -> pl.DataFrame:
        """Give the checkpoints of some studies, or of all: by study (oldest first), timestamp, id.

        All of them are kept, so that the next call reads only what is new.
        """
        with self._lock, readable(self._database):
            identity = self._identity()
            if self._known is not None and self._known.identity != identity:
                self._known = None
            if study_ids is not None and self._known is None:
                frame, _, studies = self._read(study_ids, _Known(-1, 0, empty_frame(CHECKPOINTS)))
                return _ordered(frame, studies)
            known = self._known or _Known(-1, 0, empty_frame(CHECKPOINTS))
            frame, newest, studies = self._read(None, known)
            if newest != (known.generation, known.last) or known is not self._known:
                known = self._known = _Known(*newest, _ordered(frame, studies), identity)
        # A clone, because a frame can be changed in place, and this one is given out again.
        return known.frame.clone() if study_ids is None else known.frame.filter(pl.col("study_id").is_in(list(study_ids)))

    def _read(self, study_ids: Sequence[str] | None, known: _Known) -> tuple[pl.DataFrame, tuple[int, int], list[Row]]:
        """Read what `known` lacks. Gives all rows, (generation, last row), and the studies in their order."""
        chosen = ""
        args: list[Value] = []
        if study_ids is not None:
            chosen, args = f"study_id IN ({', '.join('?' * len(study_ids))}) AND", list(study_ids)
        page_sql = _PAGE_SQL.replace(":chosen", chosen)
        head: list[Statement] = [*HEAD_STATEMENTS, ("SELECT coalesce(max(rowid), 0) FROM checkpoints", ())]
        named: Statement = ("SELECT id, name, period_type FROM studies ORDER BY created_at, id", ())

        def page_after(last: int, bound: int, *beside: Statement) -> list[list[Row]]:
            return self._page.read(lambda rows: self._database.batch([*head, *beside, (page_sql, [*args, last, bound, rows])]))

        with ThreadPoolExecutor(1, thread_name_prefix="evalkit-read") as reader:
            while True:
                results = page_after(known.last if known.generation >= 0 else 0, MAX_COUNT, named)
                bound, studies = int(str(results[2][0][0])), results[3]
                now = head_of(results[0], results[1]).generation
                generation, frames = now if known.generation == -1 else known.generation, [known.frame]
                while now == generation:
                    last, count, odd, page, irregular = results[-1][0]
                    if odd:
                        raise ValueError("a value is of another type than evalkit writes")
                    if last is None:
                        return pl.concat(frames, rechunk=False), (generation, max(bound, known.last)), studies
                    self._page.aim(int(str(count)), len(str(page or "")) + len(str(irregular)))
                    # The database works on the next page while Polars decodes this one.
                    following = reader.submit(page_after, int(str(last)), bound)
                    frames.append(_decode_page(str(page or ""), from_json(str(irregular or "[]")), studies))
                    results = following.result()
                    now = head_of(results[0], results[1]).generation
                known = _Known(-1, 0, empty_frame(CHECKPOINTS))  # a rebuild came in between: from the beginning


# One text cell a page: it travels faster than rows, and Polars decodes it faster. Rows whose metrics are written in an unusual way
# (a key twice, keys besides) go apart as JSON texts, and are read by the model that says what they mean.
_TEXTS = ("id", "study_id", "timestamp", "metrics", "sessions_included", "event_id", "period_start", "period_end")
_TYPED = " AND ".join(
    [
        *(f"typeof({name}) = 'text'" for name in _TEXTS),
        "substr(metrics, 1, 1) = '{'",
        "substr(sessions_included, 1, 1) = '['",  # some versions of Polars read a text as a missing list
        "typeof(events_analyzed) = 'integer'",
        "typeof(regular) = 'integer'",
    ]
)
_PAGE_SQL = f"""
SELECT max(row), count(*), sum(NOT ({_TYPED})),
  group_concat(CASE WHEN regular THEN '{{"checkpoint_id":"' || id || '","study_id":"' || study_id
    || '","timestamp":"' || timestamp || '","event_id":"' || event_id || '","period_start":"' || period_start
    || '","period_end":"' || period_end || '","events_analyzed":' || events_analyzed || ',"sessions_included":' || sessions_included
    || ',' || substr(metrics, 2) END,
    char({ord(_SEPARATOR)})),
  json_group_array(json_array(json_object('checkpoint_id', id, 'study_id', study_id, 'timestamp', timestamp, 'event_id', event_id,
    'period_start', period_start, 'period_end', period_end, 'events_analyzed', events_analyzed), sessions_included, metrics))
    FILTER (WHERE NOT regular AND {_TYPED})
FROM (SELECT rowid AS row, * FROM checkpoints WHERE :chosen rowid > ? AND rowid <= ? ORDER BY rowid LIMIT ?)"""


def _decode_page(page: str, irregular: list[list[Any]], studies: list[Row]) -> pl.DataFrame:
    schema = frame_schema(CHECKPOINTS)
    raw = {name: pl.String() if kind == "time" else schema[name] for name, kind in CHECKPOINTS.items()}
    raw = {**raw, "event_id": pl.String(), "avg_session_duration": pl.List(pl.Int64())}
    for name in ("study", "period_type", "recorded_at"):
        del raw[name]
    lines = page.encode().replace(b"\n", b" ").replace(_SEPARATOR.encode(), b"\n")
    read = _decode_lines(lines, raw) if lines else pl.DataFrame(schema=raw)
    if irregular:
        rows = [_by_the_model(row | {"sessions_included": from_json(sessions)}, metrics) for row, sessions, metrics in irregular]
        read = pl.concat([read, pl.DataFrame(rows, schema=raw)])
    named = pl.DataFrame(
        studies, schema={"study_id": pl.String(), "study": pl.String(), "period_type": schema["period_type"]}, orient="row"
    )
    seconds, nanoseconds = (pl.col("avg_session_duration").list.get(index) for index in (0, 1))
    whole = pl.min_horizontal(seconds, pl.lit(MAX_COUNT // 1_000_000 - 1))
    return (
        read.with_columns(
            *(_parsed_time(name) for name in ("timestamp", "period_start", "period_end")),
            _event_time("event_id").alias("recorded_at"),
            pl.when(seconds.is_not_null())
            .then(whole * 1_000_000 + nanoseconds // 1000)
            .cast(pl.Duration("us"))
            .alias("avg_session_duration"),
        )
        .join(named, on="study_id", how="left", maintain_order="left")
        .select(list(CHECKPOINTS))
    )


def _decode_lines(lines: bytes, raw: dict[str, pl.DataType]) -> pl.DataFrame:
    """Decode one JSON object a line, of the raw columns and the period."""
    try:
        return pl.read_ndjson(lines, schema=raw)
    except pl.exceptions.ComputeError:  # somewhere is a number that is one in JSON, but not for Polars, such as 0e99999999999
        columns = [name for name in raw if name not in METRICS]
        rows = [_by_the_model({name: row[name] for name in columns}, line) for line in lines.split(b"\n") for row in [from_json(line)]]
        return pl.DataFrame(rows, schema=raw)


def _by_the_model(row: dict[str, Any], text: str | bytes) -> dict[str, Any]:
    """Give the raw columns of a checkpoint: those that it has already, and its metrics, read from JSON by the model."""
    metrics = LongitudinalMetrics.model_validate_json(text, extra="ignore")
    duration = metrics.avg_session_duration
    pair = None if duration is None else list(duration_pair(duration))
    return {**row, **{name: getattr(metrics, name) for name in METRICS}, "avg_session_duration": pair}


def _ordered(frame: pl.DataFrame, studies: list[Row]) -> pl.DataFrame:
    rank = {row[0]: index for index, row in enumerate(studies)}
    order = pl.col("study_id").replace_strict(rank, return_dtype=pl.UInt32())
    return frame.sort(order, "timestamp", "checkpoint_id")


def _parsed_time(name: str) -> pl.Expr:
    return pl.col(name).str.to_datetime("%Y-%m-%dT%H:%M:%S%.6fZ", time_unit="us", time_zone="UTC")


def _event_time(name: str) -> pl.Expr:
    digits = pl.col(name).str.slice(0, 8) + pl.col(name).str.slice(9, 4)
    return (digits.str.to_integer(base=16, dtype=pl.Int64()) * 1000).cast(pl.Datetime("us", "UTC"))


def _from_rows(rows: list[list[Any]], columns: dict[str, str], event_times: Sequence[str] = ()) -> pl.DataFrame:
    schema = frame_schema(columns)
    raw = {name: pl.String() if kind == "time" else schema[name] for name, kind in columns.items()}
    frame = pl.DataFrame(rows, schema=raw, orient="row")
    times = [name for name, kind in columns.items() if kind == "time"]
    return frame.with_columns(*((_event_time if name in event_times else _parsed_time)(name).alias(name) for name in times))


_SELECTED_BY = {"timestamp": "timestamp", "period": "period_start"}


def select(frame: pl.DataFrame, start: datetime | None, end: datetime | None, by: str, exclude: Iterable[Checkpoint | str]) -> pl.DataFrame:
    """Give the checkpoints in ``[start, end)`` that are not excluded.

    Raises
    ------
    InvalidInputError
        When a time has no time zone, `by` is unknown, or a reference in `exclude` names no checkpoint, or more than one.
    """
    if by not in _SELECTED_BY:
        raise invalid("by", by, "is neither 'timestamp' nor 'period'")
    excluded = [_checkpoint_id(frame, reference) for reference in ([exclude] if isinstance(exclude, str | Checkpoint) else exclude)]
    if start is not None:
        frame = frame.filter(pl.col(_SELECTED_BY[by]) >= check_time("start", start))
    if end is not None:
        frame = frame.filter(pl.col(_SELECTED_BY[by]) < check_time("end", end))
    return frame.filter(~pl.col("checkpoint_id").is_in(excluded)) if excluded else frame


def _checkpoint_id(frame: pl.DataFrame, reference: Checkpoint | str) -> str:
    if isinstance(reference, Checkpoint):
        return reference.id
    if not isinstance(reference, str) or len(reference) < 4:
        raise invalid("exclude", reference, "is no checkpoint", "give a Checkpoint, an id, or the last four or more characters of one")
    ids = frame["checkpoint_id"]
    found = ids.filter(ids.str.ends_with(reference.lower())).unique().to_list()
    if len(found) != 1:
        problem = "names no checkpoint among those asked for" if not found else f"names {len(found)} checkpoints: {', '.join(found[:5])}"
        hint = f"To leave out a column: frame.drop({reference!r})." if reference in frame.columns else ""
        raise invalid("exclude", reference, problem, hint=hint)
    return str(found[0])
