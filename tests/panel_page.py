"""The panel as somebody sees and uses it in the browser: its buttons, fields and texts, by what they are called."""

from __future__ import annotations

from playwright.sync_api import Locator, expect

from tests.browser import Notebook

COMMANDS = ("Start", "Pause", "Resume", "Stop")
SHOWN_MS = 15_000
"""How long something that a click does may take on a machine that does much else; what must be quicker is timed."""


class PanelPage:
    """The panel in the output of one cell."""

    def __init__(self, notebook: Notebook, cell: int) -> None:
        self.notebook = notebook
        self.root = notebook.cell(cell).locator(".evalkit-panel")
        self.studies = self.root.get_by_label("Studies", exact=True)
        self.search = self.root.get_by_label("Search", exact=True)
        self.metric = self.root.get_by_label("Metric", exact=True)
        self.status = self.root.locator("[role=status], [role=alert]").filter(has_text="UTC:")
        self.chart = self.root.locator(".evalkit-chart svg")

    def button(self, name: str) -> Locator:
        return self.root.get_by_role("button", name=name, exact=True)

    def field(self, label: str) -> Locator:
        return self.root.get_by_label(label, exact=True)

    def open_form(self, title: str) -> None:
        """Open one of the forms, if it is not."""
        if not self.field("Name" if title == "New study" else "Period start (UTC)").is_visible():
            self.button(title).click()

    def ready(self) -> PanelPage:
        """Wait until the panel shows what it read."""
        expect(self.status).not_to_contain_text("Reading ...", timeout=SHOWN_MS)
        return self

    def cut(self) -> list[str]:
        """Give the names of controls that do not fit their place."""
        labels: list[str] = self.root.locator(".widget-label, .widget-button").evaluate_all(
            "all => all.filter(one => one.offsetParent && one.scrollWidth > one.clientWidth + 1).map(one => one.textContent)"
        )
        return labels

    def choose(self, name: str) -> None:
        """Select the study whose line begins with `name`."""
        self.studies.select_option(label=self.studies.locator("option", has_text=name).first.inner_text())
        self.expect_detail("Name", name)

    def detail(self, name: str) -> Locator:
        return (
            self.root.locator(".evalkit-details tr")
            .filter(has=self.root.page.get_by_role("rowheader", name=name, exact=True))
            .locator("td")
        )

    def expect_detail(self, name: str, text: str) -> None:
        expect(self.detail(name)).to_have_text(text, timeout=SHOWN_MS)

    def expect_buttons(self, *enabled: str) -> None:
        """Say that exactly these commands can be given."""
        for name in COMMANDS:
            button = expect(self.button(name))
            button.to_be_enabled(timeout=SHOWN_MS) if name in enabled else button.to_be_disabled(timeout=SHOWN_MS)

    def press(self, name: str, status: str, says: str) -> None:
        """Press a command's button, and see the status change and the status line say it."""
        self.button(name).click()
        self.expect_detail("Status", status)
        expect(self.status).to_contain_text(says, timeout=SHOWN_MS)

    def drawing(self) -> str:
        """Give the texts of the chart: its marks say what they stand for."""
        labels: list[str] = self.chart.locator("[aria-label]").evaluate_all("all => all.map(one => one.getAttribute('aria-label'))")
        return "\n".join(labels)
