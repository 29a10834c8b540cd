"""Everything that charts and analyses need of some studies, read once from Polars or pandas frames."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import polars as pl

from evalkit.domain.periods import SHORTEST
from evalkit.domain.study import PeriodType, Study
from evalkit.domain.study_references import resolve_study
from evalkit.domain.validation import invalid
from evalkit.errors import InvalidInputError
from evalkit.frames.columns import CHECKPOINTS, LIFECYCLE, STUDIES, empty_frame
from evalkit.frames.normalize import MISSING_STUDY, StudyName, check_frame, labelled, read_column, read_columns

if TYPE_CHECKING:
    from typing import Protocol, TypeAlias

    from evalkit.frames.normalize import FrameLike

    class HasStudyData(Protocol):
        """A result that holds checkpoints, as `evalkit.analysis.resample` returns it."""

        @property
        def data(self) -> StudyData:
            """The checkpoints, with the lifecycle of their studies."""

    DataLike: TypeAlias = "StudyData | FrameLike | HasStudyData"
    """What charts and analyses take as their first argument."""

__all__ = ["StudyData", "study_data", "study_named"]

T = TypeVar("T")

_LENGTHS = {kind.value: length for kind, length in SHORTEST.items()}
_TIES = ("timestamp", "checkpoint_id")


class StudyData:
    """Checkpoints and lifecycle of some studies: the first argument of every chart and analysis.

    Each column is read when it is first needed, and once. Change neither frame afterwards.

    Parameters
    ----------
    checkpoints
        As ``kit.checkpoints()`` returns them, Polars or pandas, any number of rows and studies.
    lifecycle
        As ``kit.lifecycle()`` returns it; that of other studies is ignored. None: charts show no pauses, and the audit does not know
        when the studies ran.
    studies
        As ``kit.studies()`` returns them, for what a report says of a study beside its measurements.

    Raises
    ------
    InvalidInputError
        When one of them is not a Polars or pandas frame.

    See Also
    --------
    evalkit.EvalKit.data : The same from a kit.

    Examples
    --------
    >>> from datetime import datetime, timezone
    >>> rows = {"study": ["nightly"], "period_start": [datetime(2026, 1, 1, tzinfo=timezone.utc)], "total_cost": [1.5]}
    >>> rows["period_end"] = [datetime(2026, 1, 2, tzinfo=timezone.utc)]
    >>> StudyData(pl.DataFrame(rows))
    StudyData(1 checkpoint of 1 study, without lifecycle)
    """

    def __init__(self, checkpoints: FrameLike, lifecycle: FrameLike | None = None, *, studies: FrameLike | None = None) -> None:
        check_frame(checkpoints, field="checkpoints")
        if lifecycle is not None:
            check_frame(lifecycle, "kit.lifecycle()", "lifecycle")
        if studies is not None:
            check_frame(studies, "kit.studies()", "studies")
        self.checkpoints = checkpoints
        self.lifecycle = lifecycle
        self.studies = studies
        self._columns: dict[tuple[str, str], pl.Series] = {}
        self._measured: dict[tuple[str, str], pl.Series] = {}
        self._computed: dict[str, Any] = {}

    def __repr__(self) -> str:
        from evalkit._util.text import plural

        with_lifecycle = "without" if self.lifecycle is None else "with"
        counted = f"{plural(len(self.checkpoints), 'checkpoint')} of {plural(len(self.names), 'study', 'studies')}"
        return f"StudyData({counted}, {with_lifecycle} lifecycle)"

    def once(self, name: str, compute: Callable[[StudyData], T]) -> T:
        """Return what a function computes of the data; of the same name it is computed once, as the audit is for all analyses."""
        if name not in self._computed:
            self._computed[name] = compute(self)
        computed: T = self._computed[name]
        return computed

    def __contains__(self, column: str) -> bool:
        """Return whether the checkpoints have a column."""
        return column in self.column_names

    @cached_property
    def column_names(self) -> list[str]:
        """The columns of the checkpoints."""
        return [str(name) for name in self.checkpoints.columns]

    def column(self, name: str, kind: str) -> pl.Series:
        """Return a column of the checkpoints in its one form, nulls where there is none; read once for each `kind`."""
        return _once(self._columns, (name, kind), lambda: read_column(self.checkpoints, name, kind))

    def columns(self, kinds: Mapping[str, str], wanted: Sequence[str], optional: Sequence[str]) -> pl.DataFrame:
        """Return columns of the checkpoints in one form, as `evalkit.frames.normalize.read_columns` does."""
        if any(name not in self for name in wanted):
            read_columns(self.checkpoints, kinds, wanted, optional)  # says which
        return pl.DataFrame([self.column(name, kinds[name]) for name in (*optional, *wanted)])

    @property
    def names(self) -> list[StudyName]:
        """The studies that have checkpoints, in the order in which they begin."""
        return self._layout[1]

    @cached_property
    def known(self) -> list[StudyName]:
        """All studies of the data: those that have checkpoints, then those that only have a lifecycle or a row in `studies`."""
        known = {name.id: name for name in self.names}
        if [*known] == [MISSING_STUDY]:
            return self.names  # all there is is of one study, whatever the others call it
        others = [*self._lifecycle[1]]
        if self.studies is not None:
            rows = read_columns(self.studies, STUDIES, ["study_id", "name"], []).drop_nulls("study_id")
            others += [StudyName(study_id, name or study_id, name or study_id) for study_id, name in rows.rows()]
        # A lifecycle may have ids where the checkpoints have names alone.
        return [*known.values(), *({name.id: name for name in others if name.id not in known and name.name not in known}.values())]

    @cached_property
    def _layout(self) -> tuple[pl.DataFrame, list[StudyName], pl.Series | None]:
        """The periods, the studies, and the row numbers of the periods; None for all rows in their order."""
        rows, names = labelled(self.columns(CHECKPOINTS, ["period_start", "period_end"], ["study_id", "study"]), "period_start")
        start, end = pl.col("period_start"), pl.col("period_end")
        periods = rows.lazy().select("study_id", "label", start=start, end=end, t=start + (end - start) / 2).collect()
        without = bool(periods["t"].null_count())
        times = periods["t"]
        if not without and len(names) <= 1 and times.is_sorted() and times.n_unique() == len(times):
            return periods, names, None
        ties = {name: self.column(name, CHECKPOINTS[name]) for name in _TIES if self._is_readable(name)}
        ordered = periods.with_row_index("row").with_columns(**ties)
        if without:
            ordered = ordered.filter(pl.col("t").is_not_null())
        order = ["study_id", "t", "start", *ties]
        if not ordered.select(_in_order(order)).item():  # to see it is quicker than to sort
            ordered = ordered.sort(order, maintain_order=True)
        elif not without:
            return periods, names, None
        return ordered.select(periods.columns), names, ordered["row"]

    def _is_readable(self, name: str) -> bool:
        """Whether a column has its type; one that only breaks ties is never a reason to refuse a frame."""
        try:
            return name in self and self.column(name, CHECKPOINTS[name]) is not None
        except InvalidInputError:
            return False

    def sorted_checkpoints(self, metrics: Iterable[str], counts: Iterable[str] = (), flags: Iterable[str] = ()) -> pl.DataFrame:
        """Return the checkpoints that have a period, by study and time, with some metrics.

        Checkpoints of the same period are ordered by timestamp, then id, as in ``kit.checkpoints()``, whatever the order of the rows.

        Parameters
        ----------
        metrics
            Columns that must be there.
        counts
            Columns that may be absent, and are null then.
        flags
            Columns of true and false that may be absent, false where they are missing.

        Returns
        -------
        polars.DataFrame
            `study_id`, `label` (enumerations in the order of the studies), `start`, `end`, `t` (the middle of the period), and the columns
            asked for: durations in seconds, NaN and infinity as null.

        Raises
        ------
        InvalidInputError
            When a column is absent, or of a type that does not fit.
        """
        metrics = list(metrics)
        self.columns(CHECKPOINTS, ["period_start", "period_end", *metrics], [])
        periods = self._layout[0]
        measured = [self._value(name, CHECKPOINTS[name]) for name in (*metrics, *counts)]
        return periods.hstack([*measured, *(self._value(name, "flag") for name in flags)])

    @cached_property
    def lengths(self) -> pl.Series:
        """The length of a period of the study, for each of `sorted_checkpoints`: by its type, of a month the one before, else its own."""
        periods, _, places = self._layout
        kinds = self.column("period_type", CHECKPOINTS["period_type"])
        kinds = kinds if places is None else kinds.gather(places)
        usual = kinds.replace_strict(_LENGTHS, default=None, return_dtype=pl.Duration("us"))
        # Of months the one in which a gap before this period begins, as in the audit.
        reached = pl.col("end").cum_max().shift(1).over("study_id")
        month = pl.when(kinds == PeriodType.MONTHLY.value).then(reached.dt.offset_by("1mo") - reached)
        return periods.select(pl.coalesce(month, usual, pl.col("end") - pl.col("start")).alias("length")).to_series()

    def _value(self, name: str, kind: str) -> pl.Series:
        """Return the values of a column in the order of the layout."""

        def read() -> pl.Series:
            values, places = self.column(name, kind), self._layout[2]
            if kind == "duration":
                values = values.dt.total_microseconds() / 1e6
            elif values.dtype.is_float() and not math.isfinite(values.sum()):
                values = pl.select(pl.when(values.is_finite()).then(values).alias(name)).to_series()
            elif kind == "flag":
                values = values.fill_null(False)
            return values if places is None else values.gather(places)

        return _once(self._measured, (name, kind), read)

    @property
    def sorted_lifecycle(self) -> pl.DataFrame:
        """The lifecycle by study and its order in the log: study_id, label, seq, kind, status, at."""
        return self._lifecycle[0]

    @cached_property
    def _lifecycle(self) -> tuple[pl.DataFrame, list[StudyName]]:
        if self.lifecycle is None:
            return labelled(empty_frame(LIFECYCLE), "at")
        rows, names = labelled(read_columns(self.lifecycle, LIFECYCLE, ["seq", "kind", "status", "at"], ["study_id", "study"]), "at")
        return rows.filter(pl.col("at").is_not_null()).sort("study_id", "seq", maintain_order=True), names

    def find(self, reference: Study | str, field: str = "study") -> StudyName:
        """Return the study that a reference means: a `Study`, an id, a name, a label, or the end of an id.

        Raises
        ------
        StudyNotFoundError, AmbiguousStudyError
            When no study, or more than one, matches.
        InvalidInputError
            When it is no reference.
        """
        return study_named(reference, self.known, field)

    def of(self, *references: Study | str) -> StudyData:
        """Return the data of some of the studies.

        Raises
        ------
        StudyNotFoundError, AmbiguousStudyError
            When no study, or more than one, matches a reference.
        InvalidInputError
            When one is no reference.
        """
        ids = list(dict.fromkeys(self.find(reference).id for reference in references))
        if set(ids) == {name.id for name in self.known}:
            return self
        lifecycle = None if self.lifecycle is None else _of_studies(self.lifecycle, ids, LIFECYCLE, "study")
        studies = None if self.studies is None else _of_studies(self.studies, ids, STUDIES, "name")
        return StudyData(_of_studies(self.checkpoints, ids, CHECKPOINTS, "study"), lifecycle, studies=studies)


def study_data(source: DataLike, field: str = "data") -> StudyData:
    """Return what a chart or an analysis is given as a `StudyData`.

    Parameters
    ----------
    source
        A `StudyData`, a frame of checkpoints, or a result that holds checkpoints.
    field
        The name of the parameter, for messages.

    Raises
    ------
    InvalidInputError
        When it is none of these.
    """
    held = source if isinstance(source, StudyData) else getattr(source, "data", None)
    if isinstance(held, StudyData):
        return held
    if isinstance(source, tuple):
        raise invalid(field, source, "is a tuple", hint="Give kit.data(), or StudyData(checkpoints, lifecycle).")
    check_frame(source, "kit.data(), kit.checkpoints()", field)
    return StudyData(source)  # type: ignore[arg-type]


def study_named(reference: Study | str, names: Sequence[StudyName], field: str = "study") -> StudyName:
    """Return the one of some studies that a reference means, by its label or as `evalkit.domain.study_references` says.

    Raises
    ------
    StudyNotFoundError, AmbiguousStudyError
        When no study, or more than one, matches.
    InvalidInputError
        When it is no reference.
    """
    labels = [name for name in names if name.label == reference and name.label != name.name]
    if labels:
        return labels[0]
    found = resolve_study(reference, [(name.id, name.name) for name in names], field=field)
    return next(name for name in names if name.id == found)


def _of_studies(frame: FrameLike, ids: list[str], kinds: Mapping[str, str], name: str) -> Any:
    """Return the rows of some studies, by id, or by name where that is all that is known."""
    known = read_columns(frame, kinds, [], ["study_id", name])
    if known["study_id"].null_count() == known[name].null_count() == known.height > 0:
        return frame  # it names no study, so it is that of the only one
    kept = known.select(pl.coalesce("study_id", name).is_in(ids) | pl.col(name).is_in(ids).fill_null(False)).to_series().fill_null(False)
    return frame.filter(kept) if isinstance(frame, pl.DataFrame) else frame[kept.to_numpy()]


def _once(cache: dict[tuple[str, str], pl.Series], key: tuple[str, str], compute: Callable[[], pl.Series]) -> pl.Series:
    if key not in cache:
        cache[key] = compute()
    return cache[key]


def _in_order(columns: Sequence[str]) -> pl.Expr:
    """Return whether rows are sorted by some columns, the first of which is an enumeration."""
    order = [pl.col(columns[0]).to_physical(), *(pl.col(name) for name in columns[1:])]
    ascending = pl.lit(True)
    for part in reversed(order):
        before = part.shift(1)
        ascending = (before < part) | ((before == part) & ascending)
    return ascending.fill_null(True).all()
