"""The panel's widgets, their layout, and the display of a `PanelModel` in them."""

from __future__ import annotations

from datetime import datetime
from html import escape

import ipywidgets as widgets

from evalkit.domain.catalog import METRICS
from evalkit.domain.study import COMMANDS, StudyStatus
from evalkit.panel.form_view import FormView, Sections
from evalkit.panel.forms import CHECKPOINT_FIELDS, STUDY_FIELDS
from evalkit.panel.markup import feedback_html, message_html, study_html, style_html
from evalkit.panel.model import ALL, PanelModel
from evalkit.panel.study_list import StudyList
from evalkit.panel.traits import set_trait

__all__ = ["PanelView"]

_NEW_STUDY_NOTE = "A new study is pending until you start it. The number of planned periods is informative; it is not enforced."
_TOOLTIPS = {
    "start": "Start the study",
    "pause": "Pause the study; it can be resumed",
    "resume": "Resume the study",
    "stop": "Stop the study permanently, after a confirmation",
}


class PanelView:
    """All widgets of a panel; `root` contains all of them."""

    def __init__(self) -> None:
        statuses = [("All", ALL), *((status.value.capitalize(), status.value) for status in StudyStatus)]
        self.status = widgets.Dropdown(options=statuses, description="Status")
        self.search = widgets.Text(description="Search", placeholder="name, tag, metadata; Enter: next")
        self.age = widgets.HTML().add_class("evalkit-age")
        self.refresh = widgets.Button(description="Refresh", tooltip="Read the studies again now")
        self.list = StudyList()
        self.details = widgets.HTML()
        self.buttons = {name: widgets.Button(description=name.capitalize(), disabled=True) for name in COMMANDS}
        self.reason = widgets.HTML().add_class("evalkit-reason")
        self.commands = widgets.HBox([*self.buttons.values(), self.reason]).add_class("evalkit-commands")
        self.question = widgets.HTML()
        self.confirm = widgets.Button(description="Stop study", button_style="danger")
        self.cancel = widgets.Button(description="Cancel")
        self.confirmation = widgets.HBox([self.question, self.confirm, self.cancel], layout=widgets.Layout(display="none"))
        self.confirmation.add_class("evalkit-confirmation")
        self.message = widgets.HTML()
        metrics = [(metric.label, name) for name, metric in METRICS.items()]
        self.metric = widgets.Dropdown(options=metrics, description="Metric")
        self.chart_bar = widgets.Box([self.metric]).add_class("evalkit-chart-bar")
        self.chart = widgets.HTML().add_class("evalkit-chart")
        self.study_form = FormView("study", STUDY_FIELDS, "Create study")
        self.checkpoint_form = FormView("checkpoint", CHECKPOINT_FIELDS, "Record")
        self.forms = Sections({"New study": self.study_form.box, "Record checkpoint": self.checkpoint_form.box})
        self.root = self._root()

    def _root(self) -> widgets.VBox:
        toolbar = widgets.HBox([self.status, self.search, self.age, self.refresh]).add_class("evalkit-toolbar")
        parts = [self.details, self.commands, self.confirmation, self.message, self.chart_bar, self.chart]
        study = widgets.VBox(parts).add_class("evalkit-card").add_class("evalkit-study")
        columns = widgets.Box([self.list.box, study]).add_class("evalkit-columns")
        style = widgets.HTML(style_html(), layout=widgets.Layout(display="none"))
        return widgets.VBox([style, toolbar, columns, self.forms.box]).add_class("evalkit-panel")

    def show(self, model: PanelModel, now: datetime) -> None:
        """Show the state of the model, except the chart."""
        self.list.show(model)
        set_trait(self.status, "value", model.status_filter)
        set_trait(self.search, "value", model.text_filter)
        set_trait(self.metric, "value", model.metric)
        set_trait(self.details, "value", study_html(model))
        self._show_commands(model)
        set_trait(self.message, "value", message_html(model.message))
        # The message is repeated next to the pressed button; screen readers have already announced it.
        for form in (self.study_form, self.checkpoint_form):
            set_trait(form.feedback, "value", feedback_html(model.message) if model.message.form == form.name else "")
        self.show_age(model, now)
        self.show_forms(model)

    def _show_commands(self, model: PanelModel) -> None:
        reasons = model.unavailable()
        for name, button in self.buttons.items():
            available = name not in reasons
            set_trait(button, "disabled", not available)
            set_trait(button, "button_style", "" if not available else "danger" if name == "stop" else "primary")
            set_trait(button, "tooltip", reasons.get(name, _TOOLTIPS[name]))
        common = set(reasons.values()) if len(reasons) == len(self.buttons) and model.busy is None else set()
        set_trait(self.reason, "value", escape(common.pop()) if len(common) == 1 else "")
        for part in (self.commands, self.chart_bar):
            set_trait(part.layout, "display", "none" if model.study is None else None)
        study_to_stop = model.study if model.confirming is not None else None
        question = "" if study_to_stop is None else f"Stop {study_to_stop['name']!r} permanently? A stopped study cannot be resumed."
        set_trait(self.question, "value", question and f'<div role="alert">{escape(question)}</div>')
        set_trait(self.confirmation.layout, "display", "none" if study_to_stop is None else None)

    def show_age(self, model: PanelModel, now: datetime) -> None:
        """Show the age of the last reading."""
        set_trait(self.age, "value", escape(model.age(now)))

    def show_forms(self, model: PanelModel) -> None:
        """Show the texts in the forms and their problems."""
        new = model.study_form
        self.study_form.show(new.texts, new.problems(), sendable=model.can_create, editable=model.can_write, note=_NEW_STUDY_NOTE)
        form, study = model.checkpoint_form, model.study
        refusal = model.why_not_recordable
        if form is None or study is None:
            self.checkpoint_form.show({}, {}, sendable=False, editable=False, note=refusal or "")
            return
        note = refusal or f"Study: {study['name']}. Leave unmeasured metrics blank."
        duplicate = "This period already has a checkpoint; recording adds a duplicate." if model.period_is_recorded() else ""
        self.checkpoint_form.show(
            form.texts, form.problems(), sendable=model.can_record, editable=model.can_write and refusal is None, note=f"{note} {duplicate}"
        )

    def focus_selected(self, model: PanelModel) -> None:
        """Move the focus to the selected study, or to the search field if it is not listed."""
        if not self.list.focus(model.selected):
            self.search.focus()
