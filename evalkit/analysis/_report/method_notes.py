"""The methods of a report, with references."""

from __future__ import annotations

from evalkit.analysis._compare import FEWEST as FEWEST_PAIRS
from evalkit.analysis._report.content import MethodNote
from evalkit.analysis._stats.shift import FEWEST as FEWEST_FOR_SHIFT
from evalkit.analysis._trend import FEWEST, FEWEST_FOR_NO_TREND
from evalkit.analysis._wording import METHOD
from evalkit.domain.verdicts import ALPHA, Verdict

__all__ = ["method_notes"]


def method_notes(*, compared: bool) -> list[MethodNote]:
    """Return a note on each method of a report.

    Parameters
    ----------
    compared
        Whether the report compares the study with a baseline.
    """
    notes = [
        MethodNote(
            what="Trends",
            how=f"Slope of a straight line over time: {METHOD}; 95% confidence intervals. At least {FEWEST} values at distinct times are "
            f"required. “{Verdict.NO_TREND}”: not significant, with at least {FEWEST_FOR_NO_TREND} values and an interval whose half-width "
            "is at most three standard deviations of a checkpoint, so that a change of that size would be detected in about half of the "
            f"studies or more; or constant values. “{Verdict.INSUFFICIENT_DATA}”: fewer values, a wider interval, or a slope that is "
            "significant only before the adjustment for multiple comparisons.",
            source="A. Zellner, G. C. Tiao, Journal of the American Statistical Association 59 (1964), 763-778",
        ),
        MethodNote(
            what="Shifts",
            how="The largest step in the mean is compared with those in permuted residuals that have the same autocorrelation (estimated "
            "within blocks of ten values); the search is repeated on each side of a shift. "
            f"At least {FEWEST_FOR_SHIFT} values at distinct times are required, and the smallest possible p-value is 0.0005. The p-values "
            "of individual shifts of a metric are not adjusted.",
            source="E. S. Page, Biometrika 42 (1955), 523-527; J.-P. Kreiss, J. Franke, Journal of Time Series Analysis 13 (1992), 297-317",
        ),
    ]
    if compared:
        notes.append(
            MethodNote(
                what="Differences",
                how=f"Study − baseline, of means with equal weight for each checkpoint: {METHOD}; 95% confidence intervals. Paired by "
                f"period if there are at least {FEWEST_PAIRS} pairs and at least half as many as the shorter study has values; otherwise "
                "unpaired.",
                source="B. L. Welch, Biometrika 34 (1947), 28-35",
            )
        )
    return [
        *notes,
        MethodNote(
            what="Multiple comparisons",
            how=f"All p-values of this report are adjusted together (Holm); a result is significant if its adjusted p-value is at most "
            f"{ALPHA}. If nothing changed, at most {ALPHA * 100:.0f}% of reports contain a significant result, as simulated for "
            "autocorrelations up to 0.5; above about 0.7, it is higher, and so it is for long series of rates whose true value is "
            "autocorrelated (up to 9% for a single test of 120 checkpoints). Confidence intervals are not adjusted.",
            source="S. Holm, Scandinavian Journal of Statistics 6 (1979), 65-70",
        ),
        MethodNote(
            what="Means",
            how="Weighted by the denominator of the metric where it is recorded (pooled rates); otherwise checkpoints have equal weights. "
            "Missing values are excluded and never count as zero.",
            source=None,
        ),
        MethodNote(
            what="Audit",
            how="Checks for missing and overlapping periods, checkpoints outside the running time, sessions counted twice, and "
            "inconsistent values. No checkpoint is excluded from the analysis because of a finding.",
            source=None,
        ),
    ]
