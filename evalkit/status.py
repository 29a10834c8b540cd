"""What a kit says of itself."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from evalkit.errors import EvalkitError
from evalkit.projection.schema import Head, read_head
from evalkit.settings import network_file_system, redacted

if TYPE_CHECKING:
    from evalkit.engine import Engine

__all__ = ["Status", "read_status"]


@dataclass(frozen=True)
class Status:
    """Where things are, how far they are, and what is wrong. Numbers are None where they cannot be learnt now."""

    home: str
    log_url: str
    database_url: str
    events: int | None
    """In the log, over all partitions."""
    lag: int | None
    """Events in the log that the read model does not hold yet."""
    studies: int | None
    checkpoints: int | None
    rejected: int | None
    quarantined: int | None
    generation: int | None
    """Of the read model; each rebuild adds 1."""
    schema_version: int | None
    fold_version: int | None
    problems: tuple[str, ...]
    """What is wrong, in words, with what to do; empty when nothing is."""

    def __repr__(self) -> str:
        width = max(len(field.name) for field in fields(self))
        lines = [f"{field.name:<{width}}  {_shown(getattr(self, field.name))}" for field in fields(self) if field.name != "problems"]
        return "\n".join([*lines, *(f"{'problem':<{width}}  {problem}" for problem in self.problems)])


def _shown(value: object) -> str:
    return "unknown" if value is None else str(value)


def read_status(engine: Engine) -> Status:
    """Ask the engines. Raises nothing: what cannot be learnt stands under `problems`."""
    problems = [] if engine.not_writable is None else [f"{engine.not_writable}: reading only. {engine.age()}"]
    events = lag = None
    head: Head | None = None
    counts: tuple[int | None, ...] = (None,) * 4
    if engine.exists:
        if engine.not_writable is None:
            try:
                engine.catch_up()
            except EvalkitError as error:
                problems.append(str(error))
        try:
            head = read_head(engine.database)
            counts = _counts(engine) if head is not None else counts
        except EvalkitError as error:
            problems.append(str(error))
        try:
            events = sum(part.end - part.first for part in engine.log.ranges())
            lag = None if head is None else sum(part.end for part in engine.log.ranges()) - sum(at.next for at in head.positions)
        except EvalkitError as error:
            problems.append(str(error))
    else:
        problems.append(f"There is no home yet; looked in {', '.join(map(str, engine.settings.looked_in))}")
    kind = network_file_system(engine.settings.home)
    if engine.embedded and kind is not None:
        problems.append(f"The home is on a network file system ({kind}), where WAL is not safe: use a local folder, or shared engines")
    return Status(
        home=str(engine.settings.home),
        log_url=redacted(engine.settings.log_url),
        database_url=redacted(engine.settings.database_url),
        events=events,
        lag=lag,
        studies=counts[0],
        checkpoints=counts[1],
        rejected=counts[2],
        quarantined=counts[3],
        generation=None if head is None else head.generation,
        schema_version=None if head is None else head.schema_version,
        fold_version=None if head is None else head.fold_version,
        problems=tuple(dict.fromkeys(problems)),
    )


def _counts(engine: Engine) -> tuple[int, ...]:
    tables = ("studies", "checkpoints", "rejected", "quarantined")
    row = engine.database.execute(f"SELECT {', '.join(f'(SELECT count(*) FROM {table})' for table in tables)}")[0]
    return tuple(int(str(value)) for value in row)
