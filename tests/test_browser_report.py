"""Reports as a browser shows them: offline, without a script, readable in light, dark, on a small screen and on paper, with any text."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser

import evalkit
from evalkit.analysis._report.examination import examine
from evalkit.analysis._report.facts import content_of
from evalkit.analysis._report.figures import figures
from evalkit.analysis._report.render import html
from evalkit.frames.study_data import StudyData
from tests.browser import Tab, axe_violations
from tests.report_studies import BEGIN, HOSTILE, add, hostile, hourly, samples, stepped

KINDS = ("stepped", "hostile", "pending", "many")
A4 = (688, 1017)
"""Pixels between the margins of a page."""


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a report of a study that shifted, one with hostile texts, one without checkpoints, and one with many."""
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
    found = examine(many, many.names[0], metrics=["session_success_rate", "total_cost", "total_tokens"])
    (folder / "many.html").write_text(html(content_of(found), figures(found)), encoding="utf-8")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "dark"),
    [pytest.param(name, dark, marks=[pytest.mark.long] if dark and name != "stepped" else []) for name in KINDS for dark in (False, True)],
)
def test_a_report_opens_offline_and_breaks_no_rule_of_accessibility(chromium: Browser, pages: Path, name: str, dark: bool) -> None:
    """It asks nobody for anything, runs nothing, and is open to screen readers and keyboards in both colour schemes."""
    tab = Tab(chromium, dark=dark)
    try:
        asked: list[str] = []
        tab.page.on("request", lambda request: asked.append(request.url))
        page = tab.open_file(pages / f"{name}.html")
        assert asked == [(pages / f"{name}.html").resolve().as_uri()]
        assert page.locator("script, img, iframe, a, link").count() == 0
        assert tab.console == []
        assert axe_violations(page) == []
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert ground == ("rgb(27, 28, 30)" if dark else "rgb(255, 255, 255)")
        ink = page.evaluate("[...document.querySelectorAll('svg text')].map(one => getComputedStyle(one).fill)")
        assert set(ink) <= {"rgb(236, 236, 236)" if dark else "rgb(31, 31, 31)"}
        assert page.locator("h1").inner_text()
        tab.check()
    finally:
        tab.close()


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_a_report_fits_the_screen(tab: Tab, pages: Path, name: str) -> None:
    """On a wide and on a small screen the page scrolls down only; what is wide scrolls by itself, and can be reached with the keyboard."""
    page = tab.open_file(pages / f"{name}.html")
    for width in (1280, 400):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    wide = page.locator(".wide")
    assert page.evaluate("[...document.querySelectorAll('.wide')].every(one => one.tabIndex === 0)")
    if name != "pending":
        assert wide.evaluate_all("all => all.some(one => one.scrollWidth > one.clientWidth)")


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_a_report_prints_whole(tab: Tab, pages: Path, name: str, tmp_path: Path) -> None:
    """On paper it is black on white also for who reads it in dark, no table or chart is wider than the page, or drawn over two; the PDF has pages and texts."""
    page = tab.open_file(pages / f"{name}.html")
    page.emulate_media(media="print", color_scheme="dark")
    page.set_viewport_size({"width": A4[0], "height": A4[1]})
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(0, 0, 0)"
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.evaluate("document.documentElement.scrollWidth") <= A4[0] + 64  # a title of very wide letters reaches into the margin
    assert page.evaluate(f"[...document.querySelectorAll('table, svg')].every(one => one.getBoundingClientRect().right <= {A4[0]} + 0.5)")
    assert page.evaluate(f"[...document.querySelectorAll('figure')].every(one => one.getBoundingClientRect().height <= {A4[1]})")
    breaks = page.evaluate("[...document.querySelectorAll('figure, tr, .few')].map(one => getComputedStyle(one).breakInside)")
    assert set(breaks) <= {"avoid"}
    data = page.pdf(path=tmp_path / "report.pdf", prefer_css_page_size=True)
    assert data.startswith(b"%PDF")
    count = len(re.findall(rb"/Type\s*/Page\b", data))
    assert count >= (1 if name == "pending" else 3)
    assert set(re.findall(rb"/MediaBox\s*\[([^]]*)\]", data)) <= {b"0 0 594.95996 841.91998", b"0 0 595 842", b"0 0 594.96 841.92"}
    assert data.count(b"/ToUnicode") >= 1  # its texts are texts, not pictures of them


def test_hostile_texts_are_shown_as_they_are(tab: Tab, pages: Path) -> None:
    """The name of the study is the page's heading, letter by letter, but for what would turn the direction of writing."""
    page = tab.open_file(pages / "hostile.html")
    shown = HOSTILE.replace("\u202e", "\ufffd").replace("\u202c", "\ufffd")
    assert page.locator("h1").text_content() == shown
    assert page.title() == f"{shown}: report"
    assert tab.dialogs == []
