"""Study names are unique, also with concurrent commands: the order of the log decides."""

from __future__ import annotations

import sqlite3
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import evalkit
from evalkit import ConflictError, EvalKit, OutcomeUnknownError, StudyExistsError, connect
from evalkit.domain.events import EncodedEvent, StoredEvalEvent, StudyCreated
from evalkit.domain.ids import event_id_at, new_id, normalized_name, study_id_of_name
from evalkit.domain.study import PeriodType, StudyConfig
from evalkit.errors import DatabaseBusyError
from evalkit.eventlog.sqlite_log import SqliteEventLog
from tests.iggy_server import Iggy
from tests.servers import Sqld
from tests.test_shared import empty_url
from tests.worker import Child

PROCESSES, ROUNDS = 8, 20

SAME_NAME = {
    "spaces": "  daily café run ",
    "a trailing no-break space": "daily café run\u00a0",
    "a combining accent": "daily cafe\u0301 run",
    "a zero-width space": "daily\u200b café run",
    "a byte order mark": "\ufeffdaily café run",
    "a soft hyphen": "daily café r\u00adun",
    "a variation selector": "daily café run\ufe0f",
    "a Hangul filler": "daily café run\u3164",
    "marks of writing direction": "\u200edaily café\u2069 run",
}


def created(name: str, at_ms: int = 1_700_000_000_000) -> EncodedEvent:
    """Return the event of a program with random study ids."""
    event = StudyCreated(id=new_id(), name=name, period_type=PeriodType.DAILY, period_value=None, config=StudyConfig())
    stored = StoredEvalEvent(event_id=event_id_at(at_ms), event=event)
    return EncodedEvent(event.id, stored.event_id, stored.to_wire())


@pytest.mark.parametrize("other", SAME_NAME.values(), ids=SAME_NAME)
def test_names_that_look_the_same_are_the_same(kit: EvalKit, other: str) -> None:
    """They open the same study, and its stored name is unchanged."""
    study = kit.create_study("daily café run")
    assert kit.create_study(other, if_exists="open") == study
    with pytest.raises(StudyExistsError, match="'daily café run'") as refused:
        kit.create_study(other)
    assert refused.value.study_ids == [study.id]
    assert kit.start_study(other).name == "daily café run"
    assert kit.storage.find_studies(other)[0].id == study.id
    assert kit.studies()["name"].to_list() == ["daily café run"]


def test_a_name_is_stored_unchanged(kit: EvalKit) -> None:
    typed = " daily\u200b cafe\u0301 "
    assert kit.create_study(typed).name == typed
    assert kit.create_study("daily café", if_exists="open").name == typed
    assert kit.studies()["name"].to_list() == [typed]


def test_names_that_look_different_are_different(kit: EvalKit) -> None:
    """Case, inner spaces and similar letters are significant."""
    names = ["run", "Run", "r un", "r  un", "\u0433un", "run.", "rün"]
    assert len({kit.create_study(name).id for name in names}) == len(names)
    assert kit.studies().height == len(names)


@pytest.mark.parametrize("name", ["\u200b", "\u3164", " \u00ad\ufeff ", "\ufe0f"])
def test_a_name_without_a_visible_character_is_refused(kit: EvalKit, name: str) -> None:
    with pytest.raises(evalkit.InvalidInputError) as raised:
        kit.create_study(name)
    assert raised.value.field == "name"


@given(st.text(), st.text(alphabet=" \t\u00a0\u3000\u200b\ufeff\ufe0f\u3164\u2060", max_size=5))
def test_normalization_is_idempotent(name: str, invisible: str) -> None:
    """Invisible characters around a name are ignored."""
    normal = normalized_name(name)
    assert normalized_name(normal) == normal
    assert normalized_name(invisible + name + invisible) == normal
    assert study_id_of_name("log", invisible + name) == study_id_of_name("log", name) != study_id_of_name("another log", name)


def test_an_id_derived_from_a_name_never_changes() -> None:
    """Existing logs contain such ids."""
    assert study_id_of_name("log", "daily run") == "4a21d98c-37f6-5afe-9a0d-ff08e3c22177"
    assert study_id_of_name("log", "daily run", 1) == "df4d3495-a9a3-5ee4-9b0d-968d99c6a3ab"


def test_studies_with_random_ids_are_supported(kit: EvalKit) -> None:
    """They come from older homes and other programs; two equal names are resolved by their exact spelling."""
    kit.create_study("first")
    kit.engine.log.append([created("alone"), created("twice"), created("twice ", 1_700_000_000_001)])
    alone, _, twice, spaced = sorted(kit.storage.list_studies(), key=lambda study: study.name)
    assert kit.create_study("\u200balone", if_exists="open") == alone
    with pytest.raises(StudyExistsError):
        kit.create_study(" alone")
    assert kit.start_study("twice").id == twice.id
    assert kit.start_study("twice ").id == spaced.id
    assert kit.create_study("twice", if_exists="open").id == twice.id
    with pytest.raises(evalkit.AmbiguousStudyError):
        kit.create_study(" twice", if_exists="open")
    assert kit.studies().height == 4


