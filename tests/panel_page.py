"""The panel in the browser, as a user sees and operates it: controls and texts by their accessible names."""

from __future__ import annotations

import re

from playwright.sync_api import Locator, expect

from tests.browser import Notebook

COMMANDS = ("Start", "Pause", "Resume", "Stop")
SHOWN_MS = 15_000
"""Timeout for the effect of a click on a busy machine; faster reactions are timed explicitly."""


class PanelPage:
    """The panel in the output of one cell."""

    def __init__(self, notebook: Notebook, cell: int) -> None:
        self.notebook = notebook
        self.root = notebook.cell(cell).locator(".evalkit-panel")
        self.rows = self.root.locator(".evalkit-item:visible")
        self.search = self.root.get_by_label("Search", exact=True)
        self.as_of = self.root.get_by_label("As of", exact=True)
        self.banner = self.root.locator(".evalkit-banner")
        self.metric = self.root.get_by_label("Metric", exact=True)
        self.name = self.root.locator(".evalkit-name")
        self.badge = self.root.locator(".evalkit-title .evalkit-badge")
        self.message = self.root.locator(".evalkit-message")
        self.chart = self.root.locator(".evalkit-chart svg")

    def button(self, name: str) -> Locator:
        return self.root.get_by_role("button", name=name, exact=True)

    def field(self, label: str) -> Locator:
        """Return a visible field; closed sections have fields with the same labels."""
        return self.root.get_by_label(label, exact=True).locator("visible=true")

    def open_form(self, title: str) -> None:
        """Open a section, unless it is open."""
        heading = self.button(title)
        if "mod-active" not in (heading.get_attribute("class") or ""):
            heading.click()
            expect(heading).to_have_attribute("title", "Press to close", timeout=SHOWN_MS)

    def ready(self) -> PanelPage:
        """Wait until the panel shows its first reading."""
        expect(self.message).not_to_contain_text("Loading", timeout=SHOWN_MS)
        return self

    def cut(self) -> list[str]:
        """Return the texts of labels and buttons that do not fit."""
        labels: list[str] = self.root.locator(".widget-label, .widget-button").evaluate_all(
            "all => all.filter(each => each.offsetParent && each.scrollWidth > each.clientWidth + 1).map(each => each.textContent)"
        )
        return labels

    def row(self, name: str) -> Locator:
        """Return the row of a study in the list."""
        return self.rows.filter(has_text=name)

    def choose(self, name: str) -> None:
        """Select a study in the list, which may have several pages: search for it first."""
        self.search.fill(name)
        expect(self.rows.filter(has_not_text=name)).to_have_count(0)  # a row that is hidden meanwhile cannot be pressed
        self.row(name).first.get_by_role("button").click()
        self.expect_name(name)
        self.search.fill("")

    def expect_name(self, name: str) -> None:
        expect(self.name).to_have_text(name, timeout=SHOWN_MS)

    def expect_status(self, status: str) -> None:
        """Check the status badge of the selected study."""
        expect(self.badge).to_have_text(status.capitalize(), timeout=SHOWN_MS)

    def expect_fact(self, label: str, text: str) -> None:
        """Check a fact about the selected study."""
        fact = self.root.locator(".evalkit-facts > div").filter(has=self.root.page.get_by_text(label, exact=True)).locator("dd")
        expect(fact).to_have_text(text, timeout=SHOWN_MS)

    def expect_buttons(self, *enabled: str) -> None:
        """Check that exactly these commands are enabled."""
        for name in COMMANDS:
            button = expect(self.button(name))
            button.to_be_enabled(timeout=SHOWN_MS) if name in enabled else button.to_be_disabled(timeout=SHOWN_MS)

    def press(self, name: str, status: str, message: str) -> None:
        """Press the button of a command and check the new status and the status line."""
        self.button(name).click()
        self.expect_status(status)
        expect(self.message).to_contain_text(message, timeout=SHOWN_MS)

    def drawing(self) -> str:
        """Return the accessible names of the chart's marks."""
        labels: list[str] = self.chart.locator("[aria-label]").evaluate_all("all => all.map(each => each.getAttribute('aria-label'))")
        return "\n".join(labels)

    def row_label(self, name: str) -> Locator:
        """Return the button of a study's row by its accessible name, which begins with the study's name."""
        return self.root.get_by_role("button", name=re.compile(f"^(Selected: )?{re.escape(name)}, "))
