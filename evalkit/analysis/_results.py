"""What every analysis returns: numbers as fields, a table, a chart, and sentences that `evalkit.analysis._wording` makes."""

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
from evalkit.domain.metrics import METRICS, Metric
from evalkit.domain.verdicts import Verdict
from evalkit.errors import AmbiguousStudyError, InvalidInputError, StudyNotFoundError
from evalkit.frames.normalize import StudyName, like
from evalkit.frames.study_data import StudyData, study_data, study_named

if TYPE_CHECKING:
    import altair as alt

    from evalkit.analysis._audit.audit import Audit
    from evalkit.domain.study import Study
    from evalkit.frames.normalize import FrameLike
    from evalkit.frames.study_data import DataLike

__all__ = ["LINE", "MARKS", "MetricResult", "PerStudy", "Result", "StudyResult", "by_study", "holm", "in_markdown", "table"]

MARKS = {"at": "time", "low": "time", "high": "time", "text": "text"}
"""The columns of moments that a chart marks."""
LINE = {"part": "count", "at": "time", "value": "number", "low": "number", "high": "number"}
"""The columns of straight lines that a chart draws, one for each `part`."""
_SPECIAL = re.compile(r"[\\`*_\[\]|~$>]")
"""What Markdown reads as markup anywhere."""
_BEGINS = re.compile(rf"{_SPECIAL.pattern}|^\s*(?:[#+-]|\d+[.)])", re.MULTILINE)
"""The same, and what it reads as markup at the beginning of a line."""
_TYPES = {"text": pl.String(), "texts": pl.List(pl.String()), "count": pl.Int64(), "time": pl.Datetime("us", "UTC")}


class Result(ABC):
    """What an analysis returns; it displays as sentences, and nothing in a study's name is read as markup."""

    @abstractmethod
    def sentences(self) -> list[str]:
        """Return the result in sentences: the method, the interval, the count, and the caveats."""

    @abstractmethod
    def plot(self) -> alt.TopLevelMixin:
        """Draw the result as an Altair chart that displays offline."""

    def __repr__(self) -> str:
        return "\n".join(self.sentences())

    def _repr_markdown_(self) -> str:
        return "\n\n".join(in_markdown(sentence) for sentence in self.sentences())

    def _repr_html_(self) -> str:
        return "".join(f"<p>{escape(sentence)}</p>" for sentence in self.sentences())


