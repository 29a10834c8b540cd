"""Homes without write access: of another user, and on a read-only mount. Everything that only reads works."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from evalkit import connect
from evalkit.eventlog.sqlite_log import SqliteEventLog
from tests.worker import sample, study_with_checkpoints

LOOK = """
import contextlib, io, json, os, sys, warnings
from pathlib import Path
import evalkit
from evalkit.cli.app import app

def cli(home, *args):
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        code = app(["--home", home, *args], standalone_mode=False)
    return [code or 0, out.getvalue(), err.getvalue()]

def attempt(call):
    try:
        return call()
    except Exception as error:
        return f"{type(error).__name__}: {error}"

def look(home, read_only):
    kit = evalkit.connect(home, read_only=read_only)
    status = kit.status()
    study = attempt(lambda: kit.storage.list_studies()[0].id)
    return {
        "studies": attempt(lambda: kit.studies()["name"].to_list()),
        "checkpoints": attempt(lambda: kit.checkpoints()["total_tokens"].to_list()),
        "lifecycle": attempt(lambda: kit.lifecycle().height),
        "models": attempt(lambda: len(kit.storage.get_checkpoints(study))),
        "verify": attempt(lambda: kit.verify().ok),
        "status": [status.events, status.lag, status.checkpoints, status.problems],
        "refused": attempt(lambda: kit.create_study("another")),
        "doctor": cli(home, "doctor"),
        "cli verify": cli(home, "projection", "verify"),
    }

own, home = sys.argv[1:]
warnings.simplefilter("ignore", evalkit.EvalkitWarning)
with evalkit.connect(own) as kit:
    kit.create_study("mine", if_exists="open")
look(own, False)  # imports all modules before the permissions are dropped
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
before = sorted(os.listdir(home))
try:
    Path(home, "plain").write_text("")
    raise SystemExit("the home is writable")
except OSError:
    pass
