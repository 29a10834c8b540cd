"""One metric of one study as statistics need it: numbers in the order of time, and what must be said about them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import polars as pl

from evalkit.analysis._given import checkpoints_of
from evalkit.analysis._stats.ar1 import Array, constant
from evalkit.analysis._stats.trials import CHANCE, NO_TRIALS, SAME_TASKS, Trials, trials_of, with_chance
from evalkit.analysis._stretches import a_mean, averaged, averaged_note, stretch_of
from evalkit.domain.metrics import METRICS, Metric
from evalkit.domain.validation import invalid, nearest
from evalkit.errors import AmbiguousStudyError, StudyNotFoundError
from evalkit.frames.normalize import metric_named, read_checkpoints, studies_of
from evalkit.plots._words import plural

__all__ = ["PARTIAL", "Observed", "find_study", "observe", "observed_of", "whole_periods"]

_DAY = 86_400_000_000
PARTIAL = "partial"
"""The column that marks periods which checkpoints cover only in part: totals of them are too small."""
_UNEVEN = 10
_TOO_LARGE = 1e100  # their squares could not be added


@dataclass(frozen=True)
class Observed:
    """The measured values of one metric of one study.

    Attributes
    ----------
    times
        Microseconds since 1970 of the middles of the periods, ascending, no two the same.
    values
        In the unit of the metric; durations in seconds, rates 0 to 1.
    checkpoints, missing
        How many have a value, and how many do not, or have a total of a part of their period, which is left out.
    starts, ends
        When the period of each value starts and ends, microseconds since 1970; of averaged values the first start and the last end.
    caveats
        Sentences.
    trials
        What is known of the trials that a rate rests on.
    different
        How many values of different times there are; of a very long series before it is averaged.
    stretch
        Of a very long series the stretch of time that each value is the mean over, as ``day``; else empty.
    averaging
        The one of the caveats that says so; else empty.
    each
        Every checkpoint that has a value, by time: middle, value, start and end as t, v, a, b. None: they are the values.
    """

    study_id: str
    study: str
    metric: Metric
    times: Array
    values: Array
    starts: Array
    ends: Array
    checkpoints: int
    missing: int
    caveats: list[str] = field(default_factory=list)
    trials: Trials = NO_TRIALS
    different: int = 0
    stretch: str = ""
    averaging: str = ""
    each: pl.DataFrame | None = None

    @property
    def constant(self) -> bool:
        """Whether all values are the same: then there is nothing to test."""
        return constant(self.values)

    @property
    def days(self) -> Array:
        """Days since the first value."""
        return (self.times - self.times[:1]) / _DAY

    @property
    def single(self) -> str:
        """What one value is called: ``a period``, or of a very long series ``a day's mean``."""
        return a_mean(self.stretch) if self.stretch else "a period"

    def parted(self, microseconds: float) -> tuple[Observed, Observed]:
        """Give what lies wholly before a time and what lies wholly after it; no mean reaches over it."""
        each = self.each
        if each is None:
            each = pl.DataFrame({"t": self.times, "v": self.values, "a": self.starts, "b": self.ends})
        first, last = pl.min_horizontal("a", "b"), pl.max_horizontal("a", "b")
        sides = (last <= microseconds) & (first < microseconds), (first >= microseconds) & (last > microseconds)
        before, after = (each.filter(side) for side in sides)
        return self._of(before), self._of(after)

    def _of(self, each: pl.DataFrame) -> Observed:
        arrays = _arrays(averaged(_one_a_time(each), self.stretch))
        return replace(self, **arrays, checkpoints=each.height, each=each)

    @property
    def start(self) -> datetime | None:
        """When the first period starts; None without any."""
        return self.at(self.starts.min()) if len(self.starts) else None

    @property
    def end(self) -> datetime | None:
        """When the last period ends; None without any."""
        return self.at(self.ends.max()) if len(self.ends) else None

    def at(self, microseconds: float) -> datetime:
        """Give a time of this series as a datetime in UTC."""
        return datetime.fromisoformat("1970-01-01T00:00:00+00:00") + timedelta(microseconds=round(microseconds))


def observe(frame: Any, metric: str) -> list[Observed]:
    """Read one metric of a frame: a series for each study that has checkpoints, by study id.

    Raises
    ------
    InvalidInputError
        When the frame is none or lacks a column, or there is no such metric.
    """
    known = metric_named(metric)
    flags = [PARTIAL] if known.rollup == "sum" else []
    rows = read_checkpoints(checkpoints_of(frame), [metric], counts=[known.denominator] if known.denominator else [], flags=flags)
    return list(_each(rows, known))


def observed_of(rows: pl.DataFrame, metric: str) -> Observed:
    """Give one metric of rows that `read_checkpoints` gave, all of one study; without its denominator it rests on no known trials."""
    known = METRICS[metric]
    return _observed(rows, known if known.denominator in rows.columns else replace(known, denominator=None))


def _each(rows: pl.DataFrame, metric: Metric) -> Iterator[Observed]:
    for of_study in rows.partition_by("study_id", maintain_order=True):
        yield _observed(of_study, metric)


