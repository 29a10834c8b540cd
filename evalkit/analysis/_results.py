"""Base classes of results.

A result has numbers as attributes, a table, a chart, and text from `evalkit.analysis._wording`.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from html import escape
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Self, TypeVar

import polars as pl

from evalkit.analysis import _wording
from evalkit.analysis._series import Caveat, MetricSeries, all_series
from evalkit.domain.definitions import Metric
from evalkit.domain.verdicts import Verdict
from evalkit.errors import AmbiguousStudyError, InvalidInputError, StudyNotFoundError
from evalkit.frames.normalize import StudyName, to_library_of
from evalkit.frames.study_data import StudyData, study_data, study_named

if TYPE_CHECKING:
    import altair as alt

    from evalkit.analysis._audit.audit import Audit
    from evalkit.domain.study import Study
    from evalkit.frames.normalize import FrameLike
    from evalkit.frames.study_data import DataLike

__all__ = ["LINE", "MARKS", "MetricResult", "PerStudy", "Result", "StudyResult", "by_study", "holm", "in_markdown", "table"]

MARKS = {"at": "time", "low": "time", "high": "time", "text": "text"}
"""The columns of times that charts mark."""
LINE = {"part": "count", "at": "time", "value": "number", "low": "number", "high": "number"}
"""The columns of fitted lines that charts draw, one line for each `part`."""
_SPECIAL = re.compile(r"[\\`*_\[\]|~$>]")
"""Characters that are markup anywhere in Markdown."""
_SPECIAL_AT_START = re.compile(rf"{_SPECIAL.pattern}|^\s*(?:[#+-]|\d+[.)])", re.MULTILINE)
"""`_SPECIAL`, and markup at the start of a line."""
_TYPES = {"text": pl.String(), "texts": pl.List(pl.String()), "count": pl.Int64(), "time": pl.Datetime("us", "UTC")}


class Result(ABC):
    """Base class of results, which display as text with all markup escaped."""

    @abstractmethod
    def sentences(self) -> list[str]:
        """Return the result as text, one string per paragraph.

        The first paragraph is the result in one line. Details, the method and the caveats follow.
        """

    @abstractmethod
    def plot(self) -> alt.TopLevelMixin:
        """Draw the result as an Altair chart."""

    def __repr__(self) -> str:
        return "\n".join(self.sentences())

    def _repr_markdown_(self) -> str:
        return "\n\n".join(in_markdown(sentence) for sentence in self.sentences())

    def _repr_html_(self) -> str:
        return "".join(f"<p>{escape(sentence)}</p>" for sentence in self.sentences())


@dataclass(frozen=True, repr=False, eq=False, kw_only=True)
class MetricResult(Result):
    """Base class of results for one metric.

    Attributes
    ----------
    metric
        The metric.
    constant
        Whether all values are equal, in which case nothing is tested.
    p_corrected
        The p-value adjusted for multiple comparisons (Holm); it decides the verdict.
    """

    metric: Metric
    constant: bool = False
    p_corrected: float | None = None
    _caveats: Sequence[Caveat] = ()
    _data: StudyData | None = None

    _COLUMNS: ClassVar[Mapping[str, str]] = {}

    @property
    @abstractmethod
    def p(self) -> float | None:
        """The p-value; None when nothing was tested."""

    @property
    @abstractmethod
    def verdict(self) -> Verdict:
        """The conclusion."""

    @abstractmethod
    def _rows(self) -> list[dict[str, Any]]:
        """Return the rows of the table."""

    @property
    def caveats(self) -> list[str]:
        """Limitations of the result, one sentence each."""
        return [_wording.caveat(caveat) for caveat in self._caveats]

    @cached_property
    def frame(self) -> FrameLike:
        """The result as a table, in the library (Polars or pandas) of the data."""
        rows = table(self._rows(), self._COLUMNS)
        return rows if self._data is None else to_library_of(self._data.checkpoints, rows, self._COLUMNS)

    def _findings(self, study_id: str) -> Audit | None:
        from evalkit.analysis._audit.audit import audit  # circular: an `Audit` is a `Result`

        if self._data is None or not study_id:  # a study without checkpoints
            return None
        return self._data.once(f"findings {study_id} {self.metric.name}", lambda data: audit(data).filter(self.metric.name, study=study_id))

    def _drawn(self, *study_ids: str, **options: Any) -> alt.LayerChart:
        """Draw the metric over time for some studies."""
        from evalkit.plots import trend

        if self._data is None:
            raise InvalidInputError("Cannot plot this result: it was computed without checkpoints", field="plot", value=self.metric.name)
        return trend(self._data.of(*study_ids), self.metric.name, **options)


@dataclass(frozen=True, repr=False, eq=False, kw_only=True)
class StudyResult(MetricResult):
    """Base class of results for one metric in one study.

    Attributes
    ----------
    study_id, study
        Id and label of the study.
    """

    study_id: str
    study: str

    _DRAWN_AS: ClassVar[tuple[str, ...]] = ()

    def _adjusted(self, p_corrected: float | None) -> Self:
        """Return the result with its p-value adjusted for multiple comparisons."""
        return replace(self, p_corrected=p_corrected)

    @property
    def findings(self) -> Audit | None:
        """Findings of the audit about this metric of the study; the audit runs on first access."""
        return self._findings(self.study_id)

    def plot(self) -> alt.LayerChart:
        """Draw the metric of this study over time, with the result.

        Examples
        --------
        >>> import polars as pl
        >>> from evalkit import analysis, samples
        >>> nights = pl.DataFrame(samples.sample_checkpoints("daily", "2026-01-01T00:00:00Z", 8, seed=1))
        >>> chart = analysis.trend(nights, "total_cost").only().plot()
        """
        return self._drawn(self.study_id, **dict.fromkeys(self._DRAWN_AS, self))


T = TypeVar("T", bound=StudyResult)
U = TypeVar("U")


@dataclass(frozen=True, repr=False, eq=False)
class PerStudy(Result, Mapping[str, T], Generic[T]):
    """Results by study: a mapping from study labels to results.

    ``result["nightly"]`` selects a study by name, id, end of the id, or `Study`.

    Attributes
    ----------
    results
        The results, ordered by the start of the studies.

    Examples
    --------
    >>> import polars as pl
    >>> from evalkit import analysis, samples
    >>> rows = [pl.DataFrame(samples.sample_checkpoints("daily", "2026-01-01T00:00:00Z", 5, seed=seed)) for seed in (1, 2)]
    >>> nights = pl.concat([rows[0].with_columns(study=pl.lit("nightly")), rows[1].with_columns(study=pl.lit("weekend"))])
    >>> result = analysis.trend(nights, "total_cost")
    >>> list(result), result["weekend"].checkpoints
    (['nightly', 'weekend'], 5)
    """

    results: list[T]
    _data: StudyData
    _metric: Metric
    _kind: type[T]

    @cached_property
    def frame(self) -> FrameLike:
        """The results as a table, in the library (Polars or pandas) of the data.

        One row per study, or per shift of a study.
        """
        rows = table([row for result in self.results for row in result._rows()], self._kind._COLUMNS)
        return to_library_of(self._data.checkpoints, rows, self._kind._COLUMNS)

    def only(self) -> T:
        """Return the result of the only study.

        Raises
        ------
        InvalidInputError
            When there are results of several studies, or none.

        Examples
        --------
        >>> import polars as pl
        >>> from evalkit import analysis, samples
        >>> nights = pl.DataFrame(samples.sample_checkpoints("daily", "2026-01-01T00:00:00Z", 8, seed=1))
        >>> analysis.trend(nights, "total_cost").only().checkpoints
        8
        """
        if len(self.results) == 1:
            return self.results[0]
        problem, hint = _wording.several_results([*self])
        raise InvalidInputError(problem, hint=hint, field="study", value=[*self])

    def __getitem__(self, study: Study | str) -> T:
        name = study_named(study, [self._name(result) for result in self.results])
        return next(result for result in self.results if result.study_id == name.id)

    def _name(self, result: T) -> StudyName:
        matches = (name for name in self._data.names if name.id == result.study_id)
        return next(matches, StudyName(result.study_id, result.study, result.study))

    def __contains__(self, study: object) -> bool:
        try:
            self[study]  # type: ignore[index]
        except AmbiguousStudyError:
            return True
        except (StudyNotFoundError, InvalidInputError):
            return False
        return True

    def get(self, study: Study | str, default: U = None) -> T | U:  # type: ignore[assignment]
        """Return the result of a study, or `default` when no study matches.

        Examples
        --------
        >>> import polars as pl
        >>> from evalkit import analysis, samples
        >>> nights = pl.DataFrame(samples.sample_checkpoints("daily", "2026-01-01T00:00:00Z", 8, seed=1))
        >>> print(analysis.trend(nights, "total_cost").get("weekend"))
        None
        """
        try:
            return self[study]
        except StudyNotFoundError:
            return default

    @property
    def findings(self) -> Audit:
        """Findings of the audit about this metric of all studies; the audit runs on first access."""
        from evalkit.analysis._audit.audit import audit  # circular: an `Audit` is a `Result`

        return audit(self._data).filter(self._metric.name)

    def __iter__(self) -> Iterator[str]:
        return (result.study for result in self.results)

    def __len__(self) -> int:
        return len(self.results)

    def sentences(self) -> list[str]:
        """Return the results as text, one string per paragraph.

        For more than three studies, the text is the number of studies with each verdict.

        Examples
        --------
        >>> import polars as pl
        >>> from evalkit import analysis, samples
        >>> nights = pl.DataFrame(samples.sample_checkpoints("daily", "2026-01-01T00:00:00Z", 5, seed=1))
        >>> print(analysis.trend(nights, "total_cost").sentences()[0])
        Total cost: insufficient data (5 checkpoints; at least 8 are needed).
        """
        return _wording.per_study(self.results)

    def plot(self) -> alt.LayerChart:
        """Draw the metric of all studies over time, with the results.

        Examples
        --------
        >>> import polars as pl
        >>> from evalkit import analysis, samples
        >>> nights = pl.DataFrame(samples.sample_checkpoints("daily", "2026-01-01T00:00:00Z", 8, seed=1))
        >>> chart = analysis.trend(nights, "total_cost").plot()
        """
        from evalkit.plots import trend

        options: dict[str, Any] = dict.fromkeys(self._kind._DRAWN_AS, self)
        return trend(self._data, self._metric.name, **options)


def by_study(data: DataLike, metric: str, analyze: Callable[[MetricSeries, StudyData], T], kind: type[T]) -> PerStudy[T]:
    """Analyze one metric of each study, and adjust the p-values for multiple comparisons."""
    prepared = study_data(data)
    results = [analyze(series, prepared) for series in all_series(prepared, metric)]
    adjusted = holm([result.p for result in results])
    return PerStudy([result._adjusted(p) for result, p in zip(results, adjusted, strict=True)], prepared, prepared.metric(metric), kind)


def holm(ps: Sequence[float | None]) -> list[float | None]:
    """Adjust p-values for multiple comparisons by Holm's method.

    None means not tested: it stays None and is not counted.

    Source: S. Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6 (1979), 65-70.
    """
    adjusted = list(ps)
    tested = sorted((p, place) for place, p in enumerate(ps) if p is not None)
    least = 0.0
    for rank, (p, place) in enumerate(tested):
        adjusted[place] = least = max(least, min(1.0, (len(tested) - rank) * p))
    return adjusted


def table(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str]) -> pl.DataFrame:
    """Return rows as a Polars table.

    `columns` has the kind of each column: text, texts, count, number or time.
    """
    return pl.DataFrame(list(rows), schema={name: _TYPES.get(kind, pl.Float64()) for name, kind in columns.items()}, orient="row")


def in_markdown(text: str, *, within: bool = False) -> str:
    r"""Return a text with all Markdown and HTML markup escaped.

    Parameters
    ----------
    text
        Any text.
    within
        Whether the text is inside a line, such as the cell of a table, where markup at the start of a line does not apply.

    Examples
    --------
    >>> print(in_markdown("1. *bold*"))
    1\. \*bold\*
    """
    return escape((_SPECIAL if within else _SPECIAL_AT_START).sub(_escaped, text), quote=False)


def _escaped(match: re.Match[str]) -> str:
    """Put a backslash before the last character, such as the period of ``1.``."""
    return f"{match[0][:-1]}\\{match[0][-1]}"
