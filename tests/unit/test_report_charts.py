"""Charts: labelled, whole for any input, and never a crash for an odd one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

pytest.importorskip("matplotlib", reason="needs the report extra")
pytest.importorskip("pypdf", reason="needs the report extra")

import cv2
import numpy as np

from edgeharfer.report.charts.book import ONLY_PNG, ChartBook
from edgeharfer.report.charts.style import PNG_DPI, pdf_pages
from edgeharfer.report.charts.timeline import timeline
from edgeharfer.report.report import Report, SourceFacts, make_report
from edgeharfer.report.smoothing import Smoothing
from tiny_reports import method, recording, report

TWO = {1: "hhhhnnnn?s", 2: "  aaaahh  "}


def texts(figure: Any) -> set[str]:
    """Every word of a figure."""
    import matplotlib.text

    figure.draw_without_rendering()  # names of ticks are made only then
    return {text.get_text() for text in figure.findobj(matplotlib.text.Text) if text.get_text()}


def many_labels() -> Report:
    labels = tuple(f"label number {number:02}" for number in range(60))
    seen = recording({1: "l" * 40, 2: "?" * 40}, labels=labels)
    actions = tuple(
        replace(reading, label=f"action{place:03}")
        for place, reading in enumerate(recording({}, "B" * 40).readings)
    )
    source = SourceFacts("x" * 400, "", (640, 480), 20.0)
    return make_report(source, method(labels), Smoothing(), replace(seen, readings=actions, duration_s=10.0))


def strange_labels() -> Report:
    labels = ("$x^", "日本", "<b>", "=1+1")
    source = SourceFacts("clip.mp4", "", (640, 480), 20.0)
    return make_report(source, method(labels), Smoothing("none"), recording({1: "$日<="}, labels=labels))


def odd_reports() -> dict[str, Report]:
    source = SourceFacts("clip.mp4", "", (640, 480), None)
    return {
        "usual": report(TWO, " " * 8 + "BB--??AA"),
        "nobody": report({1: "    "}),
        "one sample": report({1: "h"}),
        "only uncertain": report({1: "????"}),
        "no sample at all": report({}),
        "no emotions": make_report(source, method(()), Smoothing(), recording({1: "hhhh"}, labels=())),
        "pictures": report({1: "h ", 2: "hs"}, pictures=("a.jpg", "b.jpg")),
        "pictures without faces": report({1: "  "}, pictures=("a.jpg", "b.jpg")),
        "one picture": report({1: "h", 2: "s"}, pictures=("a.jpg",)),
        "long": report({1: "hhnnss?a" * 700}),
        "many labels": many_labels(),
        "strange labels": strange_labels(),
    }


@pytest.mark.parametrize("name", odd_reports())
def test_every_chart_of_any_report_can_be_drawn(name: str) -> None:
    made = odd_reports()[name]
    book = ChartBook(made)
    printed = [figure for (name, _), figure in book.figures.items() if name not in ONLY_PNG]
    figures = [*printed, *([] if made.stills else [timeline(made)])]
    assert len(pdf_pages(figures)) > 1000
    heights_in = [figure.get_size_inches()[1] for figure in printed]
    assert max(heights_in) < 9, "a chart must fit on a page"


def test_the_bar_names_every_emotion_with_its_share() -> None:
    found = texts(ChartBook(report(TWO)).figures["bar", None])
    assert {"Angry", "Happy", "Sad", "Neutral", "Not sure", "Share of each emotion"} <= found
    assert {"25.0\N{NO-BREAK SPACE}%", "37.5\N{NO-BREAK SPACE}%"} <= found


def test_the_pie_gives_every_share_that_there_is() -> None:
    found = texts(ChartBook(report({1: "hhhn"})).figures["pie", None])
    assert {"Happy  75.0\N{NO-BREAK SPACE}%", "Neutral  25.0\N{NO-BREAK SPACE}%"} <= found
    assert not any("Sad" in text for text in found)


def test_one_label_alone_is_no_pie() -> None:
    figure = ChartBook(report({1: "hhhh"})).figures["pie", 1]
    assert "Happy  100.0\N{NO-BREAK SPACE}%" in texts(figure)
    assert not figure.axes[0].patches


def test_the_timeline_has_people_actions_and_units() -> None:
    found = texts(timeline(report(TWO, " " * 8 + "BB")))
    assert {"Person 1", "Person 2", "Biking", "time (s)", "Emotions over time", "Actions over time"} <= found


def test_a_long_film_is_told_in_minutes() -> None:
    found = texts(timeline(report({1: "h" * 600})))
    assert "time (minutes:seconds)" in found
    assert {"0:00", "0:15", "2:15"} <= found


def test_too_short_for_an_action_is_said() -> None:
    assert "Too short: an action needs 2 s without a gap." in texts(timeline(report({1: "hhhh"})))


def test_the_transitions_count_from_row_to_column() -> None:
    book = ChartBook(report({1: "hnhnh"}))
    figure = book.figures["transitions", None]
    assert {"from", "to", "Happy", "Neutral", "2"} <= texts(figure)
    assert "Sad" not in texts(figure)
    assert ("transitions", None) not in ChartBook(report({1: "hhhh"})).figures


def test_hatches_stand_where_colours_do() -> None:
    axes = ChartBook(report({1: "aassnn??"})).figures["bar", None].axes[0]
    hatches = [patch.get_hatch() for patch in axes.patches if patch.get_hatch()]
    assert len(set(hatches)) == 4


def test_a_png_is_of_the_size_that_it_says() -> None:
    book = ChartBook(report(TWO))
    figure = book.figures["bar", 1]
    picture = cv2.imdecode(np.frombuffer(book.png(("bar", 1)), np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    height, width = picture.shape[:2]
    assert (width, height) == tuple(round(inches * PNG_DPI) for inches in figure.get_size_inches())


def test_one_look_at_a_face_shows_probabilities() -> None:
    book = ChartBook(report({1: "h", 2: "s"}, pictures=("a.jpg",)))
    assert "Probability of each emotion" in texts(book.figures["bar", 1])
    assert "Share of each emotion" in texts(book.figures["bar", None])
