"""A study's name belongs to one study, whoever creates it and however often: names are decided by the log, not by a look beforehand."""

from __future__ import annotations

import sqlite3
import threading
from collections import Counter
from collections.abc import Iterator
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
    "a no-break space behind it": "daily café run\u00a0",
    "a combining accent": "daily cafe\u0301 run",
    "a zero-width space": "daily\u200b café run",
    "a byte order mark": "\ufeffdaily café run",
    "a soft hyphen": "daily café r\u00adun",
    "a variation selector": "daily café run\ufe0f",
    "a Hangul filler": "daily café run\u3164",
    "marks of writing direction": "\u200edaily café\u2069 run",
}


@pytest.fixture
def kit(tmp_path: Path) -> Iterator[EvalKit]:
    with connect(tmp_path / "home") as kit:
        yield kit


def created(name: str, at_ms: int = 1_700_000_000_000) -> EncodedEvent:
    """Return the event of a program that mints random study ids."""
    event = StudyCreated(id=new_id(), name=name, period_type=PeriodType.DAILY, period_value=None, config=StudyConfig())
    stored = StoredEvalEvent(event_id=event_id_at(at_ms), event=event)
    return EncodedEvent(event.id, stored.event_id, stored.to_wire())


@pytest.mark.parametrize("other", SAME_NAME.values(), ids=SAME_NAME)
def test_names_that_look_the_same_are_the_same(kit: EvalKit, other: str) -> None:
    """A name that differs in what nobody sees opens the study, is refused as a new one, and finds it; it is shown as first typed."""
    study = kit.create_study("daily café run")
    assert kit.create_study(other, if_exists="open") == study
    with pytest.raises(StudyExistsError, match="'daily café run' already exists") as refused:
        kit.create_study(other)
    assert refused.value.study_ids == [study.id]
    assert kit.start_study(other).name == "daily café run"
    assert kit.storage.find_studies(other)[0].id == study.id
    assert kit.studies()["name"].to_list() == ["daily café run"]


def test_a_name_is_shown_as_it_was_typed(kit: EvalKit) -> None:
    """Comparing names changes none of them."""
    typed = " daily\u200b cafe\u0301 "
    assert kit.create_study(typed).name == typed
    assert kit.create_study("daily café", if_exists="open").name == typed
    assert kit.studies()["name"].to_list() == [typed]


def test_names_that_look_different_are_different(kit: EvalKit) -> None:
    """Case, inner spaces and letters that only resemble each other tell studies apart."""
    names = ["run", "Run", "r un", "r  un", "\u0433un", "run.", "rün"]
    assert len({kit.create_study(name).id for name in names}) == len(names)
    assert kit.studies().height == len(names)


@pytest.mark.parametrize("name", ["\u200b", "\u3164", " \u00ad\ufeff ", "\ufe0f"])
def test_a_name_without_a_visible_character_is_refused(kit: EvalKit, name: str) -> None:
    """It would look like an empty one."""
    with pytest.raises(evalkit.InvalidInputError, match="at least one visible character"):
        kit.create_study(name)


@given(st.text(), st.text(alphabet=" \t\u00a0\u3000\u200b\ufeff\ufe0f\u3164\u2060", max_size=5))
def test_a_normalized_name_stays_as_it_is(name: str, unseen: str) -> None:
    """Normalizing twice changes nothing, and what nobody sees around a name changes nothing either."""
    once = normalized_name(name)
    assert normalized_name(once) == once
    assert normalized_name(unseen + name + unseen) == once
    assert study_id_of_name("log", unseen + name) == study_id_of_name("log", name) != study_id_of_name("another log", name)


def test_an_id_derived_from_a_name_never_changes() -> None:
    """Ids are in logs: another derivation would give a name a second study."""
    assert study_id_of_name("log", "daily run") == "4a21d98c-37f6-5afe-9a0d-ff08e3c22177"
    assert study_id_of_name("log", "daily run", 1) == "df4d3495-a9a3-5ee4-9b0d-968d99c6a3ab"


