"""The database adapters for servers, with a real sqld: over HTTP, and over version 3 of the protocol."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from evalkit.readmodel.database.database import Database
from evalkit.runtime.connections import open_database
from tests.database_contract import DatabaseContract
from tests.servers import Sqld

TABLE = ("CREATE TABLE t (k INTEGER PRIMARY KEY, v)", ())


def emptied(database: Database) -> Database:
    """Drop every table and return the database: each test needs an empty one."""
    tables = database.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
    if tables:
        database.batch([(f"DROP TABLE {name}", ()) for (name,) in tables])
    return database


class ServerContract(DatabaseContract):
    """The contract over one protocol; `protocol` is the attribute of `Sqld` with the URL."""

    protocol = ""

    def url(self, server: Sqld) -> str:
        url: str = getattr(server, self.protocol)
        return url

    @pytest.fixture
    def database(self, sqld: Sqld) -> Iterator[Database]:
        self.server = sqld
        database = emptied(open_database(self.url(sqld)))
        database.batch([TABLE])
        yield database
        database.close()

    def another(self, database: Any) -> Database:
        return open_database(self.url(self.server))


class TestHttp(ServerContract):
    protocol = "url"


class TestTurso(ServerContract):
    protocol = "turso_url"
