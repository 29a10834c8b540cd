"""Errors for refused values, and for unknown names with similar valid names."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from datetime import date

from evalkit._util.text import alternatives
from evalkit.errors import InvalidInputError

__all__ = ["ALIASES", "SHORTEST_SIMILAR", "a_type", "close_names", "invalid", "is_missing", "nearest", "shown", "unknown_name"]

_LIKE_WORDS = frozenset(("by", "fit", "of", "sort", "align", "steps", "legend"))
"""Parameters that messages show as ``by='x'``, because their names are common words."""
_SPELLED_WITH_VOWEL = "FHLMNRSX"
"""Consonants whose names begin with a vowel, for the article of an abbreviation: an HConcatChart."""
_SUGGESTED = 3
SHORTEST_SIMILAR = 5
"""The length of the shortest alias that a name can resemble; shorter ones resemble unrelated names: rate, date."""
_GENERIC_WORDS = frozenset(("avg", "average", "mean", "total", "sum", "rate", "ratio", "number", "num", "count", "per", "completed", "the"))

ALIASES: dict[str, tuple[str, ...]] = {
    alias: names
    for names, aliases in {
        ("session_success_rate",): "success success_rate accuracy acc pass_rate win_rate score session_success",
        ("first_attempt_success_rate",): "first_attempt first_try first_attempt_rate pass@1 pass_at_1",
        ("tool_success_rate",): "tool_success tool_accuracy tool_call_success_rate",
        ("self_correction_rate",): "self_correction correction_rate",
        ("agent_efficiency",): "efficiency",
        ("avg_session_duration",): "duration duration_s duration_seconds avg_duration session_duration latency runtime elapsed",
        ("avg_iterations_to_success",): "iterations n_iterations avg_iterations attempts n_attempts avg_attempts steps n_steps turns",
        ("sessions_completed",): "sessions n_sessions num_sessions session_count runs n_runs episodes n count",
        ("tasks_completed",): "tasks n_tasks num_tasks task_count",
        ("swarm_coordination_overhead",): "overhead coordination_overhead",
        ("parallelism_efficiency",): "parallelism speedup",
        ("learnings_applied",): "learnings n_learnings",
        ("total_tokens",): "tokens n_tokens num_tokens token_count tokens_used tokens_total",
        ("total_cost",): "cost costs cost_usd total_cost_usd usd dollars price spend",
        ("cost_per_successful_task",): "cost_per_task cost_per_success",
        ("period_start",): "start begin period_begin from start_date start_time start_at started_at",
        ("period_end",): "end until to end_date end_time end_at ended_at",
        ("period_start", "period_end"): "date day week month",
        ("timestamp",): "time ts datetime",
        ("events_analyzed",): "events n_events",
        ("sessions_included",): "session_ids session_names",
        ("key",): "idempotency_key",
    }.items()
    for alias in aliases.split()
}
"""Common other names of metrics and columns, for which error messages suggest the names of evalkit."""


def invalid(field: str, value: object, problem: str, allowed: str = "", hint: str = "") -> InvalidInputError:
    """Return the error for an invalid value: ``Invalid period 'dayly': expected …``.

    A parameter whose name has one or two characters, or is a common word, is shown as ``by='x'``.
    """
    subject = f"{field}={shown(value)}" if len(field) <= 2 or field in _LIKE_WORDS else f"{field} {shown(value)}"
    return InvalidInputError(f"Invalid {subject}: {problem}", allowed=allowed, hint=hint, field=field, value=value)


def shown(value: object) -> str:
    """Return a value as text for messages: its `repr` of at most 80 characters, or its type.

    Examples
    --------
    >>> shown("dayly"), shown("x" * 100)[-5:]
    ("'dayly'", 'xx...')
    """
    if isinstance(value, date) and not is_missing(value):
        return value.isoformat()
    try:
        text = repr(value)
    except Exception:  # repr() raises for an int of more than 4,300 digits
        return a_type(value)
    if "\n" in text:  # such as a frame, of which 80 characters would not help
        text = f"({', '.join(type(part).__name__ for part in value)})" if isinstance(value, tuple) else a_type(value)
    return text if len(text) <= 80 else text[:77] + "..."


def a_type(value: object) -> str:
    """Return the type of a value with its article: ``"an EvalKit"``, ``"a tuple"``."""
    if value is None:
        return "None"
    name = type(value).__name__
    spelled = name[:2].isupper() and name[0] in _SPELLED_WITH_VOWEL
    return f"{'an' if spelled or name[0] in 'AEIOaeio' else 'a'} {name}"


def close_names(name: object, valid: Iterable[str]) -> list[str]:
    """Return up to three valid names close to a name.

    These are, in this order: the same name in another case, the names for which it is an alias, names with a similar spelling, and names
    with a common word.

    Examples
    --------
    >>> from evalkit import METRICS
    >>> close_names("accuracy", METRICS), close_names("Total Cost", METRICS), close_names("sucess_rate", METRICS)
    (['session_success_rate'], ['total_cost'], ['session_success_rate'])
    >>> close_names("zzz", METRICS)
    []
    """
    if not isinstance(name, str):
        return []
    key, names = _lookup_key(name), {_lookup_key(known): known for known in valid}
    if key in names:
        return [names[key]]
    aliases = {alias: meant for alias, meant in ALIASES.items() if all(names.get(target) == target for target in meant)}
    if key in ALIASES:  # unambiguous, even if its names are not valid here
        return list(aliases.get(key, ()))
    targets = {alias: meant for alias, meant in aliases.items() if len(alias) >= SHORTEST_SIMILAR}
    targets |= {known_key: (known,) for known_key, known in names.items()}
    similar = {near: difflib.SequenceMatcher(None, near, key).ratio() for near in difflib.get_close_matches(key, targets, n=_SUGGESTED)}
    best = max(similar.values(), default=0.0)
    close = [known for near, ratio in similar.items() if ratio > best - 0.1 for known in targets[near]]
    return list(dict.fromkeys(close or _with_common_word(key, names)))[:_SUGGESTED]


def _lookup_key(name: str) -> str:
    return name.strip().lower().replace("-", "_").replace(" ", "_")


def _with_common_word(key: str, names: Mapping[str, str]) -> list[str]:
    """Return the names that share words with `key`, best match first."""
    terms = set(key.split("_")) - _GENERIC_WORDS
    common = {known: sum(bool(difflib.get_close_matches(term, part.split("_"), 1, 0.8)) for term in terms) for part, known in names.items()}
    return sorted((known for known, count in common.items() if count), key=lambda known: -common[known])


def nearest(name: object, valid: Iterable[str]) -> str:
    """Return ``" Did you mean 'a'?"`` with the close names, or ``""`` without any."""
    close = close_names(name, valid)
    return f" Did you mean {alternatives([repr(known) for known in close])}?" if close else ""


def unknown_name(kind: str, name: object, valid: Sequence[str], *, field: str, listed: str = "") -> InvalidInputError:
    """Return the error for an unknown name.

    It suggests the valid names close to it, or lists all valid names if none is close.

    Parameters
    ----------
    kind
        The kind of name, such as ``"metric"``.
    name
        The name.
    valid
        The valid names.
    field
        The name of the parameter, key or column.
    listed
        The valid names as text; by default joined with commas.
    """
    hint = nearest(name, valid).strip() or f"Valid {kind}s: {listed or ', '.join(valid)}."
    return InvalidInputError(f"Unknown {kind} {shown(name)}", hint=hint, field=field, value=name)


def is_missing(value: object) -> bool:
    """Return whether a value means "not measured": None, or NaT or NA of pandas.

    NaN is not missing: the check of the metric decides whether it is valid.
    """
    kind = type(value).__name__
    return value is None or kind in ("NaTType", "NAType") or (kind in ("timedelta64", "datetime64") and str(value) == "NaT")