def test_homes_with_random_ids_go_on_working(kit: EvalKit) -> None:
    """A study of an older home, or of another program, keeps its name; of two that are the same today each is found as it was typed."""
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


def test_a_log_of_an_earlier_version_is_given_an_identity(tmp_path: Path) -> None:
    """Its file had none: the first that asks writes one, of several at once all get the same."""
    path = tmp_path / "events.db"
    SqliteEventLog(path).append([created("one")])
    with closing(sqlite3.connect(path)) as connection:
        assert not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'identity'").fetchone(), "made before it was asked for"
    logs = [SqliteEventLog(path) for _ in range(8)]
    begin = threading.Barrier(len(logs))

    def ask(log: SqliteEventLog) -> str:
        begin.wait()
        return log.identity()

    with ThreadPoolExecutor(len(logs)) as pool:
        assert len(set(pool.map(ask, logs))) == 1
    for log in logs:
        log.close()


def race(children: list[Child], **asked: Any) -> list[str]:
    for child in children:
        child.tell(asked)
    return [child.hear() for child in children]


def assert_one_study_each_round(children: list[Child], home: Path, rounds: list[dict[str, Any]]) -> None:
    """Have the children create one name at the same time, round by round, in both modes, and look at what each was answered."""
    for each in rounds:
        opened = race(children, if_exists="open", name="daily run", **each)
        assert len(set(opened)) == 1, opened
        answers = Counter(race(children, if_exists="error", name="another run", **each))
        assert answers.pop("StudyExistsError") == PROCESSES - 1
        (winner,) = answers
        with connect(home / each["home"], **each.get("urls", {})) as kit:
            assert sorted(kit.studies()["study_id"]) == sorted([opened[0], winner])
            assert set(kit.rejected()["reason"]) <= {"study id taken"}


@pytest.mark.slow
def test_eight_processes_that_create_one_name_get_one_study(tmp_path: Path) -> None:
    """With if_exists="open" all get the same study; with "error" exactly one creates it and the others get StudyExistsError."""
    with ExitStack() as stack:
        children = [stack.enter_context(Child("create", tmp_path)) for _ in range(PROCESSES)]
        assert [child.hear() for child in children] == ["ready"] * PROCESSES
        assert_one_study_each_round(children, tmp_path, [{"home": f"home {number}"} for number in range(ROUNDS)])
        for child in children:
            assert child.finish() == []


def test_eight_processes_that_create_one_name_over_iggy_get_one_study(iggy: Iggy, sqld: Sqld, tmp_path: Path) -> None:
    """The same with a topic of four partitions, shared read model or one of each process's own, and the topic created by the race."""
    with ExitStack() as stack:
        children = [stack.enter_context(Child("create", tmp_path)) for _ in range(PROCESSES)]
        assert [child.hear() for child in children] == ["ready"] * PROCESSES
        for number in range(ROUNDS):
            urls = {"log_url": iggy.url(iggy.stream(partitions=4), partitions=4)}
            if number % 2:  # else each home has its own
                urls["database_url"] = empty_url(sqld)
            assert_one_study_each_round(children, tmp_path, [{"home": f"home {number}", "urls": urls}])
        for child in children:
            assert child.finish() == []


def test_kits_of_one_process_that_create_one_name_get_one_study(tmp_path: Path) -> None:
    """Threads with a kit each, and threads that share one, are no different from processes."""
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


def test_a_creation_whose_outcome_was_unknown_says_later_that_it_lost(
    kit: EvalKit, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Asked again, `outcome` says that another process created the name first."""

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
    with pytest.raises(ConflictError, match="a study with this id already exists"):
        kit.outcome(unknown.value)
    assert kit.create_study("daily run", if_exists="open").id == kit.studies()["study_id"].item()
