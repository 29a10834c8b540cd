"""Results by study, corrected for how many studies were looked at."""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Generic, Self, TypeVar

import polars as pl

from evalkit.analysis._audit.audit import Audit, Findings
from evalkit.analysis._result import Result, Told, like
from evalkit.domain.metrics import Metric
from evalkit.frames.normalize import NAMELESS
from evalkit.plots._words import plural

__all__ = ["ALPHA", "LINE", "MARKS", "OneStudy", "PerStudy", "holm", "only_alone", "table"]

ALPHA = 0.05
"""A p-value up to it counts as a finding."""
_TOLD = 3
MARKS = {"at": "time", "low": "time", "high": "time", "text": "text"}
"""The columns of moments that a chart marks."""
LINE = {"part": "count", "at": "time", "value": "number", "low": "number", "high": "number"}
"""The columns of straight lines that a chart draws, one for each `part`."""


@dataclass(frozen=True, repr=False, eq=False, kw_only=True)
class OneStudy(Told):
    """What was found of one metric in one study.

    Attributes
    ----------
    study_id, study, metric
        Which study, by its id and its label, and which metric.
    constant
        Whether all values are the same, so that nothing can be tested.
    p_corrected
        The p-value corrected for what else was looked at with it; `verdict` goes by it.
    caveats
        What to be careful about, in sentences.
    audited
        What computes `findings`.
    """

    study_id: str
    study: str
    metric: Metric
    constant: bool = False
    p_corrected: float | None = None
    caveats: list[str] = field(default_factory=list)
    audited: Findings | None = None

    @property
    def findings(self) -> Audit | None:
        """What the audit found that touches this metric of this study; computed when it is first read."""
        return None if self.audited is None else self.audited()

    @property
    def about(self) -> str:
        """Study and metric, as a sentence begins; the metric alone where the frame names no study."""
        return self.metric.label if self.study == NAMELESS else f"{self.study}, {self.metric.label.lower()}"

    @property
    @abstractmethod
    def p(self) -> float | None:
        """The p-value; None where there was nothing to test."""

    @property
    @abstractmethod
    def verdict(self) -> str:
        """A word or two for what was found."""

    @abstractmethod
    def row(self) -> dict[str, Any]:
        """Give the row of the table."""

    def rows(self) -> list[dict[str, Any]]:
        """Give the rows of the table: one, but where several things were found."""
        return [self.row()]

    def judged(self, p: float | None) -> Self:
        """Give the result with its p-value corrected for what else was looked at."""
        return replace(self, p_corrected=p)


def only_alone(p: float | None, corrected: float | None) -> bool:
    """Tell whether a p-value would be a finding alone, and is none beside all that was looked at."""
    return p is not None and corrected is not None and p <= ALPHA < corrected


T = TypeVar("T", bound=OneStudy)


class PerStudy(Result, Mapping[str, T], Generic[T]):
    """Results by study: a mapping from a study's label or id to its result.

    With one study the fields of its result are fields of this too: ``trend(frame, metric).slope``.

    Attributes
    ----------
    frame
        A row for each study, or for each thing that was found, in the library of the frame that was analysed.
    results
        In the order of the studies' ids.
    """

    def __init__(self, given: Any, results: Sequence[T], columns: Mapping[str, str], draw: Any) -> None:
        self.results = list(results)
        self.frame = like(given, table([row for one in self.results for row in one.rows()], columns), columns)
        self._draw = draw

    def __getitem__(self, study: str) -> T:
        for one in self.results:
            if study in (one.study, one.study_id):
                return one
        raise KeyError(f"{study!r} is none of {', '.join(repr(one.study) for one in self.results[:8])}")

    def __iter__(self) -> Iterator[str]:
        return (one.study for one in self.results)

    def __len__(self) -> int:
        return len(self.results)

    def __getattr__(self, name: str) -> Any:
        results = self.__dict__.get("results", [])
        if not name.startswith("_") and len(results) == 1:
            return getattr(results[0], name)
        several = f" These are results of {len(results)} studies: take one, result[{results[0].study!r}], or .frame." if results else ""
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}.{several}")

    def sentences(self) -> list[str]:
        """Give what was found in words: of up to three studies all, of more how many have which verdict."""
        if not self.results:
            return ["No study has a checkpoint in this frame."]
        if len(self.results) <= _TOLD:
            return [sentence for one in self.results for sentence in one.sentences()]
        counts = Counter(one.verdict for one in self.results)
        found = ", ".join(f"{verdict} {count}" for verdict, count in sorted(counts.items()))
        return [
            f"{plural(len(self.results), 'study', 'studies')}: {found}.",
            "The p-values are corrected for how many studies were looked at (Holm). One study in words: result['…']; all numbers: .frame.",
        ]

    def plot(self) -> Any:
        """Draw the metric over time with what was found."""
        return self._draw(self)


def holm(ps: Sequence[float | None]) -> list[float | None]:
    """Correct p-values for how many there are, by Holm's method. None, where there was nothing to test, stays and does not count.

    Source: S. Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6 (1979), 65-70.
    """
    corrected = list(ps)
    tested = sorted((p, place) for place, p in enumerate(ps) if p is not None)
    least = 0.0
    for rank, (p, place) in enumerate(tested):
        corrected[place] = least = max(least, min(1.0, (len(tested) - rank) * p))
    return corrected


_TYPES = {"text": pl.String(), "texts": pl.List(pl.String()), "count": pl.Int64(), "time": pl.Datetime("us", "UTC")}


def table(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str]) -> pl.DataFrame:
    """Give rows as a table; `columns` says for each the kind: text, count, number, time."""
    return pl.DataFrame(list(rows), schema={name: _TYPES.get(kind, pl.Float64()) for name, kind in columns.items()}, orient="row")
