"""Measure how much faster consumers that share partitions are than one, and how 10,000 studies behave.

``python -m tests.bench.consumers [--checkpoints 30000] [--rounds 5] [--json FILE]`` catches up a new read model in sqld with the 4
partitions of an Iggy topic, in every way of `WAYS` in each round. ``--studies 10000`` measures an embedded home with many studies instead.
Consumers, replays and steps are processes of their own.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from datetime import timedelta
from itertools import islice
from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from statistics import median
from time import perf_counter, thread_time
from typing import Any, NamedTuple, TypeVar

import polars as pl

import evalkit
from evalkit.domain.events import EncodedEvent
from evalkit.eventlog.event_log import EventLog, partition_of
from evalkit.readmodel.consumer import EvalProjectionConsumer
from evalkit.readmodel.database.server_database import _expanded
from evalkit.readmodel.schema import initialize, read_head
from evalkit.runtime.connections import open_database, open_log
from tests.bench import workload
from tests.iggy_server import Iggy
from tests.servers import Sqld

_T = TypeVar("_T")
_ROOT = Path(__file__).parents[2]
_PARTITIONS = 4
_BY_ID = 100
_STUDIES = 40
_TICKS = os.sysconf("SC_CLK_TCK")
HALVES = ([0, 1], [2, 3])
ALL = [0, 1, 2, 3]


class Way(NamedTuple):
    """A way to bring a read model up to date."""

    title: str
    tasks: Sequence[tuple[str, Sequence[int] | None]]
    """The step of each process, and its partitions."""
    servers: int = 1


WAYS = {
    "one": Way("one consumer", [("consume", None)]),
    "today": Way("two consumers, as they are", [("consume", None)] * 2),
    "shared": Way("two consumers, two partitions each", [("consume", half) for half in HALVES]),
    "separate": Way("the same into a sqld each", [("consume", half) for half in HALVES], servers=2),
    "replay": Way("one process sends finished statements", [("replay", ALL)]),
    "replay shared": Way("two processes send them", [("replay", half) for half in HALVES]),
    "replay by four": Way("four processes send them", [("replay", [partition]) for partition in ALL]),
    "replay separate": Way("the same into a sqld each", [("replay", half) for half in HALVES], servers=2),
}


class _Timed:
    """Replaces methods of an object by ones that add up their seconds, and the seconds of CPU of their thread."""

    def __init__(self, target: object, *names: str) -> None:
        self.seconds = self.cpu = 0.0
        self.results = 0
        for name in names:
            setattr(target, name, self._wrapped(getattr(target, name)))

    def _wrapped(self, call: Callable[..., _T]) -> Callable[..., _T]:
        def timed(*args: Any, **options: Any) -> _T:
            start, cpu = perf_counter(), thread_time()
            try:
                result = call(*args, **options)
            finally:
                self.seconds += perf_counter() - start
                self.cpu += thread_time() - cpu
            self.results += len(result) if isinstance(result, list) else 0
            return result

        return timed


def _until(log: EventLog, partitions: Sequence[int] | None) -> list[int] | None:
    """Return the offsets up to which a consumer of some partitions reads.

    The offset 0 makes it skip a partition. A batch compares and sets only the positions of the partitions that it has events of, so two
    consumers of different partitions do not conflict.
    """
    if partitions is None:
        return None
    return [part.end if number in partitions else 0 for number, part in enumerate(log.ranges())]


def consume(options: dict[str, Any], go: Callable[[], None]) -> dict[str, Any]:
    """Bring a read model up to date; report where the time went, and what another process made useless."""
    with closing(open_log(options["log"])) as log, closing(open_database(options["database"])) as database:
        until = _until(log, options["partitions"])
        read_head(database)
        polling, writing = _Timed(log, "_topic"), _Timed(database, "batch")
        reading, sending = _Timed(log, "_poll"), _Timed(database._transport, "send")  # type: ignore[attr-defined]
        consumer = EvalProjectionConsumer(log, database)
        applied: list[int] = []
        go()
        start, cpu = perf_counter(), thread_time()
        consumer.catch_up(until=until, on_batch=applied.append)
        seconds, cpu = perf_counter() - start, thread_time() - cpu
        poll, poll_cpu = polling.seconds + reading.seconds, polling.cpu + reading.cpu
        return {
            "polling": poll,
            "decoding": cpu - poll_cpu,
            "blocked": seconds - cpu - (poll - poll_cpu),
            "writing": writing.seconds,
            "sqld": sending.seconds,
            "batches": len(applied),
            "applied": sum(applied),
            "polled": reading.results,
            "conflicts": consumer.conflicts,
            "busy": getattr(database, "busy_retries", 0),
        }


def replay(options: dict[str, Any], go: Callable[[], None]) -> dict[str, Any]:
    """Send the finished statements of some partitions; nothing is polled, decoded or built."""
    batches = [batch for path in options["statements"] for batch in pickle.loads(Path(path).read_bytes())]
    with closing(open_database(options["database"])) as database:
        read_head(database)
        go()
        start = perf_counter()
        for batch in batches:
            database.batch(batch)
        return {"sqld": perf_counter() - start, "batches": len(batches), "busy": getattr(database, "busy_retries", 0)}


STEPS: dict[str, Callable[[dict[str, Any], Callable[[], None]], dict[str, Any]]] = {"consume": consume, "replay": replay}


def child(step: str, options: dict[str, Any]) -> None:
    """Run a step when the parent says so, and report its start, end and CPU time."""
    began: list[float] = []

    def go() -> None:
        print("ready", flush=True)
        sys.stdin.readline()
        began.extend((perf_counter(), _own_cpu()))

    report = STEPS[step](options, go)
    report |= {"start": began[0], "end": perf_counter(), "cpu": _own_cpu() - began[1]}
    print(json.dumps(report), flush=True)


def _own_cpu() -> float:
    usage = getrusage(RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _cpu_of(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _busy() -> float:
    """Return the seconds in which the cores were not idle, in sum."""
    fields = Path("/proc/stat").read_text().split()[1:9]
    return sum(int(fields[index]) for index in (0, 1, 2, 5, 6, 7)) / _TICKS


def _messages(checkpoints: int) -> list[EncodedEvent]:
    """Return the events of 40 studies, 10 in each partition, whose checkpoints alternate."""
    left = dict.fromkeys(range(_PARTITIONS), _STUDIES // _PARTITIONS)
    chosen: list[EncodedEvent] = []
    while any(left.values()):
        created, started = workload.study_messages(1)
        partition = partition_of(created.study_id, _PARTITIONS)
        if left[partition]:
            left[partition] -= 1
            chosen += [created, started]
    study_ids = [message.study_id for message in chosen[::2]]
    return [*chosen, *workload.checkpoint_messages(study_ids, checkpoints)]


def _record(log_url: str, checkpoints: int) -> int:
    messages = _messages(checkpoints)
    remaining = iter(messages)
    with closing(open_log(log_url)) as log:
        while chunk := list(islice(remaining, 5000)):
            log.append(chunk)
    return len(messages)


def _make_statements(log_url: str, folder: Path) -> list[str]:
    """Write the batches that a consumer of one partition sends into a file for each partition; return the files."""
    paths = []
    for partition in ALL:
        batches: list[Any] = []
        file = folder / f"statements {partition}"
        with closing(open_log(log_url)) as log, closing(open_database(f"file:{file}.db")) as database:
            initialize(database, _PARTITIONS)
            write = database.batch

            def keep(statements: Any, write: Callable[..., Any] = write, batches: list[Any] = batches, **options: Any) -> Any:
                if str(statements[0][0]).lstrip().startswith("UPDATE meta"):
                    batches.append([part for statement in statements for part in _expanded(statement)])
                return write(statements, **options)

            database.batch = keep  # type: ignore[method-assign]
            EvalProjectionConsumer(log, database, group=None).catch_up(until=_until(log, [partition]))
        file.write_bytes(pickle.dumps(batches))
        paths.append(str(file))
    return paths


def _run(way: Way, folder: Path, iggy: Iggy, log_url: str, statements: list[str], events: int, *, verify: bool) -> dict[str, Any]:
    """Bring a new read model up to date in one way, and return the sums over its processes."""
    with ExitStack() as stack:
        servers = [stack.enter_context(Sqld(folder / f"sqld {number}")) for number in range(way.servers)]
        for server in servers:
            with closing(open_database(server.url)) as database:
                initialize(database, _PARTITIONS)
        processes = []
        for number, (step, partitions) in enumerate(way.tasks):
            options = {
                "log": log_url, "database": servers[number % way.servers].url, "partitions": partitions,
                "statements": [statements[partition] for partition in partitions or ()],
            }  # fmt: skip
            code = f"from tests.bench import consumers; consumers.child({step!r}, {options!r})"
            process = subprocess.Popen([sys.executable, "-c", code], cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            processes.append(stack.enter_context(process))
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        before = [_cpu_of(server.pid) for server in servers], _cpu_of(iggy.pid)
        busy = _busy()
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        reports = []
        for process in processes:
            assert process.stdout is not None
            reports.append(json.loads(process.stdout.readline()))
        cpu_of_sqld = sum(_cpu_of(server.pid) - cpu for server, cpu in zip(servers, before[0], strict=True))
        busy = _busy() - busy
        seconds = max(report["end"] for report in reports) - min(report["start"] for report in reports)
        result: dict[str, Any] = {"seconds": seconds, "rate": events / seconds}
        result |= {"cpu of sqld": cpu_of_sqld, "cpu of iggy": _cpu_of(iggy.pid) - before[1]}
        for name in reports[0]:
            if name not in ("start", "end"):
                result[name] = sum(report[name] for report in reports)
        ours = result["cpu"] + result["cpu of sqld"] + result["cpu of iggy"]
        result |= {"cores": ours / seconds, "cores of others": (busy - ours) / seconds}
        if way.servers == 1:
            assert _rows(servers[0]) == events - 2 * _STUDIES, way.title
            if verify:
                with evalkit.connect(folder / "home", log_url=log_url, database_url=servers[0].url) as kit:
                    assert kit.verify().ok, way.title
        return result


def _rows(server: Sqld) -> int:
    with closing(open_database(server.url)) as database:
        return int(str(database.execute("SELECT count(*) FROM checkpoints")[0][0]))


def _consumers(folder: Path, checkpoints: int, rounds: int, ways: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield the results of every way in each round."""
    with Iggy(folder / "iggy") as iggy:
        log_url = iggy.url(iggy.stream(partitions=_PARTITIONS), partitions=_PARTITIONS)
        events = _record(log_url, checkpoints)
        statements = _make_statements(log_url, folder)
        for number in range(rounds):
            with tempfile.TemporaryDirectory(dir=folder) as of_round:
                yield {
                    name: _run(WAYS[name], Path(of_round) / name, iggy, log_url, statements, events, verify=number == 0) for name in ways
                }