def test_a_log_of_an_earlier_version_gets_an_identity(tmp_path: Path) -> None:
    """The first reader writes it, and concurrent readers get the same one."""
    path = tmp_path / "events.db"
    SqliteEventLog(path).append([created("one")])
    with closing(sqlite3.connect(path)) as connection:
        assert not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'identity'").fetchone(), "created before it was requested"
    logs = [SqliteEventLog(path) for _ in range(8)]
    begin = threading.Barrier(len(logs))

    def ask(log: SqliteEventLog) -> str:
        begin.wait()
        return log.identity()

    with ThreadPoolExecutor(len(logs)) as pool:
        assert len(set(pool.map(ask, logs))) == 1
    for log in logs:
        log.close()


def race(children: list[Child], **request: Any) -> list[str]:
    for child in children:
        child.tell(request)
    return [child.hear() for child in children]


def assert_one_study_each_round(children: list[Child], home: Path, rounds: list[dict[str, Any]]) -> None:
    """Make the children create one name concurrently, round by round, in both modes, and check all results."""
    for options in rounds:
        opened = race(children, if_exists="open", name="daily run", **options)
        assert len(set(opened)) == 1, opened
        answers = Counter(race(children, if_exists="error", name="another run", **options))
        assert answers.pop("StudyExistsError") == PROCESSES - 1
        (winner,) = answers
        with connect(home / options["home"], **options.get("urls", {})) as kit:
            assert sorted(kit.studies()["study_id"]) == sorted([opened[0], winner])
            assert set(kit.rejected()["reason"]) <= {"study id taken"}


@pytest.mark.slow
def test_eight_processes_that_create_one_name_get_one_study(tmp_path: Path) -> None:
    """With if_exists="error", one process creates it, and the others get StudyExistsError."""
    with ExitStack() as stack:
        children = [stack.enter_context(Child("create", tmp_path)) for _ in range(PROCESSES)]
        assert [child.hear() for child in children] == ["ready"] * PROCESSES
        assert_one_study_each_round(children, tmp_path, [{"home": f"home {number}"} for number in range(ROUNDS)])
        for child in children:
            assert child.finish() == []


def test_eight_processes_that_create_one_name_over_iggy_get_one_study(iggy: Iggy, sqld: Sqld, tmp_path: Path) -> None:
    """The topic has four partitions and is created concurrently too; the read model is shared in every second round."""
    with ExitStack() as stack:
        children = [stack.enter_context(Child("create", tmp_path)) for _ in range(PROCESSES)]
        assert [child.hear() for child in children] == ["ready"] * PROCESSES
        for number in range(ROUNDS):
            urls = {"log_url": iggy.url(iggy.stream(partitions=4), partitions=4)}
            if number % 2:  # otherwise, each home has a file
                urls["database_url"] = empty_url(sqld)
            assert_one_study_each_round(children, tmp_path, [{"home": f"home {number}", "urls": urls}])
        for child in children:
            assert child.finish() == []


def test_kits_of_one_process_that_create_one_name_get_one_study(tmp_path: Path) -> None:
    """Threads with different kits and threads that share a kit."""
    kits = [connect(tmp_path / "home") for _ in range(4)]
    begin = threading.Barrier(2 * len(kits))

    def create(kit: EvalKit) -> str:
        begin.wait()
        return kit.create_study("daily run", if_exists="open").id

    with ThreadPoolExecutor(2 * len(kits)) as pool:
        assert len(set(pool.map(create, kits * 2))) == 1
    assert kits[0].studies().height == 1
    for kit in kits:
        kit.close()


def test_a_creation_with_an_unknown_outcome_reports_the_conflict_later(
    kit: EvalKit, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Another process created the name first."""

    def busy(*_: object) -> Any:
        raise DatabaseBusyError("The read model stayed locked.")

    with monkeypatch.context() as patched:
        append = kit.engine.log.append

        def append_second(messages: Any) -> Any:
            with connect(tmp_path / "home") as other:
                other.create_study("daily run")
            patched.setattr(kit.engine.database, "batch", busy)
            return append(messages)

        patched.setattr(kit.engine.log, "append", append_second)
        with pytest.raises(OutcomeUnknownError) as unknown:
            kit.create_study("daily run", if_exists="open")
    with pytest.raises(ConflictError) as conflict:
        kit.outcome(unknown.value)
    assert conflict.value.reason == "study id taken"
    assert kit.create_study("daily run", if_exists="open").id == kit.studies()["study_id"].item()
