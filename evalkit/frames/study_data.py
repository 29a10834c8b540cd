"""The input of charts and analyses, read once from Polars or pandas frames."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import polars as pl

from evalkit.domain.catalog import METRICS, STANDARD, is_custom_name, standard_metrics
from evalkit.domain.definitions import Kind, Metric
from evalkit.domain.periods import SHORTEST, is_gap
from evalkit.domain.refusals import a_type, invalid, unknown_name
from evalkit.domain.study import PER_RUN, PeriodType, Study, StudyConfig
from evalkit.domain.study_references import resolve_study
from evalkit.errors import InvalidInputError
from evalkit.frames.columns import AMENDMENTS, CHECKPOINTS, LIFECYCLE, METRICS_FRAME, NOTES, PROVENANCE, STUDIES, empty_frame
from evalkit.frames.definitions import definitions_in
from evalkit.frames.expected_runs import misses_runs
from evalkit.frames.normalize import MISSING_STUDY, StudyName, check_frame, labeled, read_column, read_columns
from evalkit.frames.scope import Scope

if TYPE_CHECKING:
    from typing import Protocol, TypeAlias

    from evalkit.frames.normalize import FrameLike

    class HasStudyData(Protocol):
        """A result with checkpoints, as returned by `evalkit.analysis.resample`."""

        @property
        def data(self) -> StudyData:
            """The checkpoints with the lifecycle of their studies."""

    DataLike: TypeAlias = "StudyData | FrameLike | HasStudyData"
    """The type of the first argument of charts and analyses."""

__all__ = ["StudyData", "study_data", "study_named"]

T = TypeVar("T")

_LENGTHS = {kind.value: length for kind, length in SHORTEST.items()}
_TIES = ("timestamp", "checkpoint_id")


class StudyData:
    """Checkpoints and lifecycle of studies: the first argument of charts and analyses.

    Each column is read on first use, and cached. Do not change the frames afterwards.

    Parameters
    ----------
    checkpoints
        A Polars or pandas DataFrame with the columns of ``kit.checkpoints()``, any number of rows and studies.
    lifecycle
        A DataFrame with the columns of ``kit.lifecycle()``, which may include other studies. Without it, charts show no pauses, and the
        audit does not check when the studies ran.
    studies
        A DataFrame with the columns of ``kit.studies()``, for the study descriptions in reports, and the cadence of studies of runs.
    metrics
        The definitions of custom metrics: a list of `Metric` for all studies, or a DataFrame with the columns of ``kit.metrics()``.
    notes
        A DataFrame with the columns of ``kit.notes()``. Charts over time mark them.
    amendments
        A DataFrame with the columns of ``kit.amendments()``. Charts mark amended values, and reports list them.
    provenance
        A DataFrame with the columns of ``kit.provenance()``. Charts mark changes of the model or the agent's version.
    malformed
        The optional parts of events that are present but invalid, for the audit: study_id, checkpoint_id and parts. Internal.
    scope
        Which versions of which checkpoints these are, as `EvalKit.data` sets it, for the subtitles of charts and for reports.

    Raises
    ------
    InvalidInputError
        If a frame is not a Polars or pandas DataFrame, or `metrics` is not a list of `Metric`.

    See Also
    --------
    evalkit.EvalKit.data : Return the data of a kit.

    Examples
    --------
    >>> from datetime import datetime, timezone
    >>> rows = {"study": ["nightly"], "period_start": [datetime(2026, 1, 1, tzinfo=timezone.utc)], "total_cost": [1.5]}
    >>> rows["period_end"] = [datetime(2026, 1, 2, tzinfo=timezone.utc)]
    >>> StudyData(pl.DataFrame(rows))
    StudyData(1 checkpoint of 1 study, without lifecycle)
    """

    def __init__(
        self,
        checkpoints: FrameLike,
        lifecycle: FrameLike | None = None,
        *,
        studies: FrameLike | None = None,
        metrics: Sequence[Metric] | FrameLike = (),
        notes: FrameLike | None = None,
        amendments: FrameLike | None = None,
        provenance: FrameLike | None = None,
        malformed: pl.DataFrame | None = None,
        scope: Scope = Scope(),  # noqa: B008  (it is frozen)
    ) -> None:
        check_frame(checkpoints, field="checkpoints")
        others = {"lifecycle": lifecycle, "studies": studies, "notes": notes, "amendments": amendments, "provenance": provenance}
        for name, frame in others.items():
            if frame is not None:
                check_frame(frame, f"kit.{name}()", name)
        if isinstance(metrics, Sequence):
            for metric in metrics:
                if not isinstance(metric, Metric):
                    raise invalid("metrics", metric, f"expected Metric objects or kit.metrics(), got {a_type(metric)}")
        else:
            check_frame(metrics, "kit.metrics()", "metrics")
        self.checkpoints = checkpoints
        self.lifecycle = lifecycle
        self.studies = studies
        self.metrics = metrics
        self.notes = notes
        self.amendments = amendments
        self.provenance = provenance
        self.malformed = malformed
        self.scope = scope
        self._columns: dict[tuple[str, str], pl.Series] = {}
        self._measured: dict[tuple[str, str], pl.Series] = {}
        self._computed: dict[str, Any] = {}

    def __repr__(self) -> str:
        from evalkit._util.text import plural

        with_lifecycle = "without" if self.lifecycle is None else "with"
        counted = f"{plural(len(self.checkpoints), 'checkpoint')} of {plural(len(self.names), 'study', 'studies')}"
        return f"StudyData({counted}, {with_lifecycle} lifecycle)"

    def once(self, name: str, compute: Callable[[StudyData], T]) -> T:
        """Return the result of a function of the data, cached by name.

        For example, all analyses of the data share one audit.

        Examples
        --------
        >>> data = StudyData(pl.DataFrame({"study": ["nightly"], "total_cost": [1.5]}))
        >>> data.once("rows", lambda data: len(data.checkpoints))
        1
        """
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
        """Return a column of the checkpoints in the dtype of its kind; nulls if absent.

        Examples
        --------
        >>> StudyData(pl.DataFrame({"study": ["nightly"], "total_cost": [1]})).column("total_cost", "money").to_list()
        [1]
        """
        return _once(self._columns, (name, kind), lambda: read_column(self.checkpoints, name, kind))

    def columns(self, kinds: Mapping[str, str], required: Sequence[str], optional: Sequence[str]) -> pl.DataFrame:
        """Return columns of the checkpoints in fixed dtypes.

        The required columns must exist; absent optional columns are null.

        Examples
        --------
        >>> data = StudyData(pl.DataFrame({"study": ["nightly"], "total_cost": [1.5]}))
        >>> data.columns({"study": "text", "total_cost": "money"}, ["total_cost"], ["study"]).rows()
        [('nightly', 1.5)]
        """
        if any(name not in self for name in required):
            read_columns(self.checkpoints, kinds, required, optional)  # raises
        return pl.DataFrame([self.column(name, kinds[name]) for name in (*optional, *required)])

    @cached_property
    def definitions(self) -> dict[str, dict[str, Metric]]:
        """The definitions of custom metrics by name, then by study id.

        The id is empty for a definition that applies to all studies.
        """
        defined: dict[str, dict[str, Metric]] = {}
        if isinstance(self.metrics, Sequence):
            return {metric.name: {"": metric} for metric in self.metrics}
        for study_id, metrics in definitions_in(self.metrics).items():
            for name, metric in metrics.items():
                defined.setdefault(name, {})[study_id] = metric
        return defined

    def metric(self, name: object, field: str = "metric") -> Metric:
        """Return the definition of a metric, standard or custom.

        A column with numbers or durations but without a definition has no better direction, see `undefined`.

        Parameters
        ----------
        name
            The name of a metric.
        field
            The name of the parameter, for messages.

        Raises
        ------
        InvalidInputError
            If the metric is unknown, or studies define it differently, so that their values cannot be analyzed together.

        Examples
        --------
        >>> rows = pl.DataFrame({"study": ["nightly"], "refusals": [3], "judge_score": [0.8]})
        >>> data = StudyData(rows, metrics=[Metric("refusals", kind="count", better="down")])
        >>> data.metric("refusals").better, data.metric("session_success_rate").better, data.metric("judge_score").better
        ('down', 'up', 'neither')
        """
        if not isinstance(name, str):
            raise invalid(field, name, "expected the name of one metric, e.g. 'session_success_rate'")
        metric = self._standard.get(name) or self._custom.get(name)
        if metric is None and name in self.definitions:
            raise invalid(field, name, self._contradiction(name), hint="Select one of the studies.")
        if metric is None:
            raise unknown_name("metric", name, [*METRICS, *self.definitions, *self.undefined], field=field)
        return metric

    @cached_property
    def catalog(self) -> dict[str, Metric]:
        """The metrics with a column: the 16 in their order, then custom metrics.

        Metrics that studies define differently are left out, see `contradictions`.
        """
        return {name: metric for name, metric in {**self._standard, **self._custom}.items() if name in self}

    @cached_property
    def contradictions(self) -> dict[str, str]:
        """The custom metrics that studies define differently, each with the difference."""
        return {name: self._contradiction(name) for name in self.definitions if name not in self._custom and name in self}

    @cached_property
    def undefined(self) -> dict[str, Metric]:
        """The columns with numbers or durations that could be a metric, but have no definition.

        Each is a number or duration without a better direction.
        """
        names = [name for name in self.column_names if is_custom_name(name) and name not in self.definitions]
        possible: tuple[Kind, ...] = ("number", "duration")
        kinds = {name: next((kind for kind in possible if self._has_values(name, kind)), None) for name in names}
        return {name: Metric(name, kind=kind, better="neither") for name, kind in kinds.items() if kind is not None}

    @cached_property
    def _standard(self) -> dict[str, Metric]:
        """The 16 metrics, with the denominators that custom metrics of the data are."""
        defined = {name: metric for name, metric in self._custom.items() if name in STANDARD and name not in self.undefined}
        return standard_metrics({name: metric for name, metric in defined.items() if self._has_values(name, metric.kind)})

    @cached_property
    def _custom(self) -> dict[str, Metric]:
        """The custom metrics that can be analyzed."""
        agreed: dict[str, Metric] = {}
        for name, defined in self.definitions.items():
            first, *others = defined.values()
            if not any(map(first.differences, others)):
                agreed[name] = first
        return agreed | self.undefined

    def _contradiction(self, name: str) -> str:
        (first_id, first), *others = self.definitions[name].items()
        other_id, differences = next((key, differences) for key, other in others if (differences := first.differences(other)))
        labels = [next((known.name for known in self.known if known.id == key), key) for key in (first_id, other_id)]
        return f"studies {labels[0]!r} and {labels[1]!r} define it differently: {'; '.join(differences)}"

    def _has_values(self, name: str, kind: str) -> bool:
        try:
            return self.column(name, kind).count() > 0
        except InvalidInputError:
            return False

    def _kind(self, name: str) -> str:
        """Return the kind of a column, as in `evalkit.frames.columns`."""
        return CHECKPOINTS.get(name) or self.metric(name).kind

    @property
    def names(self) -> list[StudyName]:
        """The studies with checkpoints, in the order of their first period."""
        return self._layout[1]

    @cached_property
    def known(self) -> list[StudyName]:
        """All studies, those with checkpoints first."""
        by_id = {name.id: name for name in self.names}
        if [*by_id] == [MISSING_STUDY]:
            return self.names  # checkpoints without study columns belong to a single study
        others = [*self._lifecycle[1]]
        if self.studies is not None:
            rows = read_columns(self.studies, STUDIES, ["study_id", "name"], []).drop_nulls("study_id")
            others += [StudyName(study_id, name or study_id, name or study_id) for study_id, name in rows.rows()]
        # The lifecycle may have ids while the checkpoints only have names.
        return [*by_id.values(), *({name.id: name for name in others if name.id not in by_id and name.name not in by_id}.values())]

    @cached_property
    def _layout(self) -> tuple[pl.DataFrame, list[StudyName], pl.Series | None]:
        """The periods, the studies, and the row numbers of the periods.

        Without row numbers (None), the periods are those of all rows, in the same order.
        """
        rows, names = labeled(self.columns(CHECKPOINTS, ["period_start", "period_end"], ["study_id", "study"]), "period_start")
        start, end = pl.col("period_start"), pl.col("period_end")
        periods = rows.lazy().select("study_id", "label", start=start, end=end, t=start + (end - start) / 2).collect()
        times = periods["t"]
        incomplete = bool(times.null_count())
        if not incomplete and len(names) <= 1 and times.is_sorted() and times.n_unique() == len(times):
            return periods, names, None
        ties = {name: self.column(name, CHECKPOINTS[name]) for name in _TIES if self._is_readable(name)}
        ordered = periods.with_row_index("row").with_columns(**ties)
        if incomplete:
            ordered = ordered.filter(pl.col("t").is_not_null())
        order = ["study_id", "t", "start", *ties]
        if not ordered.select(_in_order(order)).item():  # checking is faster than sorting
            ordered = ordered.sort(order, maintain_order=True)
        elif not incomplete:
            return periods, names, None
        return ordered.select(periods.columns), names, ordered["row"]

    def _is_readable(self, name: str) -> bool:
        """Return whether a column exists and has the expected type."""
        try:
            return name in self and self.column(name, CHECKPOINTS[name]) is not None
        except InvalidInputError:
            return False

    def sorted_checkpoints(self, metrics: Iterable[str], counts: Iterable[str] = (), flags: Iterable[str] = ()) -> pl.DataFrame:
        """Return the checkpoints that have a period, sorted by study and time.

        Checkpoints of the same period are sorted by timestamp, then id, as in ``kit.checkpoints()``, regardless of the order of the rows.

        Parameters
        ----------
        metrics
            Required columns.
        counts
            Optional columns, null if absent.
        flags
            Optional boolean columns, false if absent or null.

        Returns
        -------
        polars.DataFrame
            `study_id` and `label` (enumerations in the order of the studies), `start`, `end` and `t` (the middle of the period), and the
            requested columns: durations in seconds, NaN and infinity as null.

        Raises
        ------
        InvalidInputError
            If a column is absent or of another type.

        Examples
        --------
        >>> from datetime import datetime, timedelta, timezone
        >>> starts = [datetime(2026, 1, day, tzinfo=timezone.utc) for day in (1, 2, 1)]
        >>> columns = {"study": ["a", "a", "b"], "period_start": starts, "period_end": [start + timedelta(days=1) for start in starts]}
        >>> data = StudyData(pl.DataFrame({**columns, "total_cost": [1.5, 2.0, 0.5]}))
        >>> data.sorted_checkpoints(["total_cost"])["total_cost"].to_list()
        [1.5, 2.0, 0.5]
        """
        metrics = list(metrics)
        kinds = {name: self._kind(name) for name in ("period_start", "period_end", *metrics)}
        self.columns(kinds, list(kinds), [])
        periods = self._layout[0]
        measured = [self._value(name, self._kind(name)) for name in (*metrics, *counts)]
        return periods.hstack([*measured, *(self._value(name, "flag") for name in flags)])

    @cached_property
    def per_run(self) -> frozenset[str]:
        """The ids, as in `names`, of the studies with the cadence ``"per-run"``; empty if unknown."""
        if self.studies is None or "metadata" not in map(str, self.studies.columns):
            return frozenset()
        rows = read_columns(self.studies, STUDIES, ["study_id", "name"], [])
        texts = [_pairs(pairs) for pairs in self.studies["metadata"]]
        found = [row for row, metadata in zip(rows.rows(), texts, strict=True) if StudyConfig(metadata=metadata).cadence == PER_RUN]
        if [name.id for name in self.names] == [MISSING_STUDY]:
            return frozenset([MISSING_STUDY]) if len(found) == rows.height == 1 else frozenset()
        keys = {key for row in found for key in row}
        return frozenset(name.id for name in self.names if name.id in keys)

    @cached_property
    def gaps(self) -> pl.Series:
        """Whether there is a gap before each row of `sorted_checkpoints`.

        Null or false for the first row of a study. The time before a period is measured from the latest end of all earlier periods; half a
        period is a gap. In a study of runs, a gap is a missing run.
        """
        periods, _, row_numbers = self._layout
        latest_end = pl.col("end").cum_max().shift(1).over("study_id")
        gap = is_gap(pl.col("start") - latest_end, self._lengths)
        if self.per_run:
            kinds = self.column("period_type", CHECKPOINTS["period_type"])
            latest_start = pl.col("start").cum_max().shift(1).over("study_id")
            of_runs = misses_runs(latest_start, pl.col("start"), pl.lit(kinds if row_numbers is None else kinds.gather(row_numbers)))
            is_run = pl.col("study_id").cast(pl.String()).is_in(list(self.per_run))
            gap = pl.when(is_run).then(of_runs.fill_null(False)).otherwise(gap)
        return periods.select(gap.alias("gap")).to_series()

    @cached_property
    def _lengths(self) -> pl.Series:
        """The nominal period length of each row of `sorted_checkpoints`.

        It is determined by the period type; without one, it is the length of the period itself. For a monthly checkpoint, it is the length
        of the month that begins where the earlier periods of the study end.
        """
        periods, _, row_numbers = self._layout
        kinds = self.column("period_type", CHECKPOINTS["period_type"])
        kinds = kinds if row_numbers is None else kinds.gather(row_numbers)
        usual = kinds.replace_strict(_LENGTHS, default=None, return_dtype=pl.Duration("us"))
        # A gap before a monthly period is measured in the month in which the gap starts, as in the audit.
        latest_end = pl.col("end").cum_max().shift(1).over("study_id")
        month = pl.when(kinds == PeriodType.MONTHLY.value).then(latest_end.dt.offset_by("1mo") - latest_end)
        return periods.select(pl.coalesce(month, usual, pl.col("end") - pl.col("start")).alias("length")).to_series()

    def _value(self, name: str, kind: str) -> pl.Series:
        """Return the values of a column in the order of the layout."""

        def read() -> pl.Series:
            values, row_numbers = self.column(name, kind), self._layout[2]
            if kind == "duration":
                values = values.dt.total_microseconds() / 1e6
            elif values.dtype.is_float() and not math.isfinite(values.sum()):
                values = pl.select(pl.when(values.is_finite()).then(values).alias(name)).to_series()
            elif kind == "flag":
                values = values.fill_null(False)
            return values if row_numbers is None else values.gather(row_numbers)

        return _once(self._measured, (name, kind), read)

    @property
    def sorted_lifecycle(self) -> pl.DataFrame:
        """The lifecycle, sorted by study and position in the log."""
        return self._lifecycle[0]

    @cached_property
    def _lifecycle(self) -> tuple[pl.DataFrame, list[StudyName]]:
        if self.lifecycle is None:
            return labeled(empty_frame(LIFECYCLE), "at")
        rows, names = labeled(read_columns(self.lifecycle, LIFECYCLE, ["seq", "kind", "status", "at"], ["study_id", "study"]), "at")
        return rows.filter(pl.col("at").is_not_null()).sort("study_id", "seq", maintain_order=True), names

    def find(self, reference: Study | str, field: str = "study") -> StudyName:
        """Return the study that matches a reference.

        Parameters
        ----------
        reference
            A `Study`, an id, a name, a label, or the last characters of an id.
        field
            The name of the parameter, for messages.

        Raises
        ------
        StudyNotFoundError, AmbiguousStudyError
            If no study, or more than one, matches.
        InvalidInputError
            If `reference` is neither a `Study` nor a string.

        Examples
        --------
        >>> from datetime import datetime, timedelta, timezone
        >>> starts = [datetime(2026, 1, day, tzinfo=timezone.utc) for day in (1, 2, 1)]
        >>> columns = {"study": ["a", "a", "b"], "period_start": starts, "period_end": [start + timedelta(days=1) for start in starts]}
        >>> data = StudyData(pl.DataFrame({**columns, "total_cost": [1.5, 2.0, 0.5]}))
        >>> data.find("b").label
        'b'
        """
        return study_named(reference, self.known, field)

    def of(self, *references: Study | str) -> StudyData:
        """Return the data of some of the studies.

        Parameters
        ----------
        references
            Studies, ids, names, labels, or the last characters of ids.

        Raises
        ------
        StudyNotFoundError, AmbiguousStudyError
            If no study, or more than one, matches a reference.
        InvalidInputError
            If a reference is neither a `Study` nor a string.

        Examples
        --------
        >>> from datetime import datetime, timedelta, timezone
        >>> starts = [datetime(2026, 1, day, tzinfo=timezone.utc) for day in (1, 2, 1)]
        >>> columns = {"study": ["a", "a", "b"], "period_start": starts, "period_end": [start + timedelta(days=1) for start in starts]}
        >>> data = StudyData(pl.DataFrame({**columns, "total_cost": [1.5, 2.0, 0.5]}))
        >>> data.of("a")
        StudyData(2 checkpoints of 1 study, without lifecycle)
        """
        ids = list(dict.fromkeys(self.find(reference).id for reference in references))
        if set(ids) == {name.id for name in self.known}:
            return self
        lifecycle = None if self.lifecycle is None else _of_studies(self.lifecycle, ids, LIFECYCLE, "study")
        studies = None if self.studies is None else _of_studies(self.studies, ids, STUDIES, "name")
        notes = None if self.notes is None else _of_studies(self.notes, ids, NOTES, "study")
        amendments = None if self.amendments is None else _of_studies(self.amendments, ids, AMENDMENTS, "study")
        provenance = None if self.provenance is None else _of_studies(self.provenance, ids, PROVENANCE, "study")
        metrics = self.metrics if isinstance(self.metrics, Sequence) else _of_studies(self.metrics, ids, METRICS_FRAME, "study")
        checkpoints = _of_studies(self.checkpoints, ids, CHECKPOINTS, "study")
        malformed = None if self.malformed is None else self.malformed.filter(pl.col("study_id").is_in(ids))
        return StudyData(
            checkpoints, lifecycle, studies=studies, metrics=metrics, notes=notes, amendments=amendments, provenance=provenance,
            malformed=malformed, scope=self.scope,
        )  # fmt: skip


def study_data(source: DataLike, field: str = "data") -> StudyData:
    """Return the first argument of a chart or an analysis as a `StudyData`.

    Parameters
    ----------
    source
        A `StudyData`, a frame of checkpoints, or a result with checkpoints.
    field
        The name of the parameter, for messages.

    Raises
    ------
    InvalidInputError
        If `source` is of another type.
    """
    data = source if isinstance(source, StudyData) else getattr(source, "data", None)
    if isinstance(data, StudyData):
        return data
    if isinstance(source, tuple):
        hint = "Pass kit.data(), or StudyData(checkpoints, lifecycle)."
        raise InvalidInputError(f"Invalid {field}: expected data or a DataFrame, got a tuple", hint=hint, field=field, value=source)
    check_frame(source, "kit.data() or kit.checkpoints()", field)
    return StudyData(source)  # type: ignore[arg-type]


def study_named(reference: Study | str, names: Sequence[StudyName], field: str = "study") -> StudyName:
    """Return the study that matches a reference, by label, id or name.

    Raises
    ------
    StudyNotFoundError, AmbiguousStudyError
        If no study, or more than one, matches.
    InvalidInputError
        If `reference` is neither a `Study` nor a string.
    """
    labels = [name for name in names if name.label == reference and name.label != name.name]
    if labels:
        return labels[0]
    study_id = resolve_study(reference, [(name.id, name.name) for name in names], field=field)
    return next(name for name in names if name.id == study_id)


def _of_studies(frame: FrameLike, ids: list[str], kinds: Mapping[str, str], name: str) -> Any:
    """Return the rows of some studies, by id, or by name if the frame has no ids."""
    columns = read_columns(frame, kinds, [], ["study_id", name])
    if columns["study_id"].null_count() == columns[name].null_count() == columns.height > 0:
        return frame  # without study columns, all rows belong to the single study
    kept = columns.select(pl.coalesce("study_id", name).is_in(ids) | pl.col(name).is_in(ids).fill_null(False)).to_series().fill_null(False)
    return frame.filter(kept) if isinstance(frame, pl.DataFrame) else frame[kept.to_numpy()]


def _pairs(pairs: Any) -> dict[str, str]:
    """Return the metadata of a study in a frame: pairs with a key and a value."""
    pairs = [] if pairs is None or isinstance(pairs, float) else list(pairs)
    return {str(pair["key"]): str(pair["value"]) for pair in pairs}


def _once(cache: dict[tuple[str, str], pl.Series], key: tuple[str, str], compute: Callable[[], pl.Series]) -> pl.Series:
    if key not in cache:
        cache[key] = compute()
    return cache[key]


def _in_order(columns: Sequence[str]) -> pl.Expr:
    """Return an expression that is true if rows are sorted by the columns.

    The first column is an enumeration.
    """
    order = [pl.col(columns[0]).to_physical(), *(pl.col(name) for name in columns[1:])]
    ascending = pl.lit(True)
    for part in reversed(order):
        previous = part.shift(1)
        ascending = (previous < part) | ((previous == part) & ascending)
    return ascending.fill_null(True).all()
