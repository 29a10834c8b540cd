"""Labels: outcomes of sessions whose logs do not say whether they succeeded."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import polars as pl

from evalkit.collect.session_frame import OUTCOMES, as_polars, outcomes_of
from evalkit.collect.source import Problems
from evalkit.collect.table_files import read_table
from evalkit.domain.refusals import a_type, invalid
from evalkit.errors import InvalidInputError

__all__ = ["LabelFunction", "read_labels", "with_labels"]

LabelFunction = Callable[[Mapping[str, Any]], str | bool | None]
"""A function of a session, as a mapping of its columns, that returns its outcome; None if it is unknown."""
_SCHEMA = {"session_id": pl.String(), "outcome": pl.Enum(OUTCOMES)}
_PART = r"#\d+$"
"""The end of the id of a part of a session that was resumed later."""


def read_labels(labels: Any) -> pl.DataFrame | LabelFunction:
    """Return labels as a DataFrame with ``session_id`` and ``outcome``.

    Parameters
    ----------
    labels
        A csv, tsv, parquet, ndjson, jsonl or json file with the columns ``session_id`` and ``outcome``, a DataFrame with them, or a mapping
        of session ids to outcomes. Outcomes are ``success``, ``failure``, ``invalid``, booleans, 0 and 1, or words such as ``passed``; an
        empty one is not a label. A function is returned as it is.

    Raises
    ------
    InvalidInputError
        If the labels cannot be read, or a session has two different ones.

    Examples
    --------
    >>> read_labels({"a": True, "b": "failed", "c": None}).rows()
    [('a', 'success'), ('b', 'failure')]
    """
    if isinstance(labels, str | os.PathLike):
        return _from_file(Path(labels).expanduser())
    if isinstance(labels, Mapping):
        return _checked(pl.DataFrame([_ids(list(labels)), pl.Series("outcome", _plain(list(labels.values())), strict=False)]))
    if isinstance(labels, pl.DataFrame) or (hasattr(labels, "columns") and not isinstance(labels, type)):
        return _checked(as_polars(labels, "labels"))
    if callable(labels):
        return cast("LabelFunction", labels)
    raise invalid("labels", labels, f"expected a file, a mapping, a DataFrame or a function, got {a_type(labels)}")


def _from_file(path: Path) -> pl.DataFrame:
    try:
        table = read_table(path)
    except InvalidInputError as error:
        raise error.but(where=f"{path}, {error.message.where}" if error.message.where else f"{path}: ") from None
    except OSError as error:
        reason = (error.strerror or "cannot be read").lower()
        raise InvalidInputError(f"Cannot read labels from {str(path)!r}: {reason}", field="labels", value=str(path)) from None
    try:
        return _checked(table.frame)
    except InvalidInputError as error:
        raise error.but(where=f"{path}: " if error.row is None else f"{path}, {table.place(error.row)}: ") from None


def _ids(ids: list[Any]) -> pl.Series:
    for session_id in ids:
        if not isinstance(session_id, str):
            raise invalid("labels", session_id, f"expected the id of a session as text, got {a_type(session_id)}")
    return pl.Series("session_id", ids, dtype=pl.String)


def _plain(outcomes: list[Any]) -> list[Any]:
    """Return outcomes of one type, for a column."""
    if {type(outcome) for outcome in outcomes} - {type(None)} <= {str}:
        return outcomes
    return [_word(outcome) for outcome in outcomes]


def _word(outcome: object) -> str | None:
    """Return an outcome as text."""
    if outcome is None or isinstance(outcome, str):
        return outcome
    if isinstance(outcome, float | int) and outcome in (0, 1):
        return "success" if outcome else "failure"
    raise invalid("outcome", outcome, "expected success, failure, invalid, unknown, a boolean or None")


def _checked(frame: pl.DataFrame) -> pl.DataFrame:
    for name in _SCHEMA:
        if name not in frame.columns:
            listed = ", ".join(map(repr, frame.columns[:20]))
            raise InvalidInputError(
                f"Column {name!r} is missing in the labels; the columns are {listed}",
                hint="Labels have the columns session_id and outcome.", field="labels", value=frame.columns,
            )  # fmt: skip
    ids = frame["session_id"]
    if ids.dtype != pl.String:
        if not ids.dtype.is_integer() and ids.dtype != pl.Null and not isinstance(ids.dtype, pl.Categorical | pl.Enum):
            raise invalid("session_id", ids.drop_nulls().head(1).to_list(), f"expected text, got {ids.dtype}")
        ids = ids.cast(pl.String)
    outcomes = frame["outcome"]
    if outcomes.dtype == pl.Null:
        outcomes = outcomes.cast(pl.String)
    if outcomes.dtype == pl.String:  # how pandas writes booleans beside missing values
        outcomes = outcomes.replace({"1.0": "1", "0.0": "0"})
    elif outcomes.dtype.is_float():
        outcomes = outcomes.fill_nan(None)
    checked = pl.DataFrame([ids.alias("session_id"), outcomes_of(outcomes).alias("outcome")])
    missing = (checked["session_id"].is_null() | (checked["session_id"] == "")).arg_true()
    if len(missing):
        raise invalid("session_id", None, "expected the id of a session").in_row(int(missing[0]))
    labels = checked.with_row_index("row").filter(pl.col("outcome") != "unknown")
    first = labels.unique("session_id", keep="first", maintain_order=True)
    conflicts = labels.join(first, on="session_id", suffix="_first").filter(pl.col("outcome") != pl.col("outcome_first")).sort("row")
    if conflicts.height:
        conflict = conflicts.row(0, named=True)
        raise invalid(
            "session_id", conflict["session_id"], f"it has the label {conflict['outcome']!r} here and {conflict['outcome_first']!r} before",
            hint="Keep one label for each session.",
        ).in_row(conflict["row"])  # fmt: skip
    return first.drop("row")


def with_labels(sessions: pl.DataFrame, labels: pl.DataFrame | LabelFunction, problems: Problems) -> pl.DataFrame:
    """Return sessions with the outcomes of labels, where their source has none.

    A label of a session applies to all its parts, ``<id>#2``, that have no label of their own.

    Parameters
    ----------
    sessions
        A session frame.
    labels
        What `read_labels` returns. A function is called for each session without an outcome.
    problems
        Counts labels that have no effect.

    Raises
    ------
    InvalidInputError
        If a function returns no outcome.

    Examples
    --------
    >>> from evalkit.collect.session_frame import session_frame
    >>> sessions = session_frame({"session_id": ["a", "a#2", "b"], "outcome": ["unknown", "unknown", "failure"]})
    >>> problems = Problems()
    >>> with_labels(sessions, read_labels({"a": "passed", "b": "passed"}), problems)["outcome"].to_list()
    ['success', 'success', 'failure']
    >>> problems.ignored
    {'labels of sessions that have an outcome': 1}
    """
    label = _labels_of(sessions, labels, problems) if isinstance(labels, pl.DataFrame) else _labels_from(sessions, labels)
    changed = (pl.col("outcome") == "unknown") & (label != "unknown")
    is_invalid = changed & (label == "invalid")
    return sessions.with_columns(
        outcome=pl.when(changed).then(label).otherwise("outcome"),
        reason=pl.when(is_invalid).then(pl.coalesce("reason", pl.lit("not_valid"))).otherwise("reason"),
    )


def _labels_of(sessions: pl.DataFrame, labels: pl.DataFrame, problems: Problems) -> pl.Series:
    """Return the label of each session; ``unknown`` without one."""
    ids = sessions.select("session_id", "outcome", base=pl.col("session_id").str.replace(_PART, ""))
    names = labels.rename({"outcome": "label"})
    found = ids.join(names, on="session_id", how="left", maintain_order="left").join(
        names.rename({"session_id": "base", "label": "base_label"}), on="base", how="left", maintain_order="left"
    )
    label_id = pl.when(pl.col("label").is_not_null()).then("session_id").when(pl.col("base_label").is_not_null()).then("base")
    used = found.filter(pl.col("outcome") == "unknown").select(label_id.alias("session_id")).drop_nulls()
    idle = labels.join(used, on="session_id", how="anti")
    of_sessions = idle.join(pl.concat([ids["session_id"], ids["base"]]).alias("session_id").to_frame(), on="session_id", how="semi")
    if of_sessions.height:
        problems.ignore("labels of sessions that have an outcome", of_sessions.height)
    if idle.height > of_sessions.height:
        problems.ignore("labels for unknown sessions", idle.height - of_sessions.height)
    return found.select(label=pl.coalesce("label", "base_label").fill_null("unknown"))["label"]


def _labels_from(sessions: pl.DataFrame, function: LabelFunction) -> pl.Series:
    """Return what a function returns for each session without an outcome."""
    rows = (sessions["outcome"] == "unknown").arg_true()
    words = [_word_of(function, session) for session in sessions[rows].iter_rows(named=True)]
    try:
        outcomes = outcomes_of(pl.Series("outcome", words, dtype=pl.String))
    except InvalidInputError as error:
        raise _of_session(error, sessions["session_id"][rows[error.row or 0]]) from None
    return pl.Series("label", ["unknown"] * sessions.height, dtype=outcomes.dtype).scatter(rows, outcomes)


def _word_of(function: LabelFunction, session: Mapping[str, Any]) -> str | None:
    try:
        outcome = function(session)
    except Exception as error:
        problem = f"The function of labels failed for session {session['session_id']!r}: {type(error).__name__}: {error}"
        raise InvalidInputError(problem, hint="A column can be missing (None).", field="labels", value=session["session_id"]) from error
    try:
        return _word(outcome)
    except InvalidInputError as error:
        raise _of_session(error, session["session_id"]) from None


def _of_session(error: InvalidInputError, session_id: str) -> InvalidInputError:
    return error.but(where=f"label of session {session_id!r}: ")
