"""Reading of frames from the read model, in pages of one consistent state."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import polars as pl
from pydantic_core import from_json

from evalkit._util.forks import reset_in_child
from evalkit.domain.catalog import METRICS
from evalkit.domain.metrics import LongitudinalMetrics
from evalkit.domain.refusals import invalid
from evalkit.domain.study import TRANSITIONS, Checkpoint, StudyConfig, StudyStatus
from evalkit.domain.time_input import check_time
from evalkit.domain.times import MAX_COUNT, duration_pair
from evalkit.frames.columns import CHECKPOINTS, LIFECYCLE, REJECTED, STUDIES, empty_frame, frame_schema
from evalkit.readmodel.database.database import Database, PageSize, Row, Statement, Value
from evalkit.readmodel.rows import readable
from evalkit.readmodel.schema import HEAD_STATEMENTS, head_of
from evalkit.readmodel.snapshot import Snapshot, consistently

__all__ = ["FrameReader", "select"]

# Polars shortens strings of more than 30 characters when it prints a frame; ids have 36.
os.environ.setdefault("POLARS_FMT_STR_LEN", "36")

_PAGE = 5000
_PAGE_BYTES = 4 << 20  # servers escape each quote in two bytes, and limit a response to 10 MB
_SEPARATOR = "\x1e"  # never appears in JSON, unlike line breaks


@dataclass
class _Cache:
    """The checkpoints read so far, up to row `last` of a generation."""

    generation: int
    last: int
    frame: pl.DataFrame
    identity: object = None


class FrameReader:
    """Read frames from a read model, each from one consistent state.

    Parameters
    ----------
    database
        The database of the read model.
    identity
        A function that returns the identity of the read model. The cache is cleared when the identity changes.
    """

    def __init__(self, database: Database, identity: Callable[[], object] = lambda: None) -> None:
        self._database = database
        self._identity = identity
        self._lock = threading.Lock()
        self._cache: _Cache | None = None
        self._page = PageSize(_PAGE, _PAGE_BYTES)
        reset_in_child(self)

    def reset_in_child(self) -> None:
        """Replace the lock in a forked process."""
        self._lock = threading.Lock()

    def studies(self) -> pl.DataFrame:
        """Return all studies, newest first: by creation time, then id, descending."""
        counts_query: Statement = ("SELECT study_id, count(*), max(period_end) FROM checkpoints GROUP BY study_id", ())

        def read() -> pl.DataFrame:
            snapshot = Snapshot(self._database, counts_query)
            counts = {study_id: tuple(rest) for study_id, *rest in snapshot.extra}
            rows: list[list[Any]] = []
            for study in sorted(snapshot.studies(), key=lambda study: (study.created_at, study.id), reverse=True):
                config = StudyConfig.model_validate_json(study.config, extra="ignore")
                metadata = [{"key": key, "value": value} for key, value in config.metadata.items()]
                times = (study.created_at, study.started_at, study.stopped_at)
                rows.append([*study[:5], config.description, config.tags, metadata, *times, *counts.get(study.id, (0, None))])
            return _from_rows(rows, STUDIES)

        with readable(self._database):
            return consistently(read)

    def lifecycle(self) -> pl.DataFrame:
        """Return the lifecycle events: studies oldest first, events in log order."""
        status = {kind: leads_to.value for kind, (_, leads_to) in TRANSITIONS.items()} | {"study_created": StudyStatus.PENDING.value}

        def read() -> pl.DataFrame:
            snapshot = Snapshot(self._database)
            studies = {study.id: study for study in snapshot.studies()}
            entries = snapshot.rows("lifecycle", "study_id, seq, kind, event_id", ("study_id", "seq"))
            rows: list[list[Any]] = [
                [study_id, studies[str(study_id)].name, seq, kind, status[str(kind)], at] for study_id, seq, kind, at in entries
            ]
            rows.sort(key=lambda row: (studies[row[0]].created_at, row[0], row[2]))
            return _from_rows(rows, LIFECYCLE, event_times=("at",))

        with readable(self._database):
            return consistently(read)

    def rejected(self) -> pl.DataFrame:
        """Return the events without effect, rejected and quarantined, in time order."""

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
        """Return the checkpoints of all or some studies, sorted by study, timestamp and id.

        The checkpoints of all studies are cached; later calls read only new checkpoints.
        """
        with self._lock, readable(self._database):
            identity = self._identity()
            if self._cache is not None and self._cache.identity != identity:
                self._cache = None
            if study_ids is not None and self._cache is None:
                frame, _, studies = self._read(study_ids, _Cache(-1, 0, empty_frame(CHECKPOINTS)))
                return _sorted(frame, studies)
            cache = self._cache or _Cache(-1, 0, empty_frame(CHECKPOINTS))
            frame, newest, studies = self._read(None, cache)
            if newest != (cache.generation, cache.last) or cache is not self._cache:
                cache = self._cache = _Cache(*newest, _sorted(frame, studies), identity)
        # A clone, because users may change a frame in place.
        return cache.frame.clone() if study_ids is None else cache.frame.filter(pl.col("study_id").is_in(list(study_ids)))

    def _read(self, study_ids: Sequence[str] | None, cache: _Cache) -> tuple[pl.DataFrame, tuple[int, int], list[Row]]:
        """Read new rows; return all rows, (generation, last row), and the studies."""
        chosen = ""
        args: list[Value] = []
        if study_ids is not None:
            chosen, args = f"study_id IN ({', '.join('?' * len(study_ids))}) AND", list(study_ids)
        page_sql = _PAGE_SQL.replace(":chosen", chosen)
        head: list[Statement] = [*HEAD_STATEMENTS, ("SELECT coalesce(max(rowid), 0) FROM checkpoints", ())]
        studies_query: Statement = ("SELECT id, name, period_type FROM studies ORDER BY created_at, id", ())

        def page_after(last: int, bound: int, *extra: Statement) -> list[list[Row]]:
            return self._page.read(lambda rows: self._database.batch([*head, *extra, (page_sql, [*args, last, bound, rows])]))

        with ThreadPoolExecutor(1, thread_name_prefix="evalkit-read") as reader:
            while True:
                results = page_after(cache.last if cache.generation >= 0 else 0, MAX_COUNT, studies_query)
                bound, studies = int(str(results[2][0][0])), results[3]
                current = head_of(results[0], results[1]).generation
                generation, frames = current if cache.generation == -1 else cache.generation, [cache.frame]
                while current == generation:
                    last, count, invalid_rows, page, irregular = results[-1][0]
                    if invalid_rows:
                        raise ValueError("a value has a type that evalkit does not write")
                    if last is None:
                        return pl.concat(frames, rechunk=False), (generation, max(bound, cache.last)), studies
                    self._page.aim(int(str(count)), len(str(page or "")) + len(str(irregular)))
                    # The database reads the next page while Polars decodes this one.
                    next_page = reader.submit(page_after, int(str(last)), bound)
                    frames.append(_decode_page(str(page or ""), from_json(str(irregular or "[]")), studies))
                    results = next_page.result()
                    current = head_of(results[0], results[1]).generation
                cache = _Cache(-1, 0, empty_frame(CHECKPOINTS))  # a rebuild replaced the tables: start over


# One text cell per page is faster to send than rows, and faster to decode with Polars. Rows with unusual JSON (duplicate or unknown keys)
# are sent separately, and parsed by the model.
_TEXTS = ("id", "study_id", "timestamp", "metrics", "sessions_included", "event_id", "period_start", "period_end")
_TYPED = " AND ".join(
    [
        *(f"typeof({name}) = 'text'" for name in _TEXTS),
        "substr(metrics, 1, 1) = '{'",
        "substr(sessions_included, 1, 1) = '['",  # some versions of Polars read a string as a null list
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
    decoded = _decode_lines(lines, raw) if lines else pl.DataFrame(schema=raw)
    if irregular:
        rows = [_parsed_by_model(row | {"sessions_included": from_json(sessions)}, metrics) for row, sessions, metrics in irregular]
        decoded = pl.concat([decoded, pl.DataFrame(rows, schema=raw)])
    study_columns = pl.DataFrame(
        studies, schema={"study_id": pl.String(), "study": pl.String(), "period_type": schema["period_type"]}, orient="row"
    )
    seconds, nanoseconds = (pl.col("avg_session_duration").list.get(index) for index in (0, 1))
    clipped = pl.min_horizontal(seconds, pl.lit(MAX_COUNT // 1_000_000 - 1))
    return (
        decoded.with_columns(
            *(_parsed_time(name) for name in ("timestamp", "period_start", "period_end")),
            _event_time("event_id").alias("recorded_at"),
            pl.when(seconds.is_not_null())
            .then(clipped * 1_000_000 + nanoseconds // 1000)
            .cast(pl.Duration("us"))
            .alias("avg_session_duration"),
        )
        .join(study_columns, on="study_id", how="left", maintain_order="left")
        .select(list(CHECKPOINTS))
    )


def _decode_lines(lines: bytes, raw: dict[str, pl.DataType]) -> pl.DataFrame:
    """Decode JSON lines into a frame with the raw columns."""
    try:
        return pl.read_ndjson(lines, schema=raw)
    except pl.exceptions.ComputeError:  # a number that is valid JSON, but not for Polars, such as 0e99999999999
        columns = [name for name in raw if name not in METRICS]
        rows = [_parsed_by_model({name: row[name] for name in columns}, line) for line in lines.split(b"\n") for row in [from_json(line)]]
        return pl.DataFrame(rows, schema=raw)


def _parsed_by_model(row: dict[str, Any], text: str | bytes) -> dict[str, Any]:
    """Return the raw columns of a checkpoint, with metrics parsed by `LongitudinalMetrics`."""
    metrics = LongitudinalMetrics.model_validate_json(text, extra="ignore")
    duration = metrics.avg_session_duration
    pair = None if duration is None else list(duration_pair(duration))
    return {**row, **{name: getattr(metrics, name) for name in METRICS}, "avg_session_duration": pair}


def _sorted(frame: pl.DataFrame, studies: list[Row]) -> pl.DataFrame:
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
    """Return the checkpoints in ``[start, end)`` that are not excluded.

    Raises
    ------
    InvalidInputError
        If a time has no time zone, `by` is unknown, or a reference in `exclude` does not match exactly one checkpoint.
    """
    if by not in _SELECTED_BY:
        raise invalid("by", by, "expected 'timestamp' or 'period'")
    excluded = [_checkpoint_id(frame, reference) for reference in ([exclude] if isinstance(exclude, str | Checkpoint) else exclude)]
    if start is not None and end is not None and check_time("end", end) < check_time("start", start):
        raise invalid("end", end, f"must not be before start ({check_time('start', start).isoformat()})")
    if start is not None:
        frame = frame.filter(pl.col(_SELECTED_BY[by]) >= check_time("start", start))
    if end is not None:
        frame = frame.filter(pl.col(_SELECTED_BY[by]) < check_time("end", end))
    return frame.filter(~pl.col("checkpoint_id").is_in(excluded)) if excluded else frame


def _checkpoint_id(frame: pl.DataFrame, reference: Checkpoint | str) -> str:
    if isinstance(reference, Checkpoint):
        return reference.id
    if not isinstance(reference, str) or len(reference) < 4:
        raise invalid("exclude", reference, "expected a Checkpoint, an id, or the last 4 or more characters of an id")
    ids = frame["checkpoint_id"]
    matches = ids.filter(ids.str.ends_with(reference.lower())).unique().to_list()
    if len(matches) != 1:
        problem = f"matches {len(matches)} checkpoints: {', '.join(matches[:5])}" if matches else "matches none of the selected checkpoints"
        hint = f"To exclude a column, use frame.drop({reference!r})." if reference in frame.columns else ""
        raise invalid("exclude", reference, problem, hint=hint)
    return str(matches[0])
