"""The HTML report: the figures of the PDF, readable without seeing, and nothing from elsewhere."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="needs the report extra")
pytest.importorskip("pypdf", reason="needs the report extra")

from axe import problems
from chromium import Browser
from edgeharfer.report.charts.book import ChartBook
from edgeharfer.report.content.edition import ReportEdition
from edgeharfer.report.gallery import Gallery
from edgeharfer.report.html.page import report_html
from edgeharfer.report.report import Report
from edgeharfer.runtime.types import Frame
from tiny_reports import report

EDITION = ReportEdition("3 May 2027")
VOID = {"meta", "img", "br", "link"}
Element = tuple[str, dict[str, str]]


class Outline(HTMLParser):
    """The elements of a page, its words, and whether every element is closed in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[Element] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(page)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] != "style":
            self.words.append(data)

    def all(self, *tags: str) -> list[Element]:
        return [element for element in self.elements if element[0] in tags]

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))


def outline(made: Report, edition: ReportEdition = EDITION) -> Outline:
    return Outline(report_html(made, ChartBook(made), edition))


@pytest.fixture(scope="module")
def usual() -> Outline:
    return outline(report({1: "hhhhnn?nhhss", 2: "   aaahhh   "}, " " * 8 + "BBBB"))


def test_it_says_what_the_pdf_says(usual: Outline) -> None:
    for words in (
        "clip.mp4",
        "3 May 2027",
        "Biking",
        "Person 2",
        "mean strength",
        "Neutral to happy",
        "Limits",
    ):
        assert words in usual.text


def test_it_loads_and_runs_nothing(usual: Outline) -> None:
    assert not usual.all("script", "link", "iframe", "object", "form")
    policy = next(attrs["content"] for _, attrs in usual.all("meta") if "http-equiv" in attrs)
    assert "default-src 'none'" in policy
    addresses = [
        value for _, attrs in usual.elements for name, value in attrs.items() if name in ("src", "href")
    ]
    assert addresses and all(address.startswith(("#", "data:image/")) for address in addresses)
    assert not [name for _, attrs in usual.elements for name in attrs if name.startswith("on")]


def test_it_can_be_read_without_seeing_it(usual: Outline) -> None:
    assert usual.all("html")[0][1]["lang"] == "en" and len(usual.all("main")) == len(usual.all("title")) == 1
    levels = [int(tag[1]) for tag, _ in usual.all("h1", "h2", "h3")]
    assert levels.count(1) == 1 and levels[0] == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert all(len(attrs["alt"]) > 20 for _, attrs in usual.all("img"))
    assert len(usual.all("caption")) == len(usual.all("table")) > 3
    assert all(attrs["scope"] in ("col", "row") for _, attrs in usual.all("th"))
    names = [attrs["id"] for _, attrs in usual.elements if "id" in attrs]
    assert len(names) == len(set(names))
    links = [attrs["href"][1:] for _, attrs in usual.all("a")]
    assert set(links) <= set(names) and {"cover", "group", "actions", "person-1", "method"} <= set(links)


def test_hostile_names_are_text() -> None:
    made = report({1: "h "}, pictures=('"><script>alert(1)</script>.jpg', "caf\udce9\n.jpg"), name="<b>&.mp4")
    page = report_html(made, ChartBook(made), EDITION)
    assert "<script" not in page and "&lt;script&gt;" in page and "<b>&." not in page
    page.encode("utf-8")


def test_labels_that_the_font_of_the_charts_lacks_are_whole() -> None:
    page = outline(report({1: "生生中"}, labels=("生气", "中性"))).text
    assert "生气" in page and "中性" in page and "□" not in page


def thumbnails(made: Report) -> ReportEdition:
    """An edition with pictures."""
    gallery = Gallery()
    for sample in made.recording.samples:
        noise = np.random.default_rng(sample.frame).integers(0, 255, (200, 320, 3), np.uint8)
        gallery.add(Frame(sample.frame, sample.time_s, 0.0, noise), sample)
    return ReportEdition("3 May 2027", gallery)


@pytest.mark.needs("Chromium")
def test_it_is_accessible_in_a_browser(tmp_path: Path) -> None:
    made = report({1: "hhhhnn?nhhss", 2: "   aaahhh   "}, " " * 8 + "BBBB")
    file = tmp_path / "report.html"
    file.write_text(report_html(made, ChartBook(made), thumbnails(made)), encoding="utf-8")
    with Browser(tmp_path / "profile") as browser:
        page = browser.open(file.as_uri())
        page.until("document.readyState === 'complete' && !!document.querySelector('main')")
        assert problems(page) == []
        assert page.run("document.documentElement.scrollWidth <= innerWidth"), "too wide for a phone"
        assert page.complaints == []


def test_pictures_are_in_it_only_where_they_were_asked_for() -> None:
    made = report({1: "hhhh"})
    photos = [
        [attrs for _, attrs in page.all("img") if attrs["src"].startswith("data:image/jpeg")]
        for page in (outline(made), outline(made, thumbnails(made)))
    ]
    assert [len(found) for found in photos] == [0, 4 + 1]
    assert photos[1][-1]["alt"] == "Face of Person 1"
