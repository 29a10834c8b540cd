"""A report on one study in a file that can be sent: HTML, Markdown or JSON."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from evalkit._util.atomic_files import writing
from evalkit.analysis._report.examination import Examination, examine, only_study
from evalkit.analysis._report.facts import content_of
from evalkit.analysis._report.figures import figures
from evalkit.analysis._report.render import html, markdown
from evalkit.domain.validation import invalid
from evalkit.frames.study_data import study_data

if TYPE_CHECKING:
    from evalkit.domain.study import Study
    from evalkit.frames.study_data import DataLike

__all__ = ["report"]

_FORMATS = (".html", ".md", ".json")


def report(
    data: DataLike,
    path: str | os.PathLike[str],
    *,
    study: Study | str | None = None,
    baseline: Study | str | None = None,
    metrics: Sequence[str] | str | None = None,
) -> Path:
    """Write a report on a study: what it is, what can be claimed of it and how surely, and whether the data can carry that.

    It has the lifecycle, every metric with its trend, shifts, the comparison with a baseline where one is given, the audit, the
    methods, and a digest of the events that it is computed from. All its p-values are adjusted together (Holm): with no effect at all it
    claims anything in at most 5 % of studies, as simulated for autocorrelations of neighbours up to 0.5.

    Parameters
    ----------
    data
        A `StudyData`, from ``kit.data()`` with the lifecycle and all that is known of the study; or a frame as ``kit.checkpoints()``
        returns it.
    path
        Its ending says the format: ``.html`` (one page with charts that needs no network and runs no script), ``.md`` (no charts),
        ``.json`` (see docs/report.schema.json; rates 0 to 1, durations in seconds, times RFC 3339, what is missing null).
    study
        Which study of the data: a `Study`, an id, a name, or the last four or more characters of an id. None: the only one.
    baseline
        Another study of the data to compare with, as `study`. None: no comparison.
    metrics
        Names of `evalkit.METRICS`. None: all. The fewer are asked for, the smaller an effect can be detected.

    Returns
    -------
    pathlib.Path
        Where it was written, whole: the old file stays if anything goes wrong. The same events give the same bytes with the same
        versions of evalkit and of the packages that it stands on (of HTML, with the same fonts as well, by which charts are laid out).

    Raises
    ------
    InvalidInputError
        When the extension is none of these, the file cannot be written, there is no such metric, study and baseline are the same, or the
        data has several studies and `study` is None.
    StudyNotFoundError, AmbiguousStudyError
        When no study, or more than one, matches `study` or `baseline`.
    MissingExtraError
        Without the packages of the extra ``analysis``.

    See Also
    --------
    evalkit.EvalKit.report : The same from a kit.
    """
    if not isinstance(path, str | os.PathLike):
        raise invalid("path", path, "is no path", "give, for example, 'report.html'")
    target = Path(path)
    if target.suffix.lower() not in _FORMATS:
        raise invalid("path", target.name, f"does not end in one of {', '.join(_FORMATS)}, which say the format.")
    if not target.absolute().parent.is_dir():
        raise invalid("path", str(path), "lies in no folder that exists", f"make {str(target.parent)!r} first")
    known = study_data(data)
    one = only_study(known) if study is None else known.find(study)
    other = None if baseline is None else known.find(baseline, "baseline")
    if other == one:
        raise invalid("baseline", baseline, "is the study itself", "name another one")
    text = _written(target.suffix.lower(), examine(known, one, other, metrics))
    with writing(target) as file:
        file.write(text.encode())
    return target


def _written(ending: str, examined: Examination) -> str:
    content = content_of(examined)
    if ending == ".json":
        return content.model_dump_json(indent=1) + "\n"
    return markdown(content) if ending == ".md" else html(content, figures(examined))
