"""The frame of checkpoints in a state of the log, with latest or first versions."""

from __future__ import annotations

from collections.abc import Collection, Container, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal, NamedTuple

import polars as pl

from evalkit._util.text import plural
from evalkit.domain.definitions import Metric
from evalkit.domain.refusals import invalid, unknown_name
from evalkit.errors import InvalidInputError, warn
from evalkit.frames.checkpoint_pages import stored_schema
from evalkit.frames.columns import CHECKPOINTS, frame_schema
from evalkit.readmodel.history import Bounds, CheckpointKey, History

__all__ = ["MOST_CHUNKS", "FrameStudy", "Stored", "Values", "View", "checkpoint_frame", "custom_columns", "versions_frame"]

Values = Literal["latest", "first"]
_MOST_COLUMNS = 500
_KEY = ["study_id", "checkpoint_id"]
_ORDER = "study", "timestamp", "checkpoint_id"
_FEW_NEW = 100
"""How many times more rows are stored than added, if the stored ones are not copied."""
MOST_CHUNKS = 100
"""The number of parts of a frame after which it is copied, because many parts are slow to read."""
_LARGEST_SECONDS = 9e12  # a longer duration does not fit into 64 bits of microseconds


class FrameStudy(NamedTuple):
    """A study in a state of the log."""

    id: str
    name: str
    period_type: str


@dataclass(frozen=True)
class View:
    """What a frame of checkpoints shows.

    Parameters
    ----------
    values
        ``"latest"``: amended values, without retracted checkpoints; ``"first"``: all checkpoints as first recorded.
    custom
        Whether custom metrics have columns.
    limited
        Whether more custom metrics than a frame can have columns are an error.
    columns
        The names of the columns to show, in their order; None for all.
    """

    values: Values = "latest"
    custom: bool = True
    limited: bool = True
    columns: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.values not in ("latest", "first"):
            raise invalid("values", self.values, "expected 'latest' or 'first'")


class Stored(NamedTuple):
    """Checkpoints as first recorded, sorted by study, timestamp and id.

    Parameters
    ----------
    frame
        The columns of `stored_schema`, and `study`, the index in `study_ids`.
    study_ids
        The ids of studies, oldest first.
    """

    frame: pl.DataFrame
    study_ids: tuple[str, ...] = ()

    @classmethod
    def empty(cls, custom: Sequence[str] = (), columns: Sequence[str] | None = None) -> Stored:
        """Return no checkpoints, with columns for custom metrics; see `decode_page` for `columns`."""
        return cls(pl.DataFrame(schema={**stored_schema(custom, columns), "study": pl.UInt32()}))

    def with_pages(self, pages: list[pl.DataFrame], study_ids: tuple[str, ...]) -> Stored:
        """Return these checkpoints and those of more pages, which belong to `study_ids`.

        The list of pages is emptied, so that their memory is used again column by column.
        """
        same_places = study_ids[: len(self.study_ids)] == self.study_ids
        added = sum(page.height for page in pages)
        if same_places and 0 < added * _FEW_NEW < self.frame.height and self.frame.n_chunks() < MOST_CHUNKS:
            return self._with_few(pl.concat([_with_index(page, study_ids) for page in pages]), study_ids)
        parts = [self.frame if same_places else _with_index(self.frame.drop("study"), study_ids)]
        parts += [_with_index(page, study_ids) for page in pages]
        frame = pl.concat(parts, rechunk=False).clone()  # whose columns are taken out below
        order = frame.select(_ORDER).with_row_index("place").sort(_ORDER)["place"]
        pages.clear()
        parts.clear()
        return Stored(pl.DataFrame([frame.drop_in_place(name).rechunk().gather(order) for name in frame.columns]), study_ids)

    def _with_few(self, new: pl.DataFrame, study_ids: tuple[str, ...]) -> Stored:
        """Return these checkpoints and some new ones; only the rows of their studies are copied."""
        parts, done = [], 0
        for (study,), rows in sorted(new.group_by("study"), key=lambda group: int(str(group[0][0]))):
            start, end = self._range(int(str(study)))
            parts += [self.frame[done:start], pl.concat([self.frame[start:end], rows]).sort(_ORDER)]
            done = end
        return Stored(pl.concat([*parts, self.frame[done:]], rechunk=False), study_ids)

    def _range(self, study: int) -> tuple[int, int]:
        """Return the first row of a study, and the first one after it."""
        places = self.frame["study"]
        return int(places.search_sorted(study, "left")), int(places.search_sorted(study, "right"))

    def of(self, study_ids: Collection[str]) -> Stored:
        """Return the checkpoints of some studies."""
        if len(study_ids) * 2 > len(self.study_ids):
            return self
        ranges = [self._range(place) for place, study_id in enumerate(self.study_ids) if study_id in study_ids]
        return Stored(pl.concat([self.frame[:0], *(self.frame[start:end] for start, end in ranges)], rechunk=False), self.study_ids)

    def of_study(self, values: Mapping[str, Any], dtype: pl.DataType) -> pl.Series:
        """Return the value of each row's study, or null."""
        return pl.Series([values.get(study_id) for study_id in self.study_ids], dtype=dtype).gather(self.frame["study"])


