"""Charts in a real browser: in JupyterLab (trusted and untrusted), in exported pages and in files."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import chdir, suppress
from pathlib import Path
from typing import Any

import nbformat
import pytest
from playwright.sync_api import Browser, Page
from playwright.sync_api import TimeoutError as NotShownError

from evalkit import plots
from tests.browser import Notebook, Tab, axe_violations
from tests.lab import Lab, new_notebook
from tests.properties import in_long_form
from tests.sight import faults

NAME = "<img src=x onerror=alert(1)></script><script>alert(2)</script>"
SETUP = f"""
import altair
import evalkit
from datetime import datetime, timedelta, timezone
from pathlib import Path
from evalkit import StudyData, plots
from evalkit.samples import sample_checkpoints

kit = evalkit.connect("home")
begin = datetime(2026, 1, 5, tzinfo=timezone.utc)
hour, week = timedelta(hours=1), timedelta(weeks=1)
for number, name in enumerate([{NAME!r}, "weekly coder"] if not list(Path("home").glob("*")) else []):
    study = kit.create_study(name, period="weekly:12", at=begin + number * week, if_exists="open")
    kit.start_study(study, at=begin + number * week + hour)
    kit.pause_study(study, at=begin + 4 * week)
    kit.resume_study(study, at=begin + 5 * week)
    rows = sample_checkpoints("weekly", begin + number * week, 10, seed=number, trend=0.1)
    del rows[4 - number]
    if number:
        rows = [{{**row, "provenance": {{"collector": "x", "models": ["m-1" if index < 6 else "m-2"]}}}} for index, row in enumerate(rows)]
    kit.record_checkpoints(study, rows)
    if number:
        kit.amend_checkpoint((study, rows[2]["key"]), {{"total_cost": 30}}, reason="Other prices")
        kit.note(study, {NAME!r}, at=begin + 3 * week, category="prompt")
        kit.note(study, "Outage", at=begin + 8 * week, until=begin + 9 * week, category="incident")
        kit.stop_study(study, at=begin + 12 * week)
