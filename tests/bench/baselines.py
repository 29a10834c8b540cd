"""The plain ways that evalkit is measured against. Nothing of evalkit is imported here.

Each gives the seconds of the work itself: rows are ready as tuples, files, tables and indexes made, connections open before the clock
starts. SQLite is used as evalkit uses it: WAL, ``synchronous=FULL``, ``secure_delete=OFF``.
"""

from __future__ import annotations

import asyncio
import io
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import libsql_client
import polars as pl

IMPORTS = "import polars, pydantic"

# What a read of checkpoints needs of each row, and how its metrics are typed.
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
    """Insert finished rows with one `executemany` in one transaction."""
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
    """Insert (id, JSON) into a table of two columns, in one transaction."""
    return insert_rows(path, ["CREATE TABLE checkpoints (id TEXT PRIMARY KEY, json TEXT NOT NULL)"], "checkpoints", rows)


def insert_one_by_one(folder: Path, rows: Sequence[tuple[str, str]]) -> float:
    """For each row a `sqlite3` transaction into one file, then a libsql-client batch into another that stays open elsewhere."""
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
    """Fetch all checkpoints, and let Polars decode the joined JSON of their metrics."""
    connection = sqlite3.connect(path)
    pl.read_ndjson(io.BytesIO(b'{"total_tokens": 1}'), schema=METRICS)
    start = perf_counter()
    rows = connection.execute(READ).fetchall()
    frame = pl.read_ndjson(io.BytesIO("\n".join([row[3] for row in rows]).encode()), schema=METRICS)
    seconds = perf_counter() - start
    assert len(frame) == len(rows) > 0
    connection.close()
    return seconds