def _with_index(page: pl.DataFrame, study_ids: Sequence[str]) -> pl.DataFrame:
    index = {study_id: number for number, study_id in enumerate(study_ids)}
    return page.with_columns(pl.col("study_id").replace_strict(index, return_dtype=pl.UInt32()).alias("study"))


def checkpoint_frame(stored: Stored, studies: Sequence[FrameStudy], history: History, bounds: Bounds, view: View) -> pl.DataFrame:
    """Return the frame of the checkpoints of some studies, in the order of the rows.

    Parameters
    ----------
    stored
        Checkpoints of these studies, and perhaps of others.
    studies
        The studies to select, oldest first.
    history
        The changes that belong to the state.
    bounds
        The state.
    view
        What to show.

    Raises
    ------
    InvalidInputError
        When the studies define more custom metrics than a frame can have columns, or a column is unknown.
    """
    return versions_frame(_selected(stored, studies, bounds).lazy(), studies, history, view).collect()


def versions_frame(rows: pl.LazyFrame, studies: Sequence[FrameStudy], history: History, view: View) -> pl.LazyFrame:
    """Return stored checkpoints in the versions and columns that a view shows.

    Parameters
    ----------
    rows
        The stored checkpoints of the studies in a state, with the columns `study` and `period_type`.
    studies, history, view
        See `checkpoint_frame`.

    Raises
    ------
    InvalidInputError
        See `checkpoint_frame`.
    """
    metrics = custom_columns(studies, history, limited=view.limited and view.columns is None) if view.custom else {}
    standard = list(CHECKPOINTS)
    after = standard.index("events_analyzed")
    names = [*standard[:after], *metrics, *standard[after:]]
    if view.columns is not None:
        names = _checked_columns(view.columns, names)
        metrics = {name: defined for name, defined in metrics.items() if name in names}
    conflicting = [name for name, defined in metrics.items() if len({metric.kind for metric in defined.values()}) > 1]
    if conflicting:
        more = f" (and {plural(len(conflicting) - 1, 'more metric')})" if conflicting[1:] else ""
        columns = "their columns contain" if conflicting[1:] else "its column contains"
        warn(f"The selected studies define {conflicting[0]!r}{more} with different kinds; {columns} plain numbers.")
    kinds = {name: next(iter(defined.values())).kind if name not in conflicting else "number" for name, defined in metrics.items()}
    rows = rows.with_columns(pl.lit(0, pl.Int64()).alias("revision"))
    if view.values == "latest":
        rows = _amended(_without_retracted(rows, history), history, {study.id for study in studies})
    rows = rows.with_columns(*(_custom_column(name, kind, metrics[name], studies) for name, kind in kinds.items()))
    return rows.select(names)


def _checked_columns(columns: Sequence[str], names: Sequence[str]) -> list[str]:
    for name in columns:
        if name not in names:
            raise unknown_name("column", name, names, field="columns")
    return list(dict.fromkeys(columns))


