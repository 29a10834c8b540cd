"""The baselines of the benchmarks. This module does not import evalkit.

Each function returns the seconds of the work itself: rows, files, tables, indexes and connections are prepared before. SQLite has the
settings that evalkit uses: WAL, ``synchronous=FULL``, ``secure_delete=OFF``.
"""

from __future__ import annotations

import asyncio
import io
import json
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import libsql_client
import polars as pl

IMPORTS = "import polars, pydantic"

# The columns that a read of checkpoints needs, and the types of the metrics.
READ = "SELECT id, study_id, timestamp, metrics, events_analyzed, sessions_included, event_id, period_start, period_end FROM checkpoints"
_COUNTS = ("sessions_completed", "tasks_completed", "learnings_applied", "total_tokens")
_NUMBERS = (
    "session_success_rate", "first_attempt_success_rate", "avg_iterations_to_success", "agent_efficiency", "tool_success_rate",
    "self_correction_rate", "swarm_coordination_overhead", "parallelism_efficiency", "learning_effectiveness", "total_cost",
    "cost_per_successful_task",
)  # fmt: skip
METRICS = {
    **dict.fromkeys(_COUNTS, pl.Int64),
    **dict.fromkeys(_NUMBERS, pl.Float64),
    "avg_session_duration": pl.List(pl.Int64),
    "period": pl.Struct({"start": pl.String, "end": pl.String}),
}


def _database(path: Path, ddl: Sequence[str]) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA secure_delete=OFF")
    for statement in ddl:
        connection.execute(statement)
    return connection


def insert_rows(path: Path, ddl: Sequence[str], table: str, rows: Sequence[tuple[Any, ...]]) -> float:
    """Insert prepared rows with one `executemany` in one transaction."""
    connection = _database(path, ddl)
    statement = f"INSERT INTO {table} VALUES ({', '.join('?' * len(rows[0]))})"
    start = perf_counter()
    connection.execute("BEGIN")
    connection.executemany(statement, rows)
    connection.execute("COMMIT")
    seconds = perf_counter() - start
    connection.close()
    return seconds


def insert_json(path: Path, rows: Sequence[tuple[str, str]]) -> float:
    """Insert (id, JSON) into a table with two columns, in one transaction."""
    return insert_rows(path, ["CREATE TABLE checkpoints (id TEXT PRIMARY KEY, json TEXT NOT NULL)"], "checkpoints", rows)


def insert_one_by_one(folder: Path, rows: Sequence[tuple[str, str]]) -> float:
    """Insert each row in a `sqlite3` transaction into one file, then in a libsql-client batch into another file, open elsewhere too."""
    ddl = ["CREATE TABLE checkpoints (id TEXT PRIMARY KEY, json TEXT NOT NULL)"]
    log = _database(folder / "log.db", ddl)
    idle = _database(folder / "database.db", ddl)
    idle.execute("SELECT count(*) FROM checkpoints").fetchall()
    statement = "INSERT INTO checkpoints VALUES (?, ?)"

    async def run() -> float:
        client = libsql_client.create_client(f"file:{folder / 'database.db'}")
        start = perf_counter()
        for row in rows:
            log.execute("BEGIN IMMEDIATE")
            log.execute(statement, row)
            log.execute("COMMIT")
            await client.batch([(statement, row)])
        seconds = perf_counter() - start
        await client.close()
        return seconds

    seconds = asyncio.run(run())
    log.close()
    idle.close()
    return seconds


def read(path: Path) -> float:
    """Fetch all checkpoints, and decode the joined JSON of their metrics with Polars."""
    connection = sqlite3.connect(path)
    pl.read_ndjson(io.BytesIO(b'{"total_tokens": 1}'), schema=METRICS)
    start = perf_counter()
    rows = connection.execute(READ).fetchall()
    frame = pl.read_ndjson(io.BytesIO("\n".join([row[3] for row in rows]).encode()), schema=METRICS)
    seconds = perf_counter() - start
    assert len(frame) == len(rows) > 0
    connection.close()
    return seconds


def send_to_iggy(address: tuple[str, str, str], stream: str, batches: Sequence[tuple[str, Sequence[tuple[int, bytes]]]]) -> float:
    """Send batches of (message id, bytes), each with its key, to the topic `events` with apache-iggy's own `send_messages`."""
    from apache_iggy import AutoLogin, IggyClient, Partitioning, SendMessage, TcpConfig

    server, user, password = address

    async def run() -> float:
        client = IggyClient(TcpConfig(server_address=server, auto_login=AutoLogin.username_password(user, password)))
        await client.connect()
        start = perf_counter()
        for key, batch in batches:
            messages = [SendMessage(data, id=message_id) for message_id, data in batch]
            await client.send_messages(stream, "events", Partitioning.messages_key(key), messages)
        return perf_counter() - start

    return asyncio.run(run())


def poll_from_iggy(address: tuple[str, str, str], stream: str, count: int) -> float:
    """Poll all messages of the topic `events` with apache-iggy's own `poll_messages`, partition by partition."""
    from apache_iggy import AutoLogin, Consumer, IggyClient, PollingStrategy, TcpConfig

    server, user, password = address

    async def run() -> float:
        client = IggyClient(TcpConfig(server_address=server, auto_login=AutoLogin.username_password(user, password)))
        await client.connect()
        topic = await client.get_topic(stream, "events")
        polled: list[bytes] = []
        start = perf_counter()
        for partition in sorted(part.id for part in topic.partitions):
            offset = 0
            while True:
                messages = await client.poll_messages(
                    stream, "events", consumer=Consumer.Single("baseline"), polling_strategy=PollingStrategy.Offset(offset), count=1000,
                    auto_commit=False, partition_id=partition,
                )  # fmt: skip
                polled += [message.payload() for message in messages]
                if len(messages) < 1000:
                    break
                offset = messages[-1].offset() + 1
        seconds = perf_counter() - start
        assert len(polled) >= count
        return seconds

    return asyncio.run(run())


def insert_over_http(url: str, ddl: Sequence[str], rows: Sequence[tuple[Any, ...]], batch_size: int) -> float:
    """Insert prepared rows with libsql-client, in batches: ``INSERT ... SELECT ... FROM json_each(?)``."""
    columns = ", ".join(f"json_extract(value, '$[{index}]')" for index in range(len(rows[0])))
    statement = f"INSERT INTO checkpoints SELECT {columns} FROM json_each(?)"
    parts = [json.dumps(rows[first : first + batch_size]) for first in range(0, len(rows), batch_size)]

    async def run() -> float:
        async with libsql_client.create_client(url) as client:
            await client.batch(list(ddl))
            start = perf_counter()
            for part in parts:
                await client.batch([(statement, (part,))])
            return perf_counter() - start

    return asyncio.run(run())


def fetch_over_http(url: str, batch_size: int) -> float:
    """Fetch the rows of a frame with libsql-client, page by page."""

    async def run() -> float:
        async with libsql_client.create_client(url) as client:
            start = perf_counter()
            last, rows = 0, []
            while True:
                page = await client.execute(
                    f"{READ.replace('SELECT', 'SELECT rowid,')} WHERE rowid > ? ORDER BY rowid LIMIT {batch_size}", (last,)
                )
                if not page.rows:
                    return perf_counter() - start
                rows += [row.astuple() for row in page.rows]
                last = int(str(rows[-1][0]))

    return asyncio.run(run())
