"""The lifetime of a kit: threads, forks, exits, pickles, secrets, homes."""

from __future__ import annotations

import copy
import io
import logging
import os
import pickle
import shutil
import sqlite3
import stat
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from inline_snapshot import snapshot

from evalkit import EvalKit, EvalkitError, EvalkitWarning, InvalidInputError, OutcomeUnknownError, connect, errors
from evalkit.eventlog.event_log import LogPosition
from evalkit.io.checkpoint_files import import_checkpoints
from evalkit.io.log_files import import_log
from evalkit.readmodel.database.sqlite_database import SqliteDatabase
from evalkit.readmodel.write_behind import WriteBehind
from evalkit.settings import Settings
from tests.messages import says
from tests.worker import CREATED, Child, sample, study_with_checkpoints

THREADS = 8


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("EVALKIT_HOME", "EVALKIT_LOG_URL", "EVALKIT_DATABASE_URL", "EVALKIT_DATABASE_AUTH_TOKEN"):
        monkeypatch.delenv(name, raising=False)


# --- threads -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_one_kit_is_used_by_eight_threads(tmp_path: Path) -> None:
    """Nothing is lost or duplicated, and every thread reads its own writes."""
    kit = connect(tmp_path / "home")
    shared = study_with_checkpoints(kit, 0)
    start = threading.Barrier(THREADS)

    def work(number: int) -> list[str]:
        start.wait(30)
        own = kit.start_study(kit.create_study(f"study {number}"))
        recorded = []
        for index in range(20):
            recorded.append(kit.record_checkpoint(shared, sample(number * 1000 + index)).id)
            assert recorded[-1] in kit.checkpoints()["checkpoint_id"].to_list()
            kit.record_checkpoint(own, sample(index))
            assert kit.checkpoints(own).height == index + 1
            if number == 0 and index % 5 == 2:
                kit.rebuild(on_progress=lambda done, total: None)
        kit.stop_study(own)
        return recorded

    with ThreadPoolExecutor(THREADS) as pool:
        recorded = [checkpoint_id for ids in pool.map(work, range(THREADS)) for checkpoint_id in ids]

    assert sorted(kit.checkpoints("study")["checkpoint_id"]) == sorted(recorded)
    assert kit.checkpoints().height == 2 * len(recorded) == 2 * 20 * THREADS
    assert kit.rejected().is_empty()
    assert kit.verify().ok
    kit.close()


@pytest.mark.slow
def test_one_thread_closes_a_kit_while_others_use_it(tmp_path: Path) -> None:
    """Closing waits until the files are not in use, and the next use opens them again."""
    kit = connect(tmp_path / "home")
    study = study_with_checkpoints(kit, 0)
    done = threading.Event()

    def close() -> int:
        times = 0
        while not done.is_set():
            kit.close()
            times += 1
        return times

    def use(number: int) -> None:
        for index in range(30):
            kit.record_checkpoint(study, sample(number * 1000 + index))
            kit.checkpoints()
            kit.storage.list_studies()

    with ThreadPoolExecutor(4) as pool:
        closing = pool.submit(close)
        try:
            for used in [pool.submit(use, number) for number in range(3)]:
                used.result(120)
        finally:
            done.set()
        assert closing.result(30) > 10

    assert kit.checkpoints().height == 90
    assert kit.verify().ok
    kit.close()


# --- forks -------------------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("closes", [None, "child", "parent"])
def test_a_kit_is_used_before_and_after_a_fork(tmp_path: Path, closes: str | None) -> None:
    """Parent and child use the same kit, also when one of them closes it: every acknowledged checkpoint is stored exactly once."""
    with Child("fork_and_use", tmp_path / "home", closes=closes) as child:
        *acknowledged, end = child.finish()

    assert end == {"code": 0, "verified": True}
    with connect(tmp_path / "home") as kit:
        there = kit.checkpoints()["checkpoint_id"].to_list()
        assert len(there) == len(set(there)) == 3 + len(acknowledged)
        assert set(acknowledged) < set(there)


@pytest.mark.slow
def test_a_fork_while_other_threads_use_the_kit(tmp_path: Path) -> None:
    """The child does not wait for threads of the parent."""
    with Child("fork_beside_threads", tmp_path / "home") as child:
        (end,) = child.finish(240)

    assert end == {"codes": [0] * 10, "there": list(range(100_000, 100_010)), "verified": True}


