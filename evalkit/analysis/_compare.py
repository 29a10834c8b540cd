"""Is A better than B: the difference of two studies, metric by metric, against a baseline that is always named."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import polars as pl

from evalkit.analysis._carried import Carried
from evalkit.analysis._difference import WORDS, Difference
from evalkit.analysis._given import checkpoints_of
from evalkit.analysis._observed import PARTIAL, Observed, find_study, observed_of
from evalkit.analysis._pairs import paired
from evalkit.analysis._per_study import holm, only_alone, table
from evalkit.analysis._phrases import ALIKE, ALONE, METHOD, WANDERS
from evalkit.analysis._result import Result, like
from evalkit.analysis._stats.ar1 import Estimate, Fit, fit
from evalkit.analysis._stats.trials import SAME_TASKS
from evalkit.domain.metrics import METRICS
from evalkit.domain.validation import invalid
from evalkit.frames.normalize import metric_named, read_checkpoints
from evalkit.plots._words import plural

__all__ = ["FEWEST", "Comparison", "Difference", "compare", "compare_of", "named_metrics"]

FEWEST = 8
"""Pairs, or checkpoints of each study, below which nothing is claimed."""
_ALL_TOLD = 3
_ALIKE = 1.2
"""Periods whose usual lengths differ by less count as equally long: months do."""
_COLUMNS = {
    "metric": "text", "label": "text", "verdict": "text", "study_mean": "number", "baseline_mean": "number", "difference": "number",
    "low": "number", "high": "number", "p": "number", "p_corrected": "number", "pairs": "count", "study_checkpoints": "count",
    "baseline_checkpoints": "count", "spread": "number", "autocorrelation": "number", "caveats": "texts",
}  # fmt: skip


class Comparison(Result):
    """A study against a baseline.

    Attributes
    ----------
    study, baseline
        Their labels.
    differences
        A `Difference` for each metric looked at.
    frame
        A row for each of them, in the library of the frame that was analysed.
    """

    def __init__(self, given: Any, study: str, baseline: str, differences: Sequence[Difference]) -> None:
        self.study, self.baseline = study, baseline
        self.differences = list(differences)
        self.frame = like(given, table([one.row() for one in differences], _COLUMNS), _COLUMNS)

    def __getitem__(self, metric: str) -> Difference:
        for one in self.differences:
            if one.metric.name == metric:
                return one
        raise invalid("metric", metric, f"was not compared; {', '.join(one.metric.name for one in self.differences)} were.")

    def sentences(self) -> list[str]:
        """Say in which metrics the study differs, the method, and each difference that was told."""
        if not self.differences:
            return [f"{self.study} against {self.baseline}: no metric has a value in both."]
        by_verdict = defaultdict(list)
        for one in self.differences:
            by_verdict[one.verdict].append(one.metric.label.lower())
        shown = [f"{verdict} in {len(names)} ({', '.join(names)})" for verdict, names in by_verdict.items() if verdict != "insufficient"]
        few = len(by_verdict["insufficient"])
        all_told = len(self.differences) <= _ALL_TOLD
        told = [one.sentences()[0] for one in self.differences if all_told or one.verdict in WORDS]
        hidden = [one.metric.label.lower() for one in self.differences if only_alone(one.p, one.p_corrected)]
        told += [f"{ALONE}: {', '.join(hidden)}."] if hidden else []
        tests = sum(one.p is not None for one in self.differences)
        correction = f"; p-values, not intervals, corrected for {plural(tests, 'metric')} (Holm)" if tests > 1 else ""
        method = f"Method: means over checkpoints, each counting the same; {METHOD}{correction}."
        overall = "; ".join([*shown, *([f"insufficient in {few}"] if few else [])])
        return [f"{self.study} against {self.baseline}: {overall}.", *told, method, *([] if all_told else self._rest())]

    def _rest(self) -> list[str]:
        """Say on what the differences that are not told one by one rest, and what to be careful about."""
        pairs = [one.pairs for one in self.differences if one.pairs]
        unpaired = sum(one.difference is not None and not one.pairs for one in self.differences)
        counts = f"{min(pairs, default=0):,}" + (f" to {max(pairs):,}" if len(set(pairs)) > 1 else "")
        rests = [f"{plural(len(pairs), 'metric')} in {counts} pairs of the same period"] if pairs else []
        rests += [f"{plural(unpaired, 'metric')} not paired"] if unpaired else []
        caveats = [
            caveat
            for one in self.differences
            for caveat in (*one.caveats, *([one.reason[0].upper() + one.reason[1:]] if one.reason else []))
        ]
        warnings = [sentence for one in self.differences for sentence in one.warnings()]
        first = [f"Rests on: {', '.join(rests)}. Intervals and counts of all: .frame."] if rests else []
        most = list(dict.fromkeys(caveats))
        more = [f"And {len(most) - _ALL_TOLD} more cautions: result[metric].caveats."] if len(most) > _ALL_TOLD else []
        return [" ".join([*first, *most[:_ALL_TOLD], *more, *list(dict.fromkeys(warnings))[:1]])] if first or most or warnings else []

    def plot(self) -> Any:
        """Draw each difference in standard deviations, with its interval."""
        from evalkit.plots._result_layers import differences

        return differences(self)


def compare(frame: Any, study: Any, *, baseline: Any, metrics: Sequence[str] | None = None) -> Comparison:
    """Compare a study with a baseline.

    Where both studies have a value in the same period, in 8 periods or more and at least half of those of the shorter one, the difference
    is that of these pairs, so that what moved both at a time does not count; else it is that of their means. Periods that overlap by more
    than half of the longer one count as the same, the nearest first, each once. Checkpoints that are neighbours may correlate, and the
    intervals allow for it. The p-values are corrected for the number of metrics looked at (Holm).

    Parameters
    ----------
    frame
        As ``kit.checkpoints()`` gives it, with both studies, Polars or Pandas; or ``(kit.checkpoints(), kit.lifecycle())``, so that a pause
        is not taken for missing checkpoints; or a result that has such a frame.
    study, baseline
        Which: a `Study`, an id, a name, or the last 4 or more characters of an id.
    metrics
        Names of `evalkit.METRICS`. None: all that have a value in both.

    Returns
    -------
    Comparison
        ``comparison["session_success_rate"]`` is the `Difference` in one metric, ``.frame`` the table of all.

    Raises
    ------
    InvalidInputError
        When the frame is none or lacks a column, there is no such metric or none at all, or study and baseline are the same or None.
    StudyNotFoundError, AmbiguousStudyError
        When no study of the frame, or more than one, is meant.
    MissingExtraError
        Without scipy.
    """
    given = checkpoints_of(frame)
    names = named_metrics(given, metrics)
    counts = sorted({METRICS[name].denominator for name in names} - {None, *names})  # type: ignore[type-var]
    flags = [PARTIAL] if any(METRICS[name].rollup == "sum" for name in names) else []
    rows = read_checkpoints(given, names, counts=counts, flags=flags)  # type: ignore[arg-type]
    one, other = find_study(rows, study), find_study(rows, baseline, "baseline")
    if one == other:
        raise invalid("baseline", baseline, "is the study itself; name another one.")
    parts = [rows.filter(pl.col("study_id").cast(pl.String()) == key) for key, _ in (one, other)]
    if metrics is None:
        names = [name for name in names if all(part[name].count() for part in parts)]
    carried = Carried(frame)
    found = [compare_of(parts[0], parts[1], name, carried) for name in names]
    corrected = holm([difference.p for difference in found])
    tests = sum(difference.p is not None for difference in found)
    judged = [difference.judged(p, tests) for difference, p in zip(found, corrected, strict=True)]
    return Comparison(given, one[1], other[1], judged)


def named_metrics(frame: Any, metrics: Sequence[str] | str | None) -> list[str]:
    """Give the metrics that are asked for; None stands for all that the frame has.

    Raises
    ------
    InvalidInputError
        When there is no such metric, or none is named.
    """
    if metrics is None:
        columns = set(map(str, getattr(frame, "columns", [])))
        return [name for name in METRICS if name in columns]
    if not isinstance(metrics, Iterable):
        raise invalid("metrics", metrics, "is no list of names; give names of evalkit.METRICS, or None for all.")
    asked = [metric_named(name, "metrics").name for name in ([metrics] if isinstance(metrics, str) else metrics)]
    if not asked:
        raise invalid("metrics", metrics, "names no metric; give names of evalkit.METRICS, or None for all.")
    return list(dict.fromkeys(asked))


def compare_of(study: pl.DataFrame, baseline: pl.DataFrame, name: str, carried: Carried | None = None) -> Difference:
    """Compare the rows of two studies, as `read_checkpoints` gives them, in one metric; the p-value not corrected."""
    one, other = observed_of(study, name), observed_of(baseline, name)
    pairs, means = paired(study, baseline, name)
    metric = METRICS[name]
    caveats = list(dict.fromkeys([*one.caveats, *other.caveats]))
    facts: dict[str, Any] = {
        "study": one.study, "baseline": other.study, "metric": metric, "study_checkpoints": one.checkpoints,
        "baseline_checkpoints": other.checkpoints, "used": (len(one.values), len(other.values)),
        "audited": carried and (carried.about(one), carried.about(other)),
    }  # fmt: skip
    shorter = min(len(one.values), len(other.values))
    half = min(one.different, other.different) / 2
    if len(pairs.values) >= FEWEST and pairs.different >= half:
        found = _level(pairs)
        told = found.estimate([1])
        kept = [caveat for caveat in caveats if caveat not in (one.averaging, other.averaging, SAME_TASKS)]
        caveats = [*kept, *_unused(pairs.checkpoints, one.different, other.different), *pairs.caveats, *_cautions(told, found)]
        return Difference(
            **facts, caveats=caveats, constant=pairs.constant and told.value == 0, study_mean=means[0], baseline_mean=means[1],
            difference=told, pairs=pairs.checkpoints, spread=found.spread, spread_of=pairs.single, autocorrelation=found.correlation,
        )  # fmt: skip
    if metric.rollup == "sum" and not _as_long(study, baseline):
        reason = "a total of one period cannot be compared with that of a longer one; resample first."
        return Difference(**facts, caveats=caveats, reason=reason)
    facts |= {"study_mean": _mean(one), "baseline_mean": _mean(other)}
    if shorter < FEWEST:
        reason = f"{len(one.values)} and {len(other.values)} values of different times, {FEWEST} of each are needed."
        return Difference(**facts, caveats=caveats, reason=reason)
    caveats += _unpaired(pairs.checkpoints, pairs.different < half)
    fits = _level(one), _level(other)
    told = fits[0].mixture([1]).less(fits[1].mixture([1])).estimate()
    same = one.constant and other.constant and told.value == 0
    return Difference(
        **facts, caveats=[*caveats, *_cautions(told, *fits)], constant=same, difference=told,
        spread=math.hypot(*(each.spread for each in fits)),
        spread_of=" and ".join(dict.fromkeys((one.single, other.single))), autocorrelation=sum(each.correlation for each in fits) / 2,
    )  # fmt: skip


def _unused(pairs: int, one: int, other: int) -> list[str]:
    """Say that checkpoints of which the other study has no partner do not count."""
    used = f"The other periods of {one:,} and {other:,} checkpoints are not used."
    return [f"{pairs:,} periods have a value in both. {used}"] if pairs < max(one, other) else []


def _unpaired(pairs: int, less_than_half: bool) -> list[str]:
    """Say why the pairs that there are do not count."""
    few = "fewer than half of the shorter study's" if less_than_half else f"fewer than {FEWEST}"
    there = f"{plural(pairs, 'period has', 'periods have')} a value in both"
    return [f"{there}: {few}, so the two are compared unpaired."] if pairs else []


def _as_long(study: pl.DataFrame, baseline: pl.DataFrame) -> bool:
    lengths = [rows.select((pl.col("end") - pl.col("start")).dt.total_microseconds().median()).item() for rows in (study, baseline)]
    return bool(min(lengths) * _ALIKE >= max(lengths))


def _cautions(told: Estimate, *fits: Fit) -> list[str]:
    return [*([WANDERS] if any(each.wanders for each in fits) else []), *([] if told.half else [ALIKE])]


def _mean(series: Observed) -> float | None:
    return float(series.values.mean()) if len(series.values) else None


def _level(series: Observed) -> Fit:
    return fit(series.times, series.values, np.ones((len(series.values), 1)), *series.trials.floor)
