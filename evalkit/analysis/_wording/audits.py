"""Audits as text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evalkit._util.text import plural

if TYPE_CHECKING:
    import polars as pl

    from evalkit.analysis._audit.audit import Audit

__all__ = ["audit", "audit_warning"]

_MOST_FINDINGS = 10


def audit(result: Audit, rows: pl.DataFrame) -> list[str]:
    """Return the number of findings, the most severe ones, and the skipped checks.

    Parameters
    ----------
    result
        The result.
    rows
        The findings, the most severe first, with their description in `text` and their advice in `advice`.
    """
    checked = f"{plural(result.checked, 'checkpoint')} of {plural(result.studies, 'study', 'studies')}"
    if rows.is_empty():
        return [f"Audit of {checked}: no problems found.", *result.unchecked]
    counts = (result.errors, result.warnings, result.notes)
    parts = [plural(count, name) for count, name in zip(counts, ("error", "warning", "note"), strict=True) if count]
    sentences = [f"Audit of {checked}: {_listed(parts)}."]
    named = rows["study_id"].n_unique() > 1 or result.studies > 1
    advised: set[str] = set()
    for row in rows.head(_MOST_FINDINGS).iter_rows(named=True):
        # Many studies may have findings of the same kind: its advice is shown once.
        advice = "" if row["kind"] in advised else f" {row['advice']}"
        advised.add(row["kind"])
        sentences.append(f"{row['severity'].capitalize()}: {row['study'] + ': ' if named else ''}{row['text']}{advice}")
    more = rows.height - _MOST_FINDINGS
    return [*sentences, *([f"{more:,} more in .frame."] if more > 0 else []), *result.unchecked]


def audit_warning(*audits: Audit | None) -> list[str]:
    """Return the number of audit errors and warnings for the data of a result.

    Empty without errors and warnings.
    """
    errors, warnings = (sum(getattr(each, kind) for each in audits if each is not None) for kind in ("errors", "warnings"))
    counts = [plural(count, word) for count, word in ((errors, "error"), (warnings, "warning")) if count]
    return [f"The audit reports {_listed(counts)} for this data; see .findings."] if counts else []


def _listed(parts: list[str]) -> str:
    return " and ".join([", ".join(parts[:-1])] * (len(parts) > 1) + parts[-1:])
