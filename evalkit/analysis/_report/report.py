"""A report on one study in a file that can be sent: HTML, Markdown or JSON."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from evalkit._util.atomic_files import writing
from evalkit.analysis._report.charts import figures
from evalkit.analysis._report.facts import content_of
from evalkit.analysis._report.html import html
from evalkit.analysis._report.markdown import markdown
from evalkit.analysis._report.whole import StudyFrames, examine
from evalkit.domain.validation import invalid

if TYPE_CHECKING:
    from evalkit.domain.study import Study
    from evalkit.kit import EvalKit

__all__ = ["report"]

_FORMATS = (".html", ".md", ".json")


def report(
    kit: EvalKit,
    study: Study | str,
    path: str | os.PathLike[str],
    *,
    baseline: Study | str | None = None,
    metrics: Sequence[str] | None = None,
) -> Path:
    """Write a report on a study: what it is, what can be told of it and how surely, and whether the data can carry that.

    It has the lifecycle, every metric with its trend, shifts, the comparison with a baseline where one is given, the audit, the
    methods, and a digest of the events that it rests on. All its p-values are corrected together (Holm): with no effect at all it
    claims anything in at most 5 % of studies, as simulated for autocorrelations of neighbours up to 0.5.

    Parameters
    ----------
    kit
        Where the study is.
    study
        A `Study`, an id, a name, or the last four or more characters of an id.
    path
        Its ending says the format: ``.html`` (one page with charts that needs no network and runs no script), ``.md`` (no charts),
        ``.json`` (see docs/report.schema.json; rates 0 to 1, durations in seconds, times RFC 3339, what is missing null).
    baseline
        Another study to compare with, as `study`. None: no comparison.
    metrics
        Names of `evalkit.METRICS`. None: all. The fewer are asked for, the smaller an effect can be told.

    Returns
    -------
    pathlib.Path
        Where it was written, whole: the old file stays if anything goes wrong. The same events give the same bytes with the same
        versions of evalkit and of the packages that it stands on (of HTML, with the same fonts as well, by which charts are laid out).

    Raises
    ------
    InvalidInputError
        When the ending is none of these, the file cannot be written, there is no such metric, or study and baseline are the same.
    StudyNotFoundError, AmbiguousStudyError
        When no study, or more than one, answers to `study` or `baseline`.
    MissingExtraError
        Without the packages of the extra ``analysis``.
    """
    if not isinstance(path, str | os.PathLike):
        raise invalid("path", path, "is no path; give, for example, 'report.html'.")
    target = Path(path)
    if target.suffix.lower() not in _FORMATS:
        raise invalid("path", target.name, f"does not end in one of {', '.join(_FORMATS)}, which say the format.")
    if not target.absolute().parent.is_dir():
        raise invalid("path", str(path), f"lies in no folder that exists; make {str(target.parent)!r} first.")
    if not hasattr(kit, "resolve"):
        raise invalid("kit", type(kit).__name__, "is no kit; give what evalkit.connect() returned.")
    one = kit.resolve(study)
    other = None if baseline is None else kit.resolve(baseline)
    if other is not None and other.id == one.id:
        raise invalid("baseline", baseline, "is the study itself; name another one.")
    frames = _frames(kit, [one.id] if other is None else [one.id, other.id])
    text = _written(target.suffix.lower(), frames[0], frames[1] if other else None, metrics)
    with writing(target) as file:
        file.write(text.encode())
    return target


def _frames(kit: EvalKit, ids: list[str]) -> list[StudyFrames]:
    studies, checkpoints, lifecycle = kit.studies(), kit.checkpoints(ids), kit.lifecycle()
    return [
        StudyFrames(
            checkpoints.filter(study_id=one),
            lifecycle.filter(study_id=one),
            studies.row(by_predicate=pl.col("study_id") == one, named=True),
        )
        for one in ids
    ]


def _written(ending: str, study: StudyFrames, baseline: StudyFrames | None, metrics: Any) -> str:
    found = examine(study, baseline, metrics)
    content = content_of(found, study, baseline)
    if ending == ".json":
        return content.model_dump_json(indent=1) + "\n"
    if ending == ".md":
        return markdown(content)
    return html(content, figures(found, study, baseline))