def _spread(values: Sequence[float], digits: int = 2) -> str:
    return f"{median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def _show(results: list[dict[str, Any]]) -> None:
    """Print the table of all rounds: medians, with the lowest and the highest."""
    for name in results[0]:
        of_way = [result[name] for result in results]
        print(f"{name}: {WAYS[name].title}: events a second {_spread([one['rate'] for one in of_way], 0)}")
        for other in ("one", "replay"):
            if other in results[0] and other != name:
                print(
                    f"  times as fast as {other!r}: {_spread([result[other]['seconds'] / result[name]['seconds'] for result in results])}"
                )
        for key in of_way[0]:
            if key != "rate":
                print(f"  {key:15} {_spread([one[key] for one in of_way])}")


# ----- many studies


def _create(home: Path, count: int) -> dict[str, float]:
    with evalkit.connect(home) as kit:
        start = perf_counter()
        for number in range(count):
            kit.create_study(f"agent {number}", period="hourly")
        return {"create": perf_counter() - start}


def _fill(home: Path, count: int) -> dict[str, float]:
    """Start the studies, the last 100 of them by their ids, and record 3 checkpoints in each."""
    rows = workload.frame_to_record(3)
    with evalkit.connect(home) as kit:
        studies = kit.storage.list_studies()
        begin = perf_counter()
        for study in studies[:-_BY_ID]:
            kit.start_study(study)
        started = perf_counter()
        for study in studies[-_BY_ID:]:
            kit.start_study(study.id)
        by_id = perf_counter()
        for number, study in enumerate(studies):
            kit.record_checkpoints(study, rows.with_columns(pl.col("period_start", "period_end") + timedelta(hours=number % 24)))
        return {"start": started - begin, f"start {_BY_ID} by id": by_id - started, "record": perf_counter() - by_id}


