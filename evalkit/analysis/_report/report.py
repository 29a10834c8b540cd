"""The report on a study: a file in HTML, Markdown or JSON."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from evalkit._util.atomic_files import missing_folder, writing
from evalkit.analysis._report.content_builder import build_content
from evalkit.analysis._report.figures import figures
from evalkit.analysis._report.render import html, markdown
from evalkit.analysis._report.study_analysis import StudyAnalysis, analyze_study, only_study
from evalkit.domain.refusals import invalid
from evalkit.frames.study_data import study_data

if TYPE_CHECKING:
    from evalkit.domain.study import Study
    from evalkit.frames.study_data import DataLike

__all__ = ["report"]

_EXTENSIONS = (".html", ".md", ".json")


def report(
    data: DataLike,
    path: str | os.PathLike[str],
    *,
    study: Study | str | None = None,
    baseline: Study | str | None = None,
    metrics: Sequence[str] | str | None = None,
) -> Path:
    """Write a report on a study as HTML, Markdown or JSON.

    A report has a summary, the lifecycle, the trend of every metric, shifts, the comparison with a baseline, notes, restatements (values
    that were amended, and retractions), the audit of the data, the methods, and a digest of the underlying events. Results have confidence
    intervals and p-values. All p-values are adjusted together for multiple comparisons (Holm): if nothing changed, at most 5% of reports
    have a significant result, as simulated for autocorrelations up to 0.5.

    Parameters
    ----------
    data
        A `StudyData`, as ``kit.data()`` returns it with the lifecycle and the description of the study; or a frame as
        ``kit.checkpoints()`` returns it.
    path
        The output file, which is overwritten. Its extension selects the format: ``.html`` (a self-contained page with charts, without
        scripts), ``.md`` (without charts) or ``.json`` (see docs/report.schema.json; rates 0 to 1, durations in seconds, times in
        RFC 3339, missing values null).
    study
        The study: a `Study`, an id, a name, or the last 4 or more characters of an id. None for the only study of the data.
    baseline
        Another study of the data to compare with, passed like `study`. None for no comparison.
    metrics
        Names of metrics; None for the 16 and the custom metrics with ``primary=True``. Fewer metrics give more statistical power.

    Returns
    -------
    pathlib.Path
        The output file. It is written atomically: on an error an existing file is unchanged. The same events give the same bytes with
        the same versions of evalkit and its dependencies (for HTML also with the same fonts, which determine the layout of charts).

    Raises
    ------
    InvalidInputError
        If the extension is not supported, the file cannot be written, a metric is unknown, study and baseline are the same, or the data
        has several studies and no `study` is passed.
    StudyNotFoundError, AmbiguousStudyError
        If no study, or more than one, matches `study` or `baseline`.
    MissingExtraError
        If the packages of the extra ``analysis`` are not installed.

    See Also
    --------
    evalkit.EvalKit.report : The same for a study of a kit.

    Examples
    --------
    >>> import json, tempfile
    >>> import polars as pl
    >>> from evalkit import analysis, samples
    >>> checkpoints = pl.DataFrame(samples.sample_checkpoints("daily", "2026-01-01T00:00:00Z", 30, seed=1))
    >>> path = analysis.report(checkpoints, tempfile.mkdtemp() + "/report.json", metrics="total_cost")
    >>> json.loads(path.read_text("utf-8"))["in_short"][0]
    'No significant trend or shift (1 metric, 30 checkpoints).'
    """
    if not isinstance(path, str | os.PathLike):
        raise invalid("path", path, "expected a file name, e.g. 'report.html'")
    target = Path(path)
    extension = target.suffix.lower()
    if extension not in _EXTENSIONS:
        raise invalid("path", target.name, f"expected the extension {', '.join(_EXTENSIONS[:-1])} or {_EXTENSIONS[-1]}")
    if not target.absolute().parent.is_dir():
        raise missing_folder(target, field="path")
    prepared = study_data(data)
    subject = only_study(prepared) if study is None else prepared.find(study)
    other = None if baseline is None else prepared.find(baseline, "baseline")
    if other == subject:
        raise invalid("baseline", baseline, "it is the study itself", hint="Choose another study.")
    text = _rendered(extension, analyze_study(prepared, subject, other, metrics))
    with writing(target) as file:
        file.write(text.encode())
    return target


def _rendered(extension: str, analysis: StudyAnalysis) -> str:
    content = build_content(analysis)
    if extension == ".json":
        return content.model_dump_json(indent=1) + "\n"
    return markdown(content) if extension == ".md" else html(content, figures(analysis))