def custom_columns(studies: Sequence[FrameStudy], history: History, *, limited: bool = True) -> dict[str, dict[str, Metric]]:
    """Return the custom metrics of studies: the definitions of each name, by study id.

    The names are in the order of the columns.

    Raises
    ------
    InvalidInputError
        When they are `limited`, and there are more than a frame can have columns.
    """
    defined: dict[str, dict[str, Metric]] = {}
    for study in studies:
        for name, metric in history.definitions.get(study.id, {}).items():
            defined.setdefault(name, {})[study.id] = metric
    if limited and len(defined) > _MOST_COLUMNS:
        raise InvalidInputError(
            f"The selected studies define {len(defined):,} custom metrics, and a frame has at most {_MOST_COLUMNS} columns for them",
            hint="Select fewer studies; kit.checkpoints() has custom=False, too.", shell_hint="Select fewer studies.", field="study",
            value=len(defined),
        )  # fmt: skip
    return defined


def _selected(stored: Stored, studies: Sequence[FrameStudy], bounds: Bounds) -> pl.DataFrame:
    """Return the rows of studies in a state, with the studies' names and period types."""
    period_types = frame_schema(CHECKPOINTS)["period_type"]
    stored = stored.of({study.id for study in studies})
    rows = stored.frame.with_columns(
        stored.of_study({study.id: study.name for study in studies}, pl.String()).alias("study"),
        stored.of_study({study.id: study.period_type for study in studies}, period_types).alias("period_type"),
    )
    if not bounds.is_latest:
        limit = stored.of_study({study.id: bounds.of(study.id) for study in studies}, pl.Int64())
        return rows.filter(rows["log_offset"] < limit)
    return rows.filter(rows["study"].is_not_null()) if rows["study"].null_count() else rows


def _keys(keys: Sequence[CheckpointKey]) -> pl.DataFrame:
    return pl.DataFrame(keys, schema=dict.fromkeys(_KEY, pl.String()), orient="row")


def _without_retracted(rows: pl.LazyFrame, history: History) -> pl.LazyFrame:
    if not history.retractions:
        return rows
    return rows.join(_keys(list(history.retractions)).lazy(), on=_KEY, how="anti", maintain_order="left")


def _amended(rows: pl.LazyFrame, history: History, study_ids: Container[str]) -> pl.LazyFrame:
    """Return the rows of studies with the values of their amendments."""
    changed = {key: _changed_values([event for _, event in chain]) for key, chain in history.amendments.items() if key[0] in study_ids}
    if not changed:
        return rows
    dtypes = rows.collect_schema()
    columns = [name for name in dtypes if any(name in values for values in changed.values())]
    schema: dict[str, pl.DataType] = {}
    for name in columns:
        schema |= {f"new {name}": dtypes[name], f"is new {name}": pl.Boolean()}
    flat = [[part for name in columns for part in (values.get(name), name in values)] for values in changed.values()]
    keyed = _keys(list(changed)).hstack(pl.DataFrame(flat, schema=schema, orient="row"))
    joined = rows.join(keyed.lazy(), on=_KEY, how="left", maintain_order="left")
    return joined.with_columns(
        pl.when(pl.col(f"is new {name}")).then(pl.col(f"new {name}")).otherwise(pl.col(name)).alias(name) for name in columns
    ).select(list(dtypes))


def _changed_values(amendments: Sequence[Any]) -> dict[str, Any]:
    """Return the new values of the columns that amendments changed."""
    values: dict[str, Any] = {"revision": len(amendments)}
    for event in amendments:
        values |= event.metrics.changed()
        values |= {name: value for name in ("events_analyzed", "sessions_included") if (value := getattr(event, name)) is not None}
        if event.provenance is not None:
            values["collector"] = event.provenance.collector
    return {
        name: float(value) if name not in CHECKPOINTS and value is not None and not isinstance(value, timedelta) else value
        for name, value in values.items()
    }


def _custom_column(name: str, kind: str, defined: Mapping[str, Metric], studies: Sequence[FrameStudy]) -> pl.Expr:
    """Return a custom metric in the dtype of its kind, only for the studies that define it."""
    value = pl.col(name)
    if kind == "count":
        value = pl.when(value == value.floor()).then(value).cast(pl.Int64(), strict=False)
    elif kind == "duration":
        value = pl.when(value.abs() < _LARGEST_SECONDS).then((value * 1e6).round()).cast(pl.Int64()).cast(pl.Duration("us"))
    if len(defined) < len(studies):
        value = pl.when(pl.col("study_id").is_in(list(defined))).then(value)
    return value.alias(name)
