"""Parts of the panel as HTML. Every text that comes from a study is escaped here."""

from __future__ import annotations

from datetime import datetime
from functools import cache
from html import escape
from pathlib import Path

from evalkit.panel.model import Message, PanelModel

__all__ = ["badge", "feedback_html", "message_html", "no_values_html", "progress_bar", "study_html", "style_html"]


@cache
def style_html() -> str:
    """Return the panel's style sheet as an HTML element."""
    return f"<style>{Path(__file__).with_name('panel.css').read_text('utf-8')}</style>"


def badge(status: str) -> str:
    """Return a study's status as a colored badge with text.

    Examples
    --------
    >>> badge("running")
    '<span class="evalkit-badge evalkit-running">Running</span>'
    """
    return f'<span class="evalkit-badge evalkit-{status}">{status.capitalize()}</span>'


def progress_bar(fraction: float) -> str:
    """Return a progress bar, hidden from screen readers; show the progress as text too.

    Examples
    --------
    >>> progress_bar(0.375)
    '<span class="evalkit-bar" aria-hidden="true"><span style="width: 37.5%"></span></span>'
    """
    return f'<span class="evalkit-bar" aria-hidden="true"><span style="width: {fraction * 100:.3g}%"></span></span>'


def study_html(model: PanelModel) -> str:
    """Return the details of the selected study."""
    row = model.study
    if row is None:
        missing = "Details and a chart appear here once there is a study." if model.earlier is None else "No study existed then."
        hint = "Select a study to see its details." if model.studies else missing
        return f'<div class="evalkit-empty">{hint}</div>'
    study_id, fraction = row["study_id"], model.fraction(row)
    tooltip = f"Study id {study_id}. Click to select all of it."
    identifier = f'<span class="evalkit-id" title="{tooltip}"><span>{study_id[:-8]}</span>{study_id[-8:]}</span>'
    name = f'<span class="evalkit-name" role="heading" aria-level="3">{escape(row["name"])}</span>'
    parts = [f'<div class="evalkit-title">{name}{badge(row["status"])}{badge("archived") if row["archived"] else ""}{identifier}</div>']
    if row["description"]:
        parts.append(f'<p class="evalkit-description">{escape(row["description"])}</p>')
    labels = [*row["tags"], *(f"{pair['key']} = {pair['value']}" for pair in row["metadata"])]
    if labels:
        items = "".join(f'<span class="evalkit-label" role="listitem">{escape(label)}</span>' for label in labels)
        parts.append(f'<div class="evalkit-labels" role="list" aria-label="Tags and metadata">{items}</div>')
    bars = {} if fraction is None else {"Progress": progress_bar(fraction)}
    facts = "".join(f"<div><dt>{label}</dt><dd>{escape(text)}{bars.get(label, '')}</dd></div>" for label, text in model.facts())
    return "".join([*parts, f'<dl class="evalkit-facts">{facts}</dl>'])


def no_values_html(label: str) -> str:
    """Return the placeholder for a chart of a metric without values."""
    return f'<div class="evalkit-empty">No values of {escape(label.lower())} yet.</div>'


def message_html(message: Message) -> str:
    """Return the status line.

    Problems are alerts, because screen readers do not always announce a replaced live region that is not an alert.
    """
    role = 'role="alert"' if message.kind == "problem" else 'role="status" aria-live="polite"'
    at = f"<span>{_clock_time(message.at)}</span>"
    return f'<div {role} class="evalkit-message evalkit-{message.kind}"><span>{escape(message.text)}</span>{at}</div>'


def feedback_html(message: Message) -> str:
    """Return a message to show next to a form's button, hidden from screen readers.

    Examples
    --------
    >>> from datetime import UTC
    >>> feedback_html(Message("Created <x>.", "done", datetime(2026, 1, 31, 8, 30, tzinfo=UTC)))
    '<div aria-hidden="true" class="evalkit-feedback evalkit-done">Created &lt;x&gt;. (08:30:00 UTC)</div>'
    """
    text = escape(f"{message.text} ({_clock_time(message.at)})")
    return f'<div aria-hidden="true" class="evalkit-feedback evalkit-{message.kind}">{text}</div>'


def _clock_time(at: datetime) -> str:
    return f"{at:%H:%M:%S} UTC"