print(json.dumps({"read_only": look(home, True), "plain": look(home, False), "left": sorted(os.listdir(home)) == before}))
"""


def look(home: Path, own: Path, prefix: tuple[str, ...] = ()) -> dict[str, Any]:
    """Use a home in a process of another user, with and without ``read_only=True``, and return the results."""
    command = [*prefix, sys.executable, "-c", LOOK, str(own), str(home)]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (answer.returncode, answer.stderr) == (0, ""), answer.stderr
    return json.loads(answer.stdout)  # type: ignore[no-any-return]


def allow_writing(home: Path, *, allowed: bool) -> None:
    """Allow only this user to write; when the tests do not run as root, without another user, nobody."""
    file, folder = (0o644, 0o755) if allowed or os.geteuid() == 0 else (0o444, 0o555)
    home.chmod(0o755)
    for path in home.iterdir():
        path.chmod(file)
    home.chmod(folder)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that other users can enter, unlike those of pytest."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)
        for home in Path(name).glob("*/"):
            home.chmod(0o755)


def check(seen: dict[str, Any], tokens: list[int]) -> None:
    """Check that a process without write access read these checkpoints in every way, and created no files."""
    assert seen["left"]
    for answer in (seen["read_only"], seen["plain"]):
        assert answer["studies"] == ["study"]
        assert answer["checkpoints"] == tokens
        assert (answer["lifecycle"], answer["models"]) == (2, len(tokens))
        assert answer["verify"] is True
        assert answer["status"][:3] == [len(tokens) + 2, 0, len(tokens)]
        assert answer["refused"].startswith("ReadOnlyError")
        code, out, _ = answer["doctor"]
        assert (code, "not writable" in out) == (1, True)
        assert answer["cli verify"][0] == 0, answer["cli verify"]
    assert seen["read_only"]["status"][3] == []


WAYS = ["closed", "in use", "copied with its -wal files", "copied with all files"]


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_the_home_of_another_user(folder: Path, tmp_path: Path, way: str) -> None:
    """Modes 755 and 644 are sufficient, whether the files are closed, in use, or copied after a crash."""
    kit = connect(folder / "home")
    study_with_checkpoints(kit, 3)
    home = folder / "home"
    if way.startswith("copied"):
        home = folder / "copy"
        home.mkdir()
        for file in (folder / "home").glob("*.db*"):
            if not file.name.endswith("-shm") or way.endswith("all files"):
                shutil.copy(file, home)
        assert (home / "events.db-wal").stat().st_size > 0
    if way == "closed":
        kit.close()
        assert not (home / "events.db-wal").exists()
    allow_writing(home, allowed=False)
    check(look(home, tmp_path / "own"), [0, 1, 2])
    if way in ("closed", "in use"):
        allow_writing(home, allowed=True)
        kit.record_checkpoint("study", sample(3))
        allow_writing(home, allowed=False)
        check(look(home, tmp_path / "own2"), [0, 1, 2, 3])
    kit.close()


@pytest.mark.slow
@pytest.mark.parametrize("change", ["older", "missing"])
def test_the_home_of_another_user_with_an_older_or_missing_read_model(folder: Path, tmp_path: Path, change: str) -> None:
    """It is read through a temporary one, in Python and by commands, and doctor reports it."""
    with connect(folder / "home") as kit:
        study_with_checkpoints(kit, 3)
    database = folder / "home" / "evalkit.db"
    if change == "missing":
        database.unlink()
    else:
        with closing(sqlite3.connect(database)) as connection, connection:
            connection.execute("UPDATE meta SET fold_version = fold_version - 1")
            connection.execute("UPDATE studies SET name = 'as the older version had it'")
    allow_writing(folder / "home", allowed=False)
    seen = look(folder / "home", tmp_path / "own")
    reason = seen["read_only"]["status"].pop()
    assert len(reason) == 1
    assert ("older version" if change == "older" else "is missing") in reason[0]
    seen["read_only"]["status"].append([])
    check(seen, [0, 1, 2])
    assert "so a temporary one is computed from the log" in seen["plain"]["doctor"][1]


def mounting(source: Path, target: Path) -> tuple[str, ...] | None:
    """Return a command prefix that mounts a folder read-only under another name; None without permission."""
    script = 'mount --bind "$1" "$2" && mount -o remount,ro,bind "$2" && shift 2 && exec "$@"'
    prefix = ("unshare", "-m", "sh", "-c", script, "sh", str(source), str(target))
    permitted = shutil.which("unshare") and subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode == 0
    return prefix if permitted else None


@pytest.mark.slow
@pytest.mark.parametrize("way", ["closed", "in use"])
def test_a_home_on_a_read_only_mount(folder: Path, tmp_path: Path, way: str) -> None:
    """Without permission to mount, it is a home in a folder without write permission."""
    kit = connect(folder / "home")
    study_with_checkpoints(kit, 3)
    if way == "closed":
        kit.close()
    mounted = folder / "mounted"
    mounted.mkdir()
    prefix = mounting(folder / "home", mounted)
    allow_writing(folder / "home", allowed=prefix is not None)
    check(look(folder / "home" if prefix is None else mounted, tmp_path / "own", prefix or ()), [0, 1, 2])
    kit.close()


def test_a_read_without_locks_is_repeated_after_a_concurrent_write(tmp_path: Path) -> None:
    """A reader never sees a part of a change."""
    with connect(tmp_path) as kit:
        study_with_checkpoints(kit, 3)
    log = SqliteEventLog(tmp_path / "events.db", read_only=True)
    assert log.ranges()[0].end == 5
    wrote = []

    def check_and_write(connection: object) -> None:
        if not wrote:
            with connect(tmp_path) as other:
                wrote.append(other.record_checkpoint("study", sample(3)))

    log._check = check_and_write  # type: ignore[method-assign]
    assert log.ranges()[0].end == 6
    assert len(wrote) == 1


@pytest.mark.slow
def test_a_home_without_read_access(folder: Path, tmp_path: Path) -> None:
    """A home with mode 700 raises InvalidInputError when a kit is opened; files with mode 600 raise an error when they are read."""
    with connect(folder / "home") as kit:
        study_with_checkpoints(kit, 1)
    (folder / "home").chmod(0o755 if os.geteuid() == 0 else 0o555)
    script = """
import os, sys, evalkit
evalkit.connect(sys.argv[2]).create_study("mine", if_exists="open")  # imports all modules before the permissions are dropped
if os.geteuid() == 0:
    os.setgroups([]), os.setgid(65534), os.setuid(65534)
for home, more in ((sys.argv[1], {}), ("/nowhere", {"database_url": "file:" + sys.argv[1] + "/evalkit.db"})):
    try:
        evalkit.connect(home, read_only=True, **more).storage.list_studies()
    except evalkit.EvalkitError as error:
        print(type(error).__name__, error)
"""
    for file in (folder / "home").iterdir():
        file.chmod(0o600 if os.geteuid() == 0 else 0)
    command = [sys.executable, "-c", script, str(folder / "home"), str(tmp_path / "own")]
    unreadable = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    (folder / "home").chmod(0o700 if os.geteuid() == 0 else 0)
    closed = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    folder.chmod(0o700 if os.geteuid() == 0 else 0)
    below = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    folder.chmod(0o755)
    assert (unreadable.stderr, closed.stderr, below.stderr) == ("", "", "")
    lines = below.stdout.splitlines()
    assert [line.partition(":")[0].split(" '")[0] for line in lines] == [
        "InvalidInputError Cannot open home", "InvalidInputError Cannot open database_url",
    ]  # fmt: skip
    assert all("permission denied for a parent folder" in line for line in lines)
    assert unreadable.stdout.startswith("DatabaseUnavailableError")
    assert "read access" in unreadable.stdout
    assert closed.stdout.startswith("InvalidInputError Cannot open home")
    assert "read access" in closed.stdout