@pytest.mark.slow
@pytest.mark.parametrize("before", [False, True], ids=["no frame before", "frames before"])
def test_frames_in_a_forked_process(tmp_path: Path, before: bool) -> None:
    """A forked process gets frames or an error; it never hangs."""
    with Child("fork_and_read_frames", tmp_path / "home", before=before) as child:
        *refused, end = child.finish()

    assert end == {"code": 0}
    assert all("fork" in message for message in refused)
    assert before or not refused


# --- exits -------------------------------------------------------------------------------------------------------------------------

OPENING = """
import sys, threading, evalkit
kit = evalkit.connect(sys.argv[1])
study = kit.start_study(kit.create_study("study"))
"""
ENDINGS = {
    "never closed": "",
    "after frames": "kit.checkpoints(); kit.studies(backend='pandas')",
    "after a rebuild": "kit.rebuild()",
    "two kits": "other = evalkit.connect(sys.argv[1]); other.studies()",
    "in a cycle": "kit.itself = kit",
    "used in a thread that ended": "thread = threading.Thread(target=kit.storage.list_studies); thread.start(); thread.join()",
    "opened in a thread that waits": """
opened = threading.Event()
def wait():
    mine = evalkit.connect(sys.argv[1])
    mine.pause_study("study")
    opened.set()
    threading.Event().wait()
threading.Thread(target=wait, daemon=True).start()
opened.wait()
""",
    "used in a thread that goes on": """
going = threading.Event()
def go_on():
    while True:
        kit.storage.list_studies()
        going.set()
threading.Thread(target=go_on, daemon=True).start()
going.wait()
""",
    "a live consumer in a thread": """
from evalkit.readmodel.consumer import EvalProjectionConsumer
consumer = EvalProjectionConsumer(kit.engine.log, kit.engine.database)
threading.Thread(target=consumer.run, args=(threading.Event(),), daemon=True).start()
kit.pause_study(study)
""",
}


