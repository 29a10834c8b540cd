"""Reports in a browser: self-contained, accessible in light and dark, on small screens and on paper, with hostile texts."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser

import evalkit
from evalkit.analysis._report.content_builder import build_content
from evalkit.analysis._report.figures import figures
from evalkit.analysis._report.render import html
from evalkit.analysis._report.study_analysis import analyze_study
from evalkit.frames.study_data import StudyData
from tests.browser import Tab, axe_violations
from tests.report_studies import BEGIN, HOSTILE, add, hostile, hourly, samples, stepped

KINDS = ("stepped", "hostile", "pending", "many")
A4 = (688, 1017)
"""Pixels between the margins of a page."""
PHONE = 390
OVERFLOWING = """
element => element.getBoundingClientRect().right > document.documentElement.clientWidth + 0.5 && !element.closest('.scroll')
"""


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with reports on a study with a shift, hostile texts, no checkpoints, and many checkpoints."""
    folder = tmp_path_factory.mktemp("pages")
    kit = evalkit.connect(folder / "home")
    add(kit, "agent", stepped(), period="daily:60", description="Does it help?")
    add(kit, "W" * 200, samples(40, seed=9, level=-1.0))
    hostile(kit)
    kit.create_study("pending", at=BEGIN)
    kit.report("agent", folder / "stepped.html", baseline="W" * 200)
    kit.report(HOSTILE, folder / "hostile.html", baseline="W" * 200, metrics=["session_success_rate", "total_cost"])
    kit.report("pending", folder / "pending.html")
    many = StudyData(hourly(4000))
    analysis = analyze_study(many, many.names[0], metrics=["session_success_rate", "total_cost", "total_tokens"])
    (folder / "many.html").write_text(html(build_content(analysis), figures(analysis)), encoding="utf-8")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "dark"),
    [pytest.param(name, dark, marks=[pytest.mark.long] if dark and name != "stepped" else []) for name in KINDS for dark in (False, True)],
)
def test_page_is_self_contained_and_accessible(chromium: Browser, pages: Path, name: str, dark: bool) -> None:
    """The page loads and runs nothing, and passes the axe rules in both color schemes."""
    tab = Tab(chromium, dark=dark)
    try:
        requests: list[str] = []
        tab.page.on("request", lambda request: requests.append(request.url))
        page = tab.open_file(pages / f"{name}.html")
        assert requests == [(pages / f"{name}.html").resolve().as_uri()]
        assert page.locator("script, img, iframe, link").count() == 0
        assert tab.console == []
        assert axe_violations(page) == []
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert background == ("rgb(27, 28, 30)" if dark else "rgb(255, 255, 255)")
        colors = page.evaluate("[...document.querySelectorAll('svg text')].map(text => getComputedStyle(text).fill)")
        assert set(colors) <= {"rgb(236, 236, 236)" if dark else "rgb(31, 31, 31)"}
        assert page.locator("h1").inner_text()
        tab.check()
    finally:
        tab.close()


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_page_fits_the_window(tab: Tab, pages: Path, name: str) -> None:
    """Nothing is cut off or overflows from 900 px on; on a phone, only scroll boxes overflow, and the keyboard reaches them."""
    page = tab.open_file(pages / f"{name}.html")
    boxes = page.locator(".scroll")
    for width in (900, 1100, 1600, PHONE):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") == width
        assert page.locator("body *").evaluate_all(f"elements => elements.filter({OVERFLOWING}).length") == 0
        scrolling = boxes.evaluate_all("boxes => boxes.filter(box => box.scrollWidth > box.clientWidth).map(box => box.ariaLabel)")
        assert bool(scrolling) == (width == PHONE), scrolling
    assert boxes.evaluate_all("boxes => boxes.every(box => box.tabIndex === 0)")


@pytest.mark.slow
def test_overview_uses_the_width(tab: Tab, pages: Path) -> None:
    page = tab.open_file(pages / "stepped.html")
    for width in (900, 1100, 1600):
        page.set_viewport_size({"width": width, "height": 900})
        share = "chart => chart.querySelector('svg').clientWidth / document.querySelector('main').clientWidth"
        assert page.get_by_label("Chart: Overview").evaluate(share) > 0.95


@pytest.mark.slow
def test_table_of_contents(tab: Tab, pages: Path) -> None:
    """Every section has a link, which scrolls to it; the list stays visible beside the page in a wide window."""
    page = tab.open_file(pages / "stepped.html")
    page.set_viewport_size({"width": 1600, "height": 900})
    contents = page.get_by_role("navigation", name="Contents")
    assert contents.get_by_role("link").all_inner_texts() == page.locator("h2").all_inner_texts()
    contents.get_by_role("link", name="Data quality").click()
    assert page.locator("#data-quality").evaluate("section => section.getBoundingClientRect().top < innerHeight")
    assert contents.get_by_role("link", name="Summary").evaluate("link => link.getBoundingClientRect().top >= 0")


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_print_layout(tab: Tab, pages: Path, name: str, tmp_path: Path) -> None:
    """On paper, text is black on white in both color schemes, and no table or chart is wider than a page or split."""
    page = tab.open_file(pages / f"{name}.html")
    page.emulate_media(media="print", color_scheme="dark")
    page.set_viewport_size({"width": A4[0], "height": A4[1]})
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(0, 0, 0)"
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.evaluate("document.documentElement.scrollWidth") <= A4[0] + 64  # a title of very wide letters extends into the margin
    assert page.evaluate(
        f"[...document.querySelectorAll('table, svg')].every(element => element.getBoundingClientRect().right <= {A4[0]} + 0.5)"
    )
    assert page.evaluate(f"[...document.querySelectorAll('figure')].every(figure => figure.getBoundingClientRect().height <= {A4[1]})")
    breaks = page.evaluate("[...document.querySelectorAll('figure, tr, .few')].map(element => getComputedStyle(element).breakInside)")
    assert set(breaks) <= {"avoid"}
    data = page.pdf(path=tmp_path / "report.pdf", prefer_css_page_size=True)
    assert data.startswith(b"%PDF")
    count = len(re.findall(rb"/Type\s*/Page\b", data))
    assert count >= (1 if name == "pending" else 3)
    assert set(re.findall(rb"/MediaBox\s*\[([^]]*)\]", data)) <= {b"0 0 594.95996 841.91998", b"0 0 595 842", b"0 0 594.96 841.92"}
    assert data.count(b"/ToUnicode") >= 1  # selectable text


def test_hostile_texts_are_shown_literally(tab: Tab, pages: Path) -> None:
    """The heading is the name of the study, except for control characters."""
    page = tab.open_file(pages / "hostile.html")
    name = HOSTILE.replace("\u202e", "\ufffd").replace("\u202c", "\ufffd")
    assert page.locator("h1").text_content() == name
    assert page.title() == f"{name}: report"
    assert tab.dialogs == []