def whole_periods(rows: pl.DataFrame, metric: str) -> tuple[pl.DataFrame, list[str]]:
    """Leave out the totals of periods that are covered in part, and say so."""
    if METRICS[metric].rollup != "sum" or PARTIAL not in rows.columns:
        return rows, []
    whole = rows.filter(pl.col(PARTIAL).not_())
    left_out = rows.height - whole.height
    return whole, [f"Totals of {plural(left_out, 'period')} that checkpoints cover only in part are left out."] if left_out else []


def _observed(of_study: pl.DataFrame, metric: Metric) -> Observed:
    rows, partly = whole_periods(of_study, metric.name)
    measured = rows.filter(pl.col(metric.name).is_not_null())
    there = measured.filter(pl.col(metric.name).abs() < _TOO_LARGE)
    caveats, missing = [], rows.height - there.height
    if there.height < measured.height:
        caveats.append(f"{plural(measured.height - there.height, 'value')} of {_TOO_LARGE:g} or more: taken as missing.")
    if missing:
        left_out = "has no value and is left out" if missing == 1 else "have no value and are left out"
        caveats.append(f"{missing:,} of {plural(rows.height, 'checkpoint')} {left_out}; none counts as zero.")
    times = {name: pl.col(column).dt.timestamp("us") for name, column in (("t", "t"), ("a", "start"), ("b", "end"))}
    each = there.select(**times, v=pl.col(metric.name).cast(pl.Float64()))
    of_times = _one_a_time(each)
    if of_times.height < each.height:
        caveats.append(f"{plural(each.height - of_times.height, 'checkpoint')} of a time that another has: averaged to one value a time.")
    stretch = stretch_of(of_times["t"])
    arrays = _arrays(averaged(of_times, stretch))
    values = arrays["values"]
    averaging = averaged_note(of_times.height, stretch, len(values)) if stretch else ""
    caveats += [*([averaging] if averaging else []), *_uneven(there, metric), *partly]
    named = of_study[:1].select(pl.col("study_id", "label").cast(pl.String())).rows()
    study_id, label = named[0] if named else ("", "")
    one = trials_of(there if CHANCE in there.columns else with_chance(there.sort("t"), metric), metric.name)
    trials = replace(one, variance=one.variance * len(values) / max(1, there.height))  # of averaged values
    caveats += [SAME_TASKS] if trials.steady else []
    return Observed(
        study_id, label, metric, **arrays, checkpoints=there.height, missing=of_study.height - there.height, caveats=caveats,
        different=of_times.height, trials=trials, stretch=stretch, averaging=averaging, each=each,
    )  # fmt: skip


def _one_a_time(each: pl.DataFrame) -> pl.DataFrame:
    """Average values of the same time."""
    return each.group_by("t", maintain_order=True).agg(pl.col("v").mean(), pl.col("a").min(), pl.col("b").max())


def _arrays(series: pl.DataFrame) -> dict[str, Any]:
    """Give the columns of a series as what `Observed` calls them."""
    names = {"times": "t", "values": "v", "starts": "a", "ends": "b"}
    return {name: series[column].to_numpy().astype(np.float64) for name, column in names.items()}


def _uneven(there: pl.DataFrame, metric: Metric) -> list[str]:
    """Say that a rate of few counts as much as a rate of many, where that matters."""
    if metric.denominator is None:
        return []
    counts = there[metric.denominator].drop_nulls()
    if not (counts > 0).any():
        return []
    least, most = (int(end) for end in counts.filter(counts > 0).to_frame("n").select(pl.min("n"), pl.max("n").alias("m")).row(0))
    if most < _UNEVEN * least:
        return []
    counted = METRICS[metric.denominator].label.lower()
    return [f"The values rest on {least:,} to {most:,} {counted.split()[0]}; each checkpoint counts the same here."]


def find_study(rows: pl.DataFrame, reference: object, field: str = "study") -> tuple[str, str]:
    """Give the study of rows that a reference stands for, a `Study`, an id, a name, or the end of an id: (id, label).

    Raises
    ------
    StudyNotFoundError, AmbiguousStudyError
        When no study of the frame, or more than one, answers to it.
    InvalidInputError
        When it names none, as None does.
    """
    studies = studies_of(rows)
    names = [label for _, label in studies]
    listed = ", ".join(map(repr, names[:8])) + (" …" if len(names) > 8 else "")
    there = f"It has {listed}." if names else "It has no checkpoints at all."
    text = getattr(reference, "id", reference)
    if not isinstance(text, str):
        raise invalid(field, reference, f"names no study of the frame; give a Study, an id, a name, or the end of an id. {there}")
    exact = [one for one in studies if text in one]
    ends = [one for one in studies if len(text) >= 4 and one[0].endswith(text.lower())]
    named = [one for one in studies if one[1].startswith(f"{text} (…")]
    found = exact or named or ends
    if len(found) == 1:
        return found[0]
    if found:
        raise AmbiguousStudyError(
            f"{field}: {text!r} could be any of {len(found)} studies: {', '.join(f'{label!r} ({key})' for key, label in found[:8])}. "
            "Give the id.", reference=reference, candidates=[key for key, _ in found],
        )  # fmt: skip
    raise StudyNotFoundError(f"{field}: no study of the frame answers to {text!r}.{nearest(text, names)} {there}", reference=reference)