frame, history = kit.checkpoints(), kit.lifecycle()
""".strip()
CHARTS = {
    "trend": 'plots.trend(frame, "session_success_rate")',
    "trend_lifecycle": 'plots.trend(StudyData(frame, history), "session_success_rate", rolling=3, reference=(0.8, "goal"))',
    "trend_one_study": 'plots.trend(kit.data("weekly coder"), "total_cost")',
    "compare_calendar": 'plots.trend(frame, "total_cost")',
    "compare_start": 'plots.trend(frame, "session_success_rate", align="start")',
    "overview": "plots.overview(frame)",
    "scatter": 'plots.scatter(frame, x="total_cost", y="session_success_rate")',
    "lifecycle": "plots.lifecycle(StudyData(frame, history))",
}
COMPOSED = {
    "layered": 'plots.show(plots.trend(frame, "total_cost") + plots.trend(frame, "total_cost", rolling=2))',
    "beside": 'plots.show(plots.trend(frame, "total_cost", width=300) | plots.trend(frame, "total_tokens", width=300))',
    "below": 'plots.show(plots.trend(frame, "total_cost") & plots.lifecycle(history))',
    "enabled": (
        "with plots.enable():\n"
        '    display(altair.Chart(frame.select("period_start", "total_cost", "study")).mark_point().encode(x="period_start", y="total_cost", color="study").properties(width=300))'
    ),
}
CELLS = [SETUP, *CHARTS.values(), *COMPOSED.values()]
DRAWN = range(1, len(CELLS))
NAMES = [*CHARTS, *COMPOSED]


def wait_for_drawings(opened: Notebook) -> None:
    """Wait until every cell except the first shows a drawing with texts and marks."""
    for index in DRAWN:
        opened.output(index).locator("svg text").first.wait_for()
        assert opened.output(index).locator("svg path").count() > 5, NAMES[index - 1]


def assert_readable(opened: Notebook) -> None:
    assert {name: faults(opened.output(index)) for index, name in zip(DRAWN, NAMES, strict=True)} == {name: [] for name in NAMES}


@pytest.fixture(scope="module")
def live(chromium: Browser, lab: Lab) -> Iterator[Notebook]:
    """Open a notebook, draw every chart by running its cell, and save it."""
    tab = Tab(chromium)
    opened = Notebook(tab, lab, lab.write("live/charts.ipynb", CELLS)).open()  # a separate folder with the studies that it creates
    tab.console.clear()
    opened.run_all()
    wait_for_drawings(opened)
    opened.save()
    yield opened
    lab.end_kernels(opened.path)
    tab.check()
    tab.close()


@pytest.fixture(scope="module")
def untrusted(live: Notebook, lab: Lab) -> Path:
    """Return a copy of the notebook that has outputs but no valid signature, as if somebody had sent it."""
    copy = nbformat.read(lab.root / live.path, as_version=4)
    copy.cells[0].source += "  # changed"
    return lab.root / lab.write("live/untrusted.ipynb", copy)


@pytest.mark.slow
def test_chart_displays_in_jupyterlab(live: Notebook) -> None:
    """Drawn offline without console messages, readable in both themes, accessible, and with a tooltip for each point."""
    assert [line for line in live.tab.console if "vega" in line.lower() or "WARN" in line] == []
    assert live.output(1).locator("svg text", has_text="<img src=x").count() >= 1
    assert live.axe(live.outputs()) == []
    assert_tooltip(live)
    # In the light theme, in the dark theme without running cells, and drawn again in the dark theme.
    assert_readable(live)
    live.theme("dark")
    try:
        assert_readable(live)
        for index in in_long_form(DRAWN, DRAWN[::4]):
            live.run(index)
        wait_for_drawings(live)
        assert_readable(live)
        assert live.axe(live.outputs()) == []
    finally:
        live.theme("light")


def assert_tooltip(opened: Notebook) -> None:
    """Check that the tooltip of a point shows the study, period, value and count, and markup in the name as text."""
    points = opened.output(1).locator(".mark-symbol path[aria-label*='onerror']")
    points.nth(2).hover(force=True)
    tip = opened.page.locator("#vg-tooltip-element.visible")
    tip.wait_for()
    text = tip.inner_text()
    assert NAME in text
    assert "%" in text
    assert "essions" in text
    assert tip.locator("img").count() == 0


@pytest.mark.slow
def test_notes_versions_and_amended_values_have_tooltips(live: Notebook) -> None:
    """They contain the texts, with markup as text; labels are drawn above the frame."""
    output = live.output(1 + NAMES.index("trend_one_study"))
    for name, texts in {
        "prompt: <img": [NAME, "2026-01-26"],
        "model m-1": ["m-1 → m-2"],
        "amended from": ["as first recorded", "$30"],
    }.items():
        tip = live.page.locator("#vg-tooltip-element.visible")
        for _ in range(10):  # a busy page can miss a movement of the mouse
            live.page.mouse.move(1, 1)
            output.locator(f".mark-symbol path[aria-label*='{name}']").first.hover(force=True)
            with suppress(NotShownError):
                tip.get_by_text(texts[0]).first.wait_for(timeout=2000)
                break
        assert all(text in tip.inner_text() for text in texts)
        assert tip.locator("img").count() == 0
    for label in ("<img src=x", "model m-1 → m-2", "Outage"):
        assert output.locator("svg text", has_text=label).count() >= 1


@pytest.mark.slow
def test_chart_displays_in_untrusted_notebook(live: Notebook, untrusted: Path, lab: Lab) -> None:
    """Without running a cell, all charts are drawn and accessible."""
    opened = live.open_beside(untrusted.relative_to(lab.root).as_posix(), kernel=False)
    try:
        wait_for_drawings(opened)
        assert not any(opened.trusts())
        assert_readable(opened)
        assert opened.axe(opened.outputs()) == []
    finally:
        opened.close()


@pytest.mark.slow
def test_exported_page_has_every_chart(tab: Tab, lab: Lab, untrusted: Path, tmp_path: Path) -> None:
    """`nbconvert --to html` includes a picture of each chart, and requests nothing that a page without charts does not request."""
    empty = tmp_path / "empty.ipynb"
    nbformat.write(new_notebook(["1"]), empty)
    requests = []
    for path in (empty, untrusted):
        command = [sys.executable, "-m", "nbconvert", "--to", "html", str(path), "--output-dir", str(tmp_path)]
        done = subprocess.run(command, env=lab.environment, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        tab.open_file(tmp_path / f"{path.stem}.html")
        requests.append(sorted(tab.outside))
        tab.outside.clear()
    assert requests[0] == requests[1]
    pictures = tab.page.locator(".jp-OutputArea-output img")
    assert pictures.count() == len(NAMES)
    assert all(pictures.evaluate_all("all => all.map(image => image.complete && image.naturalWidth > 200)"))
    assert axe_violations(tab.page, tab.page.locator(".jp-OutputArea-output")) == []


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return a function that saves a chart under a name with an extension."""
    folder, studies = tmp_path_factory.mktemp("saved"), dict[str, Any]()
    with chdir(folder):
        exec(SETUP, studies)

    def save(name: str) -> Path:
        with chdir(folder):
            return folder / plots.save(eval(CHARTS[name.partition(".")[0]], studies), name)

    return save


@pytest.mark.slow
@pytest.mark.parametrize("name", CHARTS)
def test_saved_html_is_self_contained(tab: Tab, saved: Callable[[str], Path], name: str) -> None:
    """An HTML file draws its chart offline and follows the color scheme of the browser; markup in study names is inert."""
    page: Page = tab.open_file(saved(f"{name}.html"))
    page.locator("svg text").first.wait_for()
    assert page.locator("svg path").count() > 5
    assert faults(page.locator("body")) == []
    page.emulate_media(color_scheme="dark")
    page.wait_for_function("getComputedStyle(document.querySelector('.chart svg text')).fill !== 'rgb(34, 34, 34)'")
    assert faults(page.locator("body")) == []
    assert tab.console == []
    assert axe_violations(page) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", CHARTS)
def test_saved_svg_is_inert(tab: Tab, saved: Callable[[str], Path], name: str) -> None:
    """An SVG file has no scripts, images or embedded HTML."""
    page = tab.open_file(saved(f"{name}.svg"))
    assert page.locator("svg text").count() > 3
    assert page.locator("script, img, foreignObject").count() == 0
