"""Benchmarks with an sqld server, and with an Iggy server if there is one."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from itertools import groupby, islice
from pathlib import Path
from statistics import median
from time import perf_counter
from uuid import UUID

import evalkit
from evalkit.domain.events import EncodedEvent
from evalkit.eventlog.event_log import EventLog
from evalkit.runtime.connections import open_log
from tests.bench import baselines, workload
from tests.iggy_server import PASSWORD, USER, Iggy
from tests.servers import Sqld

_ROOT = Path(__file__).parents[2]
_BATCH = 1000
_LATENCY_APPENDS = 15
Round = tuple[float, float | None]


def _checkpoints(count: int) -> tuple[list[EncodedEvent], list[EncodedEvent]]:
    studies = workload.study_messages(workload.STUDIES)
    return studies, list(workload.checkpoint_messages(sorted({message.study_id for message in studies}), count))


def _append(log: EventLog, messages: list[EncodedEvent]) -> None:
    remaining = iter(messages)
    while chunk := list(islice(remaining, 5000)):
        log.append(chunk)


def appending(folder: Path, size: dict[str, int], rounds: int) -> Iterator[dict[str, Round]]:
    """Send the same bytes, in batches of one study, to topics with the same settings on the same server."""
    _, messages = _checkpoints(size["events"])
    messages.sort(key=lambda message: message.study_id)
    batches = []
    for _, of_a_study in groupby(messages, key=lambda message: message.study_id):
        while batch := list(islice(of_a_study, _BATCH)):
            batches.append(batch)
    raw = [(batch[0].study_id, [(UUID(message.event_id).int, message.data) for message in batch]) for batch in batches]
    with Iggy(folder / "iggy") as iggy:
        for _ in range(rounds):
            theirs = baselines.send_to_iggy((f"127.0.0.1:{iggy.port}", USER, PASSWORD), iggy.stream(), raw)
            log = open_log(iggy.url(iggy.stream()))
            log.ranges()
            start = perf_counter()
            for batch in batches:
                log.append(batch)
            yield {"append": (perf_counter() - start, theirs)}
            log.close()


def catching_up_from_iggy(folder: Path, size: dict[str, int], rounds: int) -> Iterator[dict[str, Round]]:
    """Compare a catch-up from Iggy into an empty file with polling the same messages and inserting the finished rows."""
    studies, messages = _checkpoints(size["events"])
    with Iggy(folder / "iggy") as iggy:
        stream = iggy.stream()
        url = iggy.url(stream)
        log = open_log(url)
        _append(log, [*studies, *messages])
        log.close()
        workload.make_home(folder / "full", size["events"])
        ddl, rows = workload.finished_rows(folder / "full")
        for number in range(rounds):
            address = (f"127.0.0.1:{iggy.port}", USER, PASSWORD)
            theirs = baselines.poll_from_iggy(address, stream, size["events"])
            theirs += baselines.insert_rows(folder / f"plain {number}.db", ddl, "checkpoints", rows)
            home = folder / f"home {number}"
            home.mkdir()
            with evalkit.connect(home, log_url=url) as kit:
                start = perf_counter()
                kit.engine.catch_up()
                ours = perf_counter() - start
                assert len(kit.checkpoints()) == size["events"]
            yield {"from iggy": (ours, theirs)}


def catching_up_into_sqld(folder: Path, size: dict[str, int], rounds: int) -> Iterator[dict[str, Round]]:
    """Measure a catch-up from the embedded log into sqld over HTTP, and reading that read model, in the same rounds."""
    home = folder / "home"
    workload.make_home(home, size["remote"])
    ddl, rows = workload.finished_rows(home)
    for number in range(rounds):
        with Sqld(folder / f"plain {number}") as plain:
            theirs = baselines.insert_over_http(plain.url, ddl, rows, 4000)
        with Sqld(folder / f"ours {number}") as sqld:
            with evalkit.connect(home, database_url=sqld.url) as kit:
                start = perf_counter()
                kit.engine.catch_up()
                ours = perf_counter() - start
            fetched = baselines.fetch_over_http(sqld.url, 5000)
            with evalkit.connect(home, database_url=sqld.url) as kit:
                kit.studies()
                start = perf_counter()
                frame = kit.checkpoints()
                read = perf_counter() - start
                assert len(frame) == size["remote"]
        yield {"into sqld": (ours, theirs), "from sqld": (read, fetched)}


def reaching_another(folder: Path, size: dict[str, int], rounds: int) -> Iterator[dict[str, Round]]:
    """Measure the time from an append until the row is visible in another process, with a consumer running: the median."""
    code = "from evalkit.cli.app import main; main()"
    with Iggy(folder / "iggy") as iggy, Sqld(folder / "sqld") as sqld:
        urls = {"log_url": iggy.url(iggy.stream()), "database_url": sqld.url}
        options = ["--home", str(folder / "home"), "--log-url", urls["log_url"], "--database-url", urls["database_url"]]
        with evalkit.connect(folder / "home", **urls) as kit:
            study = kit.start_study(kit.create_study("agent", period="hourly")).id
        consumer = subprocess.Popen([sys.executable, "-c", code, *options, "consume"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        writer = subprocess.Popen(
            [sys.executable, "-c", _WRITER, json.dumps(urls), study, str(rounds * _LATENCY_APPENDS)],
            cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            assert consumer.stdout is not None
            consumer.stdout.readline()
            assert writer.stdin is not None
            assert writer.stdout is not None
            # Read-only, so that only the consumer updates the read model.
            with warnings.catch_warnings(action="ignore"), evalkit.connect(folder / "home", read_only=True, **urls) as kit:
                seen = 0
                for _ in range(rounds):
                    latencies = []
                    for _ in range(_LATENCY_APPENDS):
                        writer.stdin.write("go\n")
                        writer.stdin.flush()
                        appended = float(writer.stdout.readline())
                        seen += 1
                        while len(kit.checkpoints()) < seen:
                            time.sleep(0.005)
                        latencies.append(time.time() - appended)
                        time.sleep(0.3)  # so that the consumer has to wait for events
                    yield {"latency": (median(latencies), None)}
        finally:
            for process in (writer, consumer):
                process.terminate()
                process.communicate(timeout=30)


_WRITER = """
import json, sys, time
import evalkit
from evalkit.domain.events import EncodedEvent
from evalkit.runtime.connections import open_log
from tests.bench import workload
urls, study, count = json.loads(sys.argv[1]), sys.argv[2], int(sys.argv[3])
log = open_log(urls["log_url"])
log.ranges()
for message in workload.checkpoint_messages([study], count):
    sys.stdin.readline()
    at = time.time()
    log.append([message])
    print(at, flush=True)
sys.stdin.readline()
"""