@pytest.mark.slow
@pytest.mark.parametrize("ending", ENDINGS.values(), ids=ENDINGS)
def test_a_script_exits_without_closing_its_kit(tmp_path: Path, ending: str) -> None:
    """The process exits within seconds after its last line, with code 0 and without output on stderr."""
    script = f"{OPENING}{ending}\nprint('last line', flush=True)"
    command = [sys.executable, "-W", "error", "-c", script, str(tmp_path / "home")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        printed = time.monotonic()
        _, error_output = process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait()
    assert (line, error_output, process.returncode) == ("last line\n", "", 0)
    assert time.monotonic() - printed < 10


# --- pickles -----------------------------------------------------------------------------------------------------------------------

ERRORS = sorted(
    (value for name in errors.__all__ if isinstance(value := getattr(errors, name), type) and issubclass(value, Exception)),
    key=lambda kind: kind.__name__,
)


@pytest.mark.parametrize("kind", ERRORS, ids=[kind.__name__ for kind in ERRORS])
def test_every_error_survives_a_pickle(kind: type[Exception]) -> None:
    """Class, message and attributes are kept."""
    if issubclass(kind, EvalkitError):
        error: Any = kind("a message", study_id="some id", value=[1, 2], positions=[LogPosition(0, 7)])
        error.driver_message = "disk I/O error"
    else:
        error = kind("a message")
    for other in (*(pickle.loads(pickle.dumps(error, protocol)) for protocol in range(pickle.HIGHEST_PROTOCOL + 1)), copy.copy(error)):
        assert type(other) is kind
        assert (str(other), other.args, vars(other)) == (str(error), error.args, vars(error))


def test_errors_of_a_kit_survive_a_pickle(tmp_path: Path) -> None:
    with connect(tmp_path / "home") as kit:
        study = kit.create_study("study")
        for call in (
            lambda: kit.create_study("study"), lambda: kit.create_study(""), lambda: kit.pause_study(study),
            lambda: kit.start_study("nobody"), lambda: kit.record_checkpoint(study, {"period": (CREATED, CREATED)}),
        ):  # fmt: skip
            with pytest.raises(EvalkitError) as caught:
                call()
            other = pickle.loads(pickle.dumps(caught.value))
            assert (type(other), str(other), vars(other)) == (type(caught.value), str(caught.value), vars(caught.value))


def test_an_unknown_outcome_can_be_read_by_another_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pickled `OutcomeUnknownError` is sufficient for another kit."""
    kit = connect(tmp_path / "home")
    study = study_with_checkpoints(kit, 0)
    monkeypatch.setattr(kit.engine.database, "_busy_seconds", 0.2)
    with closing(sqlite3.connect(tmp_path / "home" / "evalkit.db", isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(OutcomeUnknownError) as caught:
            kit.record_checkpoint(study, sample(5))
    pickled = pickle.dumps(caught.value)
    kit.close()

    with connect(tmp_path / "home") as other:
        checkpoint = other.outcome(pickle.loads(pickled))
        assert other.checkpoints()["checkpoint_id"].to_list() == [checkpoint.id]  # type: ignore[union-attr]
        assert other.checkpoints()["total_tokens"].to_list() == [5]


# --- secrets -----------------------------------------------------------------------------------------------------------------------

SECRET = "s3cr3t"
SECRET_URLS = [
    f"iggy+tcp://user:{SECRET}@host:8090",
    f"iggy+tcp://user:{SECRET}/with#odd?signs@host:8090",
    f"iggy+tcp://:{SECRET}@host",
    f"iggy+tcp://{SECRET}@host",
    f"libsql://host?authToken={SECRET}",
    f"libsql://host/?tls=1&auth_token={SECRET}&x=y",
    f"https://user:{SECRET}@host?jwt={SECRET}",
    f"wss://host?password={SECRET}#fragment",
    f"iggy:user:{SECRET}@host",
    f"https://host/?authToken=p@{SECRET}",
    f"libsql:{SECRET}",
]
VALID = [f"iggy+tcp://user:{SECRET}@host:8090", f"iggy+tcp://{SECRET}@host"]
"""The valid URLs of logs among them."""


@pytest.mark.parametrize(
    ("side", "url"),
    [
        (side, url)
        for side in ("log_url", "database_url")
        for url in SECRET_URLS
        if (side, url) not in [("log_url", valid) for valid in VALID]
    ],
)
def test_a_secret_in_a_url_is_never_shown(tmp_path: Path, caplog: pytest.LogCaptureFixture, url: str, side: str) -> None:
    """A refused URL appears without its password or token in the error, the traceback and log lines."""
    caplog.set_level(logging.DEBUG)
    options: dict[str, Any] = {side: url}
    with pytest.raises(InvalidInputError) as caught:
        connect(tmp_path / "home", **options)
    error = caught.value
    shown = [str(error), repr(error), repr(vars(error)), repr(error.args), caplog.text]
    assert not any(SECRET in text for text in shown), shown
    assert SECRET not in "".join(traceback.format_exception(error))
    assert error.field == side


@pytest.mark.parametrize("name", ["EVALKIT_LOG_URL", "EVALKIT_DATABASE_URL"])
def test_a_secret_in_the_environment_is_never_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, SECRET_URLS[1])
    with pytest.raises(InvalidInputError) as caught:
        connect(tmp_path / "home")
    assert SECRET not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("url", VALID)
def test_the_password_of_a_log_is_never_shown(tmp_path: Path, caplog: pytest.LogCaptureFixture, url: str) -> None:
    """It is in no error, traceback, repr, status, warning or log line."""
    caplog.set_level(logging.DEBUG)
    kit = connect(tmp_path / "home", log_url=url)
    with pytest.raises(EvalkitError) as caught:
        kit.create_study("study")
    error = caught.value
    shown = [
        str(error),
        repr(vars(error)),
        repr(kit),
        repr(vars(kit.engine)),
        repr(vars(kit.engine.log)),
        repr(kit.status()),
        caplog.text,
    ]
    assert not any(SECRET in text for text in [*shown, "".join(traceback.format_exception(error))]), shown


def test_a_secret_in_the_settings_is_never_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVALKIT_DATABASE_AUTH_TOKEN", SECRET)
    shown = [repr(Settings.resolve(tmp_path / "home", url, url)) for url in SECRET_URLS]
    assert not any(SECRET in text for text in shown)


def test_the_token_is_never_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """It is in no repr, status, error or log line of a kit."""
    monkeypatch.setenv("EVALKIT_DATABASE_AUTH_TOKEN", SECRET)
    caplog.set_level(logging.DEBUG)
    with connect(tmp_path / "home") as kit:
        study = study_with_checkpoints(kit, 1)
        shown = [repr(kit), str(kit), repr(vars(kit)), repr(vars(kit.engine)), repr(kit.status()), repr(study), repr(kit.verify())]
        kit.close()
        (tmp_path / "home" / "evalkit.db").write_bytes(b"garbage")
        with pytest.raises(EvalkitError) as caught:
            kit.studies()
        shown += ["".join(traceback.format_exception(caught.value)), repr(vars(caught.value)), repr(kit.status())]
    assert not any(SECRET in text for text in [*shown, caplog.text])


# --- network file systems ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def on_nfs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    mounts = [SimpleNamespace(mountpoint="/", fstype="ext4"), SimpleNamespace(mountpoint=str(tmp_path), fstype="nfs4")]
    monkeypatch.setattr(psutil, "disk_partitions", lambda all=False: mounts)  # noqa: A006  (psutil's own name)
    return tmp_path


def test_a_home_on_a_network_file_system_warns(on_nfs: Path) -> None:
    """The warning appears once per kit, and the status contains the problem."""
    with pytest.warns(EvalkitWarning) as caught:
        kit = connect(on_nfs / "home")
    (warning,) = caught
    assert says(warning.message) == snapshot(
        "The home TMP/home is on a network file system (nfs4), where SQLite's WAL mode is not safe. Use a folder on a local disk (EVALKIT_HOME), or shared servers (EVALKIT_LOG_URL, EVALKIT_DATABASE_URL)."
    )
    kit.create_study("study")  # no second warning, which would be an error here
    assert any("network file system" in problem for problem in kit.status().problems)
    kit.close()

    with pytest.warns(EvalkitWarning, match="network file system"):
        kit = connect(on_nfs / "home")
    assert kit.studies().height == 1
    kit.close()


def test_a_local_home_does_not_warn(on_nfs: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Other network file systems are ignored."""
    with connect(tmp_path_factory.mktemp("local") / "home") as kit:
        kit.create_study("study")
        assert kit.status().problems == ()


# --- homes -------------------------------------------------------------------------------------------------------------------------


def home_of(kit: EvalKit) -> Path:
    return Path(kit.status().home)


def test_the_home_is_the_argument_or_the_environment_or_the_nearest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The nearest one is in the working directory or a parent; without any, it is in the working directory."""
    project = tmp_path / "project"
    below = project / "notebooks" / "deep"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    assert home_of(connect()) == below / ".evalkit"
    (project / ".evalkit").mkdir()
    assert home_of(connect()) == project / ".evalkit"
    (project / "notebooks" / ".evalkit").write_text("a file, not a home")
    assert home_of(connect()) == project / ".evalkit"
    (below / ".evalkit").mkdir()
    assert home_of(connect()) == below / ".evalkit"
    monkeypatch.setenv("EVALKIT_HOME", str(tmp_path / "from the environment"))
    assert home_of(connect()) == tmp_path / "from the environment"
    assert home_of(connect(tmp_path / "argument")) == tmp_path / "argument"
    assert home_of(connect("relative")) == below / "relative"
    monkeypatch.setenv("EVALKIT_HOME", "")
    assert home_of(connect()) == below / ".evalkit"
    monkeypatch.setenv("HOME", str(tmp_path))
    assert home_of(connect("~/mine")) == tmp_path / "mine"


def test_a_relative_home_is_resolved_by_connect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A later change of the working directory has no effect."""
    monkeypatch.chdir(tmp_path)
    kit = connect("home")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    kit.create_study("study")
    kit.close()
    assert (tmp_path / "home" / "events.db").exists()
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_home_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("precious")
    for home in (tmp_path / "file", ""):
        with pytest.raises(InvalidInputError) as refused:
            connect(home)
        assert (refused.value.field, refused.value.value) == ("home", str(home))
    assert (tmp_path / "file").read_text() == "precious"


def test_reading_never_creates_a_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Queries without a home return empty results, and warn once with the folders that were searched."""
    here = tmp_path / "project" / "notebooks"
    here.mkdir(parents=True)
    monkeypatch.chdir(here)
    kit = connect()
    with pytest.warns(EvalkitWarning) as caught:
        studies = kit.studies()
    frames = [studies, kit.checkpoints(), kit.lifecycle(), kit.rejected(), kit.studies(backend="pandas"), kit.checkpoints(backend="pandas")]
    assert kit.storage.list_studies() == []
    assert kit.storage.get_study("x") is None
    assert kit.storage.get_checkpoints("x") == []
    assert kit.verify().ok
    assert kit.rebuild().events == 0
    with pytest.raises(LookupError):
        kit.checkpoints("study")
    assert all(len(frame) == 0 for frame in frames)
    (warning,) = caught
    for folder in (here, here.parent, tmp_path):
        assert str(folder / ".evalkit") in str(warning.message)
    assert warning.filename == __file__
    assert str(here / ".evalkit") in str(kit.status())
    assert kit.status().events is None
    assert list(here.iterdir()) == []

    study = kit.create_study("study")  # the first command creates it
    assert kit.studies()["study_id"].to_list() == [study.id]
    kit.close()


METRICS = {"session_success_rate": 0.5, "period": ("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z")}
REFUSED: dict[str, Callable[[EvalKit], object]] = {
    "create: a bad name": lambda kit: kit.create_study(""),
    "create: a bad period": lambda kit: kit.create_study("study", period="dayly"),
    "create: a bad time": lambda kit: kit.create_study("study", at="9999-01-01T00:00:00Z"),
    "create: a text too long": lambda kit: kit.create_study("study", description="a" * 1_200_000),
    "create: a bad option": lambda kit: kit.create_study("study", if_exists="maybe"),  # type: ignore[arg-type]
    **{command: lambda kit, command=command: getattr(kit, f"{command}_study")("study") for command in ("start", "pause", "resume", "stop")},  # type: ignore[misc]
    "start: a bad time": lambda kit: kit.start_study("study", at="yesterday"),
    "start: no reference": lambda kit: kit.start_study(""),
    "record: an unknown study": lambda kit: kit.record_checkpoint("study", METRICS),
    "record: bad metrics": lambda kit: kit.record_checkpoint("study", {**METRICS, "session_success_rate": 85}),
    "record many: an unknown study": lambda kit: kit.record_checkpoints("study", [METRICS]),
    "record many: no rows": lambda kit: kit.record_checkpoints("study", []),
    "record many: bad metrics": lambda kit: kit.record_checkpoints("study", [METRICS, {}]),
    "recorder: an unknown study": lambda kit: kit.recorder("study"),
    "panel: an unknown study": lambda kit: kit.panel("study"),
    "import: a bad log": lambda kit: import_log(kit.engine, io.BytesIO(b'{"event_id": 1}')),
    "import: no checkpoints file": lambda kit: import_checkpoints(kit, Path("missing.csv"), "study"),
}


@pytest.mark.parametrize("before", ["no home", "an empty folder"])
@pytest.mark.parametrize("refused", REFUSED)
@pytest.mark.filterwarnings("ignore::evalkit.EvalkitWarning")
def test_a_refused_command_creates_nothing(tmp_path: Path, refused: str, before: str) -> None:
    """It creates no home, and no files in an empty folder; the next command works."""
    home = tmp_path / "home"
    if before == "an empty folder":
        home.mkdir()
    with connect(home) as kit:
        with pytest.raises(EvalkitError):
            REFUSED[refused](kit)
        assert list(tmp_path.rglob("*")) == ([] if before == "no home" else [home])
        kit.create_study("study")
        assert kit.studies()["name"].to_list() == ["study"]


def test_an_import_of_an_empty_file_creates_nothing(tmp_path: Path) -> None:
    with connect(tmp_path / "home") as kit:
        assert import_log(kit.engine, io.BytesIO(b"\n")).appended == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_a_new_home_is_private(tmp_path: Path, umask: int) -> None:
    """Folder and files are accessible only to the user, independent of the umask."""
    before = os.umask(umask)
    try:
        with connect(tmp_path / "parent" / "home") as kit:
            study_with_checkpoints(kit, 1)
            files = list((tmp_path / "parent" / "home").iterdir())
            modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in files}
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "parent" / "home").stat().st_mode) == 0o700
    del modes[".gitignore"]
    assert modes == {f"{name}.db{part}": 0o600 for name in ("events", "evalkit") for part in ("", "-wal", "-shm")}
    assert (tmp_path / "parent" / "home" / ".gitignore").read_text() == "*\n"


@pytest.mark.parametrize("name", ["C# home?", "100% öffentlich", "a&b=c;d", 'it\'s "quoted"', "new\nline", "?mode=memory", "file:x"])
def test_home_name_may_contain_special_characters(tmp_path: Path, name: str) -> None:
    """No character of the name is interpreted as a part of a URL."""
    home = tmp_path / name
    with connect(home) as kit:
        study_with_checkpoints(kit, 2)
        assert kit.rebuild(on_progress=lambda done, total: None).generation == 2
        assert kit.verify().ok
    with connect(home) as kit:
        assert kit.checkpoints().height == 2
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert {"events.db", "evalkit.db"} < {path.name for path in home.iterdir()}


def test_read_only_home_name_may_contain_special_characters(tmp_path: Path) -> None:
    home = tmp_path / "C# home?mode=rw"
    with connect(home) as kit:
        study_with_checkpoints(kit, 2)
    database = SqliteDatabase(home / "evalkit.db", read_only=True)
    assert database.execute("SELECT count(*) FROM checkpoints") == [(2,)]
    with pytest.raises(errors.DatabaseUnavailableError):
        database.batch([("DELETE FROM checkpoints", ())])
    database.close()


def test_a_home_is_deleted_while_a_kit_is_open(tmp_path: Path) -> None:
    """No command reports success for an event that the next process cannot read."""
    kit = connect(tmp_path / "home")
    kit.create_study("before")
    shutil.rmtree(tmp_path / "home")
    created, refused = [], []
    for name in ("first", "second"):
        try:
            created.append(kit.create_study(name).name)
        except EvalkitError as error:
            refused.append(str(error))
    kit.close()
    with connect(tmp_path / "home") as other:
        other.create_study("after")
        assert set(created) <= set(other.studies()["name"])
    assert not any("SQLITE_" in message for message in refused), refused


@pytest.mark.parametrize("used_between", [False, True])
def test_a_read_model_is_rebuilt_after_it_was_deleted_under_an_open_kit(tmp_path: Path, used_between: bool) -> None:
    """All rows are read from the log again, with and without a query in between."""
    kit = connect(tmp_path / "home")
    study_with_checkpoints(kit, 3)
    assert kit.checkpoints().height == 3
    for file in (tmp_path / "home").glob("evalkit.db*"):
        file.unlink()
    if used_between:
        assert kit.studies()["name"].to_list() == ["study"]
    with pytest.raises(errors.StudyExistsError):
        kit.create_study("study")
    assert kit.checkpoints().height == 3
    assert kit.verify().ok
    assert stat.S_IMODE((tmp_path / "home" / "evalkit.db").stat().st_mode) == 0o600
    kit.close()


FORK_WHILE_WRITING = """
import os, signal, sys, evalkit

with evalkit.connect(sys.argv[1]) as kit:
    kit.create_study("one")
    with kit.engine.consumer._writes.in_background():
        kit.engine.consumer._writes.batch([("UPDATE meta SET generation = generation", ())])
        child = os.fork()
        if child == 0:
            signal.alarm(20)
            kit.create_study("two")
            kit.start_study("two")
            os._exit(0 if [study.name for study in kit.storage.list_studies()] == ["two", "one"] else 1)
    _, status = os.waitpid(child, 0)
    assert status == 0, status
    assert {study.name for study in kit.storage.list_studies()} == {"one", "two"}
"""


@pytest.mark.slow
def test_a_process_forked_while_another_thread_writes_continues(tmp_path: Path) -> None:
    """A backlog is written by a thread that the forked process does not have."""
    done = subprocess.run(
        [sys.executable, "-c", FORK_WHILE_WRITING, str(tmp_path)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_switch_interval_of_threads_is_restored_after_writing(tmp_path: Path) -> None:
    usual = sys.getswitchinterval()
    with connect(tmp_path) as kit:
        database = kit.engine.database
        with WriteBehind(database).in_background():
            with WriteBehind(database).in_background():
                assert sys.getswitchinterval() < usual
            assert sys.getswitchinterval() < usual
        assert sys.getswitchinterval() == usual
        failing = WriteBehind(database)
        with pytest.raises(errors.DatabaseError), failing.in_background():
            failing.batch([("no SQL", ())])
    assert sys.getswitchinterval() == usual


@pytest.mark.parametrize("token", ["hid\nden", "hidd\u00e9n", "hid\x7fden"])
def test_a_token_with_invalid_characters_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, token: str) -> None:
    """The error does not contain it; a line break at the end is not part of the token."""
    monkeypatch.setenv("EVALKIT_DATABASE_AUTH_TOKEN", token)
    with pytest.raises(InvalidInputError) as refused:
        connect(tmp_path)
    assert refused.value.field == "EVALKIT_DATABASE_AUTH_TOKEN"
    assert "hid" not in str(refused.value) + repr(vars(refused.value))
    monkeypatch.setenv("EVALKIT_DATABASE_AUTH_TOKEN", "shown\n")
    secret = Settings.resolve(tmp_path).auth_token
    assert secret is not None
    assert secret.get_secret_value() == "shown"
