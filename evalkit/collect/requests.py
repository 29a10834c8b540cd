"""What a user can request: collect a source, or record a frame of sessions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from evalkit._util.text import exact_duration
from evalkit.collect.collected import Collected
from evalkit.collect.collector import Collector, NewStudy
from evalkit.collect.due import DEFAULT_GRACE, parse_grace
from evalkit.collect.evidence import Evidence
from evalkit.collect.labels import read_labels
from evalkit.collect.planner import Settings
from evalkit.collect.prices import read_prices
from evalkit.collect.records import mapped
from evalkit.collect.saved_source import Places, SavedSource, grace_text, read_places, write_places
from evalkit.collect.session_frame import checked_sessions
from evalkit.collect.source import Problems, checked_options
from evalkit.collect.sources import check_location, has_default, parse_location, portable
from evalkit.collect.target_study import TargetStudy, existing_study
from evalkit.domain import validation as checks
from evalkit.domain.refusals import invalid
from evalkit.domain.study import SOURCE, Study
from evalkit.domain.time_input import check_zone, zone_name
from evalkit.errors import InvalidInputError

if TYPE_CHECKING:
    from evalkit.domain.study_references import StudyRef
    from evalkit.kit import EvalKit

__all__ = ["collect", "is_here", "record_sessions", "saved_source"]


def collect(
    kit: EvalKit,
    study: StudyRef,
    location: str | None,
    *,
    since: Any,
    period: Any,
    zone: Any,
    source_name: str | None,
    grace: Any,
    labels: Any,
    prices: Any,
    allow_empty: bool,
    amend_late: bool,
    strict: bool,
    dry_run: bool,
    save: bool,
    progress: bool,
    options: Mapping[str, Any],
) -> Collected:
    """See `EvalKit.collect`."""
    found = existing_study(kit, study)
    saved, places = (None, None) if found is None else (saved_source(found), read_places(kit.engine.settings.home, found.id))
    if found is None and location is None and since is None:
        kit.resolve(study)  # raises
    if places is not None:
        _check_places(study, places, location=location, labels=labels, prices=prices)
    reference = parse_location(location if location is not None else _saved_location(study, saved, places))
    source = reference.source.name
    kept = saved if saved is not None and saved.source == source else SavedSource(source, source)
    used = {**kept.options, **{name: value for name, value in options.items() if value is not None}}
    zone = check_zone("zone", zone if zone is not None else kept.zone or "UTC")
    wait = parse_grace(grace if grace is not None else kept.grace or DEFAULT_GRACE)
    if kept is saved and places is not None:
        labels, prices = labels if labels is not None else places.labels, prices if prices is not None else places.prices
    settings = Settings(
        name=_source_name(source_name if source_name is not None else kept.name), collector=source, zone=zone, grace=wait,
        allow_empty=allow_empty, amend_late=amend_late, dry_run=dry_run, labels=_read(read_labels, labels),
        prices=_read(read_prices, prices),
    )  # fmt: skip
    check_location(reference)
    checked_options(reference.source, used)
    if wait < reference.shortest_grace:
        least = exact_duration(reference.shortest_grace)
        raise invalid("grace", grace, f"a session of {source} is over when nothing happened for {least}", f"expected at least {least}")
    target = TargetStudy(kit=kit, study=study, since=since, period=period, zone=zone, dry_run=dry_run)
    target.check()
    keep = None
    if save and not dry_run:
        text = _to_save(settings, used).text()
        keep = text, Places(reference.text, _saved_path("labels", labels), _saved_path("prices", prices))

    def find_study(sessions: pl.DataFrame) -> Study | NewStudy:
        found = target.find(sessions)
        if keep is None or not isinstance(found, Study):
            return found
        write_places(kit.engine.settings.home, found.id, keep[1])
        return kit.edit_study(found, metadata={SOURCE: keep[0]})

    collected = _collector(kit).collect(find_study, reference, used, settings, strict=strict, progress=progress)
    remark = target.remark_on_since(found)
    return collected if remark is None else replace(collected, notes=(remark, *collected.notes))


def record_sessions(
    kit: EvalKit,
    study: StudyRef,
    sessions: Any,
    *,
    map: Any,  # noqa: A002  (the name of the option of the source for tables)
    since: Any,
    period: Any,
    zone: Any,
    source_name: str,
    labels: Any,
    prices: Any,
    amend_late: bool,
    dry_run: bool,
) -> Collected:
    """See `EvalKit.record_sessions`."""
    problems = Problems()
    frame = checked_sessions(sessions if map is None else mapped(sessions, map, problems))
    if frame.height and frame["ended_at"].null_count() == frame.height:
        problem = "No session has an ended_at, which says to which period it belongs"
        raise InvalidInputError(problem, hint="Add the column, or rename one to it.", field="sessions", value=None)
    tz, name = check_zone("zone", "UTC" if zone is None else zone), _source_name(source_name)
    settings = Settings(
        name=name, collector=name, zone=tz, grace=parse_grace("0"), amend_late=amend_late, dry_run=dry_run, only_with_sessions=True,
        labels=_read(read_labels, labels), prices=_read(read_prices, prices),
    )  # fmt: skip
    target = TargetStudy(kit=kit, study=study, since=since, period=period, zone=tz, dry_run=dry_run)
    target.check()
    return _collector(kit).record(target.find, frame, settings, problems)


def _collector(kit: EvalKit) -> Collector:
    return Collector(kit._handlers, home=kit.engine.settings.home, evidence=Evidence(kit.engine.settings.evidence))


def _read(read: Callable[[Any], Any], value: Any) -> Any:
    return None if value is None else read(value)


def _source_name(name: object) -> str:
    return checks.check_text("source_name", name, low=1, high=100)


# --- saved sources --------------------------------------------------------------------------------------------------------------------


def _to_save(settings: Settings, options: Mapping[str, Any]) -> SavedSource:
    """Return the source that a study keeps, without what is the default."""
    zone = None if settings.zone is UTC else _zone_to_save(settings.zone)
    grace = None if settings.grace == DEFAULT_GRACE else grace_text(settings.grace)
    return SavedSource(settings.collector, settings.name, zone, grace, options)


def _zone_to_save(zone: tzinfo) -> str:
    try:
        check_zone("zone", zone_name(zone))
    except InvalidInputError:
        raise invalid("zone", zone, "only a named time zone can be saved", "expected e.g. 'Europe/Berlin'") from None
    return zone_name(zone)


def _saved_location(study: StudyRef, saved: SavedSource | None, places: Places | None) -> str:
    """Return the location of the source that a study keeps.

    Raises
    ------
    InvalidInputError
        If the study keeps no source, or this machine does not know where its logs are.
    """
    name = study.name if isinstance(study, Study) else study
    if saved is None:
        raise InvalidInputError(
            f"No location, and no source is saved in study {name!r}", hint="Pass it, e.g. 'inspect:./logs', and save=True to keep it.",
            shell_hint="Pass --from LOCATION, e.g. --from inspect:./logs, and --save to keep it.", field="location", value=None,
        )  # fmt: skip
    if places is not None:
        return places.location
    if has_default(saved.source):
        return f"{saved.source}:"
    raise InvalidInputError(
        f"Study {name!r} keeps a source of {saved.source} logs, but not where they are on this machine",
        hint="Pass the location, and save=True to keep it.", shell_hint="Pass --from LOCATION, and --save to keep it.", field="location",
        value=None,
    )  # fmt: skip


def _check_places(study: StudyRef, places: Places, **passed: Any) -> None:
    """Check that the places that a study keeps exist, except those that the user replaces.

    Raises
    ------
    InvalidInputError
        If one does not exist.
    """
    unused = [name for name, value in passed.items() if value is not None]
    message = places.problem(study.name if isinstance(study, Study) else str(study), unused=unused)
    if message is not None:
        raise InvalidInputError(message.problem, hint=message.hint, shell_hint=message.shell_hint, field="location", value=places.location)


def saved_source(study: Study) -> SavedSource | None:
    """Return the source that a study keeps in its metadata; None without one.

    Raises
    ------
    InvalidInputError
        If the metadata is not a valid source.
    """
    text = study.config.metadata.get(SOURCE)
    return None if text is None else SavedSource.parse(text)


def is_here(kit: EvalKit, study: Study) -> bool:
    """Return whether this machine knows where the logs of a study with a saved source are.

    True also if the metadata is damaged.
    """
    try:
        saved = saved_source(study)
    except InvalidInputError:
        return True  # so that the error is shown
    if saved is None or read_places(kit.engine.settings.home, study.id) is not None:
        return saved is not None
    return has_default(saved.source)


def _saved_path(name: str, value: Any) -> str | None:
    """Return the path of a file for the metadata, valid in any working directory."""
    if value is None:
        return None
    if not isinstance(value, str | Path):
        raise invalid(name, value, "only a file can be saved", hint=f"Write the {name} to a file, or collect without save=True.")
    return portable(Path(value))