@dataclass(frozen=True, repr=False, eq=False, kw_only=True)
class MetricResult(Result):
    """What was computed of one metric.

    Attributes
    ----------
    metric
        Which metric.
    constant
        Whether all values are the same, so that nothing can be tested.
    p_corrected
        The p-value adjusted for multiple comparisons (Holm); `verdict` goes by it.
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
        """The p-value; None where nothing was tested."""

    @property
    @abstractmethod
    def verdict(self) -> Verdict:
        """What the analysis concludes."""

    @abstractmethod
    def _rows(self) -> list[dict[str, Any]]:
        """Return the rows of the table."""

    @property
    def caveats(self) -> list[str]:
        """What to be careful about, in sentences."""
        return [_wording.caveat(caveat) for caveat in self._caveats]

    @cached_property
    def frame(self) -> FrameLike:
        """The result as a table, in the library (Polars or pandas) of the data."""
        rows = table(self._rows(), self._COLUMNS)
        return rows if self._data is None else like(self._data.checkpoints, rows, self._COLUMNS)

    def _findings(self, study_id: str) -> Audit | None:
        from evalkit.analysis._audit.audit import audit  # which returns a `Result`

        return None if self._data is None else audit(self._data).filter(self.metric.name, study=study_id)

    def _drawn(self, *study_ids: str, **options: Any) -> alt.LayerChart:
        """Draw the metric of some studies over time."""
        from evalkit.plots import trend

        if self._data is None:
            raise InvalidInputError("plot: this result was computed without data to draw.", field="plot", value=self.metric.name)
        return trend(self._data.of(*study_ids), self.metric.name, **options)


@dataclass(frozen=True, repr=False, eq=False, kw_only=True)
class StudyResult(MetricResult):
    """What was computed of one metric in one study.

    Attributes
    ----------
    study_id, study
        Which study, by its id and its label.
    """

    study_id: str
    study: str

    _DRAWN_AS: ClassVar[tuple[str, ...]] = ()

    def _adjusted(self, p_corrected: float | None) -> Self:
        """Return the result with its p-value adjusted for multiple comparisons."""
        return replace(self, p_corrected=p_corrected)

    @property
    def findings(self) -> Audit | None:
        """What the audit found that touches this metric of this study; the audit runs when this is first read."""
        return self._findings(self.study_id)

    def plot(self) -> alt.LayerChart:
        """Draw the metric of this study over time with the result."""
        return self._drawn(self.study_id, **dict.fromkeys(self._DRAWN_AS, self))


T = TypeVar("T", bound=StudyResult)
U = TypeVar("U")


@dataclass(frozen=True, repr=False, eq=False)
class PerStudy(Result, Mapping[str, T], Generic[T]):
    """Results by study.

    ``result["nightly"]`` is that of one study, by its name, its id, the end of its id, or a `Study`; iterating gives the studies' labels.

    Attributes
    ----------
    results
        The results, in the order in which the studies begin.
    """

    results: list[T]
    _data: StudyData
    _metric: Metric
    _kind: type[T]

    @cached_property
    def frame(self) -> FrameLike:
        """A row for each study, or for each shift of a study, in the library (Polars or pandas) of the data."""
        rows = table([row for one in self.results for row in one._rows()], self._kind._COLUMNS)
        return like(self._data.checkpoints, rows, self._kind._COLUMNS)

    def only(self) -> T:
        """Return the result of the only study.

        Raises
        ------
        InvalidInputError
            When there are results of several studies, or none.
        """
        if len(self.results) == 1:
            return self.results[0]
        problem, hint = _wording.several_results([*self])
        raise InvalidInputError(problem, hint=hint, field="study", value=[*self])

    def __getitem__(self, study: Study | str) -> T:
        found = study_named(study, [self._name(one) for one in self.results])
        return next(one for one in self.results if one.study_id == found.id)

    def _name(self, one: T) -> StudyName:
        known = (name for name in self._data.names if name.id == one.study_id)
        return next(known, StudyName(one.study_id, one.study, one.study))

    def __contains__(self, study: object) -> bool:
        try:
            self[study]  # type: ignore[index]
        except AmbiguousStudyError:
            return True
        except (StudyNotFoundError, InvalidInputError):
            return False
        return True

    def get(self, study: Study | str, default: U = None) -> T | U:  # type: ignore[assignment]
        """Return the result of a study, or `default` where there is none."""
        try:
            return self[study]
        except StudyNotFoundError:
            return default

    @property
    def findings(self) -> Audit:
        """What the audit found that touches this metric of any of the studies; the audit runs when this is first read."""
        from evalkit.analysis._audit.audit import audit  # which returns a `Result`

        return audit(self._data).filter(self._metric.name)

    def __iter__(self) -> Iterator[str]:
        return (one.study for one in self.results)

    def __len__(self) -> int:
        return len(self.results)

    def sentences(self) -> list[str]:
        """Return all sentences of up to three studies; of more, how many have which verdict."""
        return _wording.per_study(self.results)

    def plot(self) -> alt.LayerChart:
        """Draw the metric over time with the results."""
        from evalkit.plots import trend

        options: dict[str, Any] = dict.fromkeys(self._kind._DRAWN_AS, self)
        return trend(self._data, self._metric.name, **options)


def by_study(data: DataLike, metric: str, analyze: Callable[[MetricSeries, StudyData], T], kind: type[T]) -> PerStudy[T]:
    """Analyze one metric of each study, and adjust the p-values for the number of studies."""
    known = study_data(data)
    results = [analyze(series, known) for series in all_series(known, metric)]
    adjusted = holm([one.p for one in results])
    return PerStudy([one._adjusted(p) for one, p in zip(results, adjusted, strict=True)], known, METRICS[metric], kind)


def holm(ps: Sequence[float | None]) -> list[float | None]:
    """Adjust p-values for how many there are, by Holm's method. None, where nothing was tested, stays and does not count.

    Source: S. Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6 (1979), 65-70.
    """
    adjusted = list(ps)
    tested = sorted((p, place) for place, p in enumerate(ps) if p is not None)
    least = 0.0
    for rank, (p, place) in enumerate(tested):
        adjusted[place] = least = max(least, min(1.0, (len(tested) - rank) * p))
    return adjusted


def table(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str]) -> pl.DataFrame:
    """Return rows as a table; `columns` says for each the kind: text, texts, count, number, time."""
    return pl.DataFrame(list(rows), schema={name: _TYPES.get(kind, pl.Float64()) for name, kind in columns.items()}, orient="row")


def in_markdown(text: str, *, within: bool = False) -> str:
    """Return a text so that Markdown shows it as it is, whatever characters a name in it has.

    Parameters
    ----------
    text
        Any text.
    within
        Whether it is within a line, as in a table's cell, so that its beginning is none of a line.
    """
    return escape((_SPECIAL if within else _BEGINS).sub(_escaped, text), quote=False)


def _escaped(match: re.Match[str]) -> str:
    """Put the backslash before the character that counts: of ``1.`` that is the full stop."""
    return f"{match[0][:-1]}\\{match[0][-1]}"