def _open(home: Path, count: int) -> dict[str, float]:
    begin = perf_counter()
    with evalkit.connect(home) as kit:
        kit.status()
        return {"open": perf_counter() - begin}


def _read_studies(home: Path, count: int) -> dict[str, float]:
    return _timed(home, lambda kit: {"studies": kit.studies, "studies again": kit.studies})


def _read_one(home: Path, count: int) -> dict[str, float]:
    return _timed(home, lambda kit: {f"one study{again}": lambda: kit.checkpoints(f"agent {count // 2}") for again in ("", " again")})


def _read_all(home: Path, count: int) -> dict[str, float]:
    return _timed(home, lambda kit: {"all checkpoints": kit.checkpoints, "all again": kit.checkpoints})


def _catch_up(home: Path, count: int) -> dict[str, float]:
    with evalkit.connect(home, database_url=f"file:{home / 'fresh.db'}") as kit:
        start = perf_counter()
        kit.engine.catch_up()
        return {"catch up": perf_counter() - start}


def _rebuild(home: Path, count: int) -> dict[str, float]:
    return _timed(home, lambda kit: {"rebuild": lambda: kit.rebuild(on_progress=lambda done, total: None)})


def _verify(home: Path, count: int) -> dict[str, float]:
    return _timed(home, lambda kit: {"verify": kit.verify})


