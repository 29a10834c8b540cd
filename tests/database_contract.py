"""The contract of every database. An adapter's test file subclasses it with a fixture that opens a database."""

from __future__ import annotations

import json
import threading
from abc import ABC, abstractmethod
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from evalkit.errors import DatabaseError
from evalkit.readmodel.database.database import BulkInsert, ConditionFailed, Database


class DatabaseContract(ABC):
    """The contract of every database; `database` is a fixture with an empty table ``t (k INTEGER PRIMARY KEY, v)``."""

    @abstractmethod
    def another(self, database: Any) -> Database:
        """Open the same database again, as another process would."""

    @pytest.mark.parametrize(
        "value", [None, "", "a\x00b", "é😀 'q' \"d\"", 0, -1, 2**63 - 1, -(2**63), 0.1 + 0.2, 1e308, b"", bytes(range(256))]
    )
    def test_values_round_trip(self, database: Database, value: object) -> None:
        """Text with any character, 64-bit integers, floats to the last digit, bytes and NULL."""
        database.batch([("INSERT INTO t VALUES (1, ?)", (value,))])  # type: ignore[list-item]
        (row,) = database.execute("SELECT v FROM t WHERE k = ?", (1,))
        assert row == (value,)
        assert type(row[0]) is type(value)

    def test_batch_returns_rows_of_each_statement(self, database: Database) -> None:
        """Each statement sees the effects of the previous ones."""
        answers = database.batch([("INSERT INTO t VALUES (1, 'a'), (2, 'b')", ()), ("SELECT k, v FROM t ORDER BY k", ()), ("SELECT 5", ())])
        assert answers == [[], [(1, "a"), (2, "b")], [(5,)]]

    def test_other_openings_read_committed_rows(self, database: Database) -> None:
        other = self.another(database)
        for key in range(5):
            database.batch([("INSERT INTO t VALUES (?, 'one')", (2 * key,))])
            other.batch([("INSERT INTO t VALUES (?, 'other')", (2 * key + 1,))])
            assert database.execute("SELECT count(*) FROM t") == other.execute("SELECT count(*) FROM t") == [(2 * key + 2,)]
        database.close()
        assert database.execute("SELECT count(*) FROM t") == [(10,)]
        other.close()

    @pytest.mark.parametrize(
        "wrong",
        ["INSERT INTO t VALUES (1, 'again')", "INSERT INTO missing VALUES (1)", "SELEKT 1", "DROP TABLE missing", "SELECT nothing FROM t"],
    )
    def test_failed_statement_rolls_back_batch(self, database: Database, wrong: str) -> None:
        """Including created tables. The error has the driver's message as an attribute."""
        batch = [("INSERT INTO t VALUES (1, 'a')", ()), ("CREATE TABLE made (n)", ()), (wrong, ()), ("INSERT INTO t VALUES (2, 'b')", ())]
        with pytest.raises(DatabaseError) as raised:
            database.batch(batch)
        assert raised.value.driver_message
        assert raised.value.__cause__ is None
        assert raised.value.__context__ is None or raised.value.__suppress_context__
        assert database.execute("SELECT count(*) FROM t") == [(0,)]
        assert database.execute("SELECT name FROM sqlite_master WHERE name = 'made'") == []
        database.batch([("INSERT INTO t VALUES (1, 'a')", ())])

    def test_failed_statement_keeps_database_usable(self, database: Database) -> None:
        with pytest.raises(DatabaseError) as raised:
            database.execute("SELECT * FROM missing")
        assert raised.value.driver_message
        assert database.execute("SELECT 1") == [(1,)]

    def test_json_list_is_passed_as_one_value(self, database: Database) -> None:
        """As the projection does for thousands of ids."""
        ids = [f"id {number} é" for number in range(20_000)]
        rows = database.execute("SELECT value FROM json_each(?)", (json.dumps(ids),))
        assert [value for (value,) in rows] == ids

    def test_values_of_several_mebibytes_round_trip(self, database: Database) -> None:
        text, blob = "é\n" * 1_000_000, bytes(range(256)) * 8192
        database.batch([("INSERT INTO t VALUES (1, ?), (2, ?)", (text, blob))])
        assert database.execute("SELECT v FROM t ORDER BY k") == [(text,), (blob,)]

    def test_batch_reads_consistent_state(self, database: Database) -> None:
        """All statements of a batch see the same state during concurrent writes."""
        database.batch([("CREATE TABLE u (n INTEGER NOT NULL)", ()), ("INSERT INTO u VALUES (0)", ())])
        other, done, seen = self.another(database), threading.Event(), set()

        def write() -> None:
            for number in range(1, 3000):
                if number > 60 and len(seen) > 2:
                    break
                other.batch([("INSERT INTO t VALUES (?, '')", (number,)), ("UPDATE u SET n = ?", (number,))])
            done.set()

        with ThreadPoolExecutor(1) as pool:
            writing = pool.submit(write)
            while not done.is_set() and not writing.done():
                rows, _, counter = database.batch([("SELECT count(*) FROM t", ()), ("SELECT k FROM t", ()), ("SELECT n FROM u", ())])
                assert rows == counter
                seen.add(rows[0][0])
            writing.result()
        assert len(seen) > 2
        other.close()

    def test_concurrent_openings_wait_for_each_other(self, database: Database) -> None:
        databases = [database, *(self.another(database) for _ in range(3))]
        start = threading.Barrier(4)

        def work(number: int) -> None:
            start.wait(30)
            for step in range(25):
                databases[number].batch([("INSERT INTO t VALUES (?, ?)", (number * 100 + step, number)), ("SELECT count(*) FROM t", ())])

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(work, range(4)))
        assert database.execute("SELECT v, count(*) FROM t GROUP BY v") == [(number, 25) for number in range(4)]
        for other in databases[1:]:
            other.close()

    def test_bulk_insert_preserves_order_and_values(self, database: Database) -> None:
        database.batch([("CREATE TABLE bulk (k INTEGER, a TEXT, b INTEGER)", ())])
        odd = ['{"x": 0.10, "y": 1e400}', "é😀 'q' \"d\" \\ \n\t\x1e", "", "null", "[1]", None]
        rows = [(key, odd[key % len(odd)], None if key % 7 == 0 else 2**63 - 1 - key) for key in range(5000)]
        assert database.batch([BulkInsert("bulk", "k, a, b", [part for row in rows for part in row]), BulkInsert("bulk", "k", [])]) == [
            [],
            [],
        ]
        assert database.execute("SELECT k, a, b FROM bulk ORDER BY rowid") == rows

    def test_failed_bulk_insert_rolls_back_batch(self, database: Database) -> None:
        with pytest.raises(DatabaseError):
            database.batch([("INSERT INTO t VALUES (9, 'a')", ()), BulkInsert("t", "k, v", [1, "a", 2, "b", 1, "again"])])
        assert database.execute("SELECT count(*) FROM t") == [(0,)]

    def test_failed_compare_and_swap_rolls_back_batch(self, database: Database) -> None:
        database.batch([("CREATE TABLE p (next INTEGER NOT NULL)", ()), ("INSERT INTO p VALUES (5)", ())])
        move = "UPDATE p SET next = CASE WHEN next = ? THEN ? ELSE NULL END"
        with pytest.raises(ConditionFailed):
            database.batch([("INSERT INTO t VALUES (1, 'a')", ()), (move, (4, 6)), ("INSERT INTO t VALUES (2, 'b')", ())])
        assert database.execute("SELECT count(*) FROM t") == [(0,)]
        assert database.execute("SELECT next FROM p") == [(5,)]
        database.batch([(move, (5, 6)), ("INSERT INTO t VALUES (1, 'a')", ())])
        assert database.execute("SELECT next FROM p") == [(6,)]

    def test_table_swap_is_transactional(self, database: Database) -> None:
        """Including DROP, RENAME and CREATE INDEX."""
        database.batch([("CREATE TABLE t_new (k INTEGER PRIMARY KEY, v)", ()), ("INSERT INTO t_new VALUES (7, 'new')", ())])
        swap = [("DROP TABLE t", ()), ("ALTER TABLE t_new RENAME TO t", ()), ("CREATE INDEX i ON t (v)", ())]
        fails = ("INSERT INTO must VALUES (NULL)", ())
        database.batch([("CREATE TABLE must (n INTEGER NOT NULL)", ())])
        with pytest.raises(ConditionFailed):
            database.batch([*swap, fails])  # type: ignore[list-item]
        assert database.execute("SELECT count(*) FROM t") == [(0,)]
        database.batch(swap)  # type: ignore[arg-type]
        assert database.execute("SELECT * FROM t") == [(7, "new")]

    def test_concurrent_compare_and_swap_applies_each_step_once(self, database: Database) -> None:
        """No thread sees a busy database."""
        database.batch([("CREATE TABLE p (next INTEGER NOT NULL)", ()), ("INSERT INTO p VALUES (0)", ())])
        start = threading.Barrier(8)

        def work(_: int) -> int:
            start.wait(30)
            moved = 0
            for _attempt in range(25):
                ((now,),) = database.execute("SELECT next FROM p")
                try:
                    database.batch([("UPDATE p SET next = CASE WHEN next = ? THEN next + 1 ELSE NULL END", (now,))])
                    moved += 1
                except ConditionFailed:
                    continue
            return moved

        with ThreadPoolExecutor(8) as pool:
            moved = sum(pool.map(work, range(8)))
        assert database.execute("SELECT next FROM p") == [(moved,)]
        assert moved >= 25

    def test_close_is_idempotent(self, database: Database) -> None:
        database.close()
        database.close()