def _timed(home: Path, works: Callable[[evalkit.EvalKit], dict[str, Callable[[], Any]]]) -> dict[str, float]:
    seconds = {}
    with evalkit.connect(home) as kit:
        kit.status()
        for name, work in works(kit).items():
            start = perf_counter()
            work()
            seconds[name] = perf_counter() - start
    return seconds


MANY: dict[str, Callable[[Path, int], dict[str, float]]] = {
    step.__name__: step for step in (_create, _fill, _open, _read_studies, _read_one, _read_all, _catch_up, _rebuild, _verify)
}


def _many_studies(folder: Path, count: int) -> dict[str, tuple[float, int]]:
    """Return the seconds of each step, and the peak memory of its process in MB."""
    results: dict[str, tuple[float, int]] = {}
    for step in MANY:
        call = f"consumers.MANY[{step!r}](Path({str(folder / 'home')!r}), {count})"
        seconds, memory = workload.in_new_process(f"from tests.bench import consumers; result = {call}")
        for name, value in seconds.items():
            results[name] = value, memory
    return results


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.consumers", description=__doc__)
    parser.add_argument("--checkpoints", type=int, default=30_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--ways", nargs="+", default=[*WAYS], choices=[*WAYS], metavar="WAY", help=f"of {', '.join(WAYS)}")
    parser.add_argument("--studies", type=int, default=0, metavar="N", help="measure an embedded home with N studies instead")
    parser.add_argument("--folder", type=Path, help="where to make the data; by default a temporary folder")
    parser.add_argument("--json", type=Path, default=Path("consumers-results.json"), metavar="FILE", help="output file")
    options = parser.parse_args()
    print(f"load average before: {os.getloadavg()[0]:.2f}")
    rounds: list[dict[str, Any]] = []
    for number in range(options.rounds if options.studies else 1):
        with tempfile.TemporaryDirectory(prefix="evalkit-consumers-", dir=options.folder) as folder:
            if options.studies:
                rounds.append(_many_studies(Path(folder), options.studies))
                print(f"round {number + 1} of {options.rounds}", flush=True)
            else:
                for result in _consumers(Path(folder), options.checkpoints, options.rounds, options.ways):
                    rounds.append(result)
                    shown = ", ".join(f"{name} {of_way['rate']:,.0f}" for name, of_way in result.items())
                    print(f"events a second: {shown}", flush=True)
                    options.json.write_text(json.dumps(rounds, indent=1) + "\n")
    options.json.write_text(json.dumps(rounds, indent=1) + "\n")
    if options.studies:
        for name in rounds[0]:
            memory = [result[name][1] for result in rounds]
            print(f"{name:16} {_spread([result[name][0] for result in rounds], 3)} s, at most {max(memory)} MB")
    else:
        _show(rounds)


if __name__ == "__main__":
    main()
