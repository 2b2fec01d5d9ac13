"""The PDF: pages, outline, text that can be selected, and figures that are those of frames.csv."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter, defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("matplotlib", reason="the PDF needs the report extra")
pytest.importorskip("reportlab", reason="the PDF needs the report extra")
pytest.importorskip("pypdf", reason="the PDF needs the report extra")

import numpy as np
import pypdf
from pypdf.generic import Destination

from edgeharfer.report.charts.book import ChartBook
from edgeharfer.report.content.edition import ReportEdition
from edgeharfer.report.csv_files import write_frames
from edgeharfer.report.gallery import Gallery
from edgeharfer.report.pdf.pages import report_pdf
from edgeharfer.report.pdf.styles import BOTTOM
from edgeharfer.report.record import FaceSample
from edgeharfer.report.report import Report
from edgeharfer.report.smoothing import Smoothing
from edgeharfer.runtime.types import Frame
from tiny_reports import report

EDITION = ReportEdition("3 May 2027")
TWO = {1: "hhhhnn?nhhss", 2: "   aaahhh   "}


@pytest.fixture(scope="module")
def usual() -> tuple[Report, bytes]:
    """Two people and an action, smoothed."""
    made = report(TWO, " " * 8 + "BBBB", smoothing=Smoothing("centered", 0.75))
    return made, report_pdf(made, ChartBook(made), EDITION)


def pages(pdf: bytes) -> list[str]:
    """Text of each page, its white space evened."""
    return [evened(page.extract_text()) for page in pypdf.PdfReader(io.BytesIO(pdf)).pages]


def pages_of(made: Report) -> list[str]:
    return pages(report_pdf(made, ChartBook(made), EDITION))


def evened(text: str) -> str:
    return re.sub(r"\s+", " ", text)


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def images_of(pdf: bytes) -> int:
    """Raster pictures in a file, wherever they hang."""
    reader = pypdf.PdfReader(io.BytesIO(pdf))
    return sum(len(page.images) for page in reader.pages)


def test_each_part_has_its_page_and_its_entry_in_the_outline(usual: tuple[Report, bytes]) -> None:
    reader = pypdf.PdfReader(io.BytesIO(usual[1]))
    entries = [entry for entry in reader.outline if isinstance(entry, Destination)]
    titles = [str(entry.title) for entry in entries]
    assert titles == ["Summary", "Everybody", "Actions", "Person 1", "Person 2", "Method and limits"]
    for title, entry in list(zip(titles, entries, strict=True))[1:]:
        place = reader.get_destination_page_number(entry)
        assert place is not None
        assert title in reader.pages[place].extract_text()
    assert reader.metadata is not None
    assert reader.metadata.title == "Emotions and actions: clip.mp4"


def test_pages_are_numbered(usual: tuple[Report, bytes]) -> None:
    found = pages(usual[1])
    assert all(f"{number} / {len(found)}" in text for number, text in enumerate(found, 1))


def test_the_cover_tells_the_facts(usual: tuple[Report, bytes]) -> None:
    cover = pages(usual[1])[0]
    for fact in ("clip.mp4", "3 May 2027", "640 × 480 pixels", "tiny-emotion", "tiny-action", "BlazeFace"):
        assert fact in cover
    assert "Mean of each track's probabilities over 0.75 s, half before and half after each sample." in cover
    assert "No picture of the input was stored" in cover


def test_method_and_limits_are_told(usual: tuple[Report, bytes]) -> None:
    text = " ".join(pages(usual[1]))
    for words in (
        "Smoothing over time.",
        "Below a probability of 0.4",
        "Limits",
        "what a person feels",
    ):
        assert words in text


@pytest.mark.parametrize(
    ("smoothing", "words"),
    [
        (Smoothing("none"), "None: each sample is labelled from its own probabilities."),
        (
            Smoothing("exponential", 0.5),
            "Exponential average of each track's probabilities, weighted by their certainty, "
            "time constant 0.5 s.",
        ),
    ],
)
def test_the_smoothing_is_stated(smoothing: Smoothing, words: str) -> None:
    text = " ".join(pages_of(report({1: "    "}, smoothing=smoothing)))
    assert text.count(words) == 2, "among the facts and under the method"


def test_letters_are_embedded_and_no_chart_is_a_picture(usual: tuple[Report, bytes]) -> None:
    assert images_of(usual[1]) == 0
    assert b"/FontFile2" in usual[1]
    assert "Share of the time in view" in " ".join(pages(usual[1])), "words of a chart can be selected"


def test_the_figures_are_those_of_frames_csv(usual: tuple[Report, bytes], tmp_path: Path) -> None:
    """Computed anew from the file alone, with nothing of the product."""
    made, pdf = usual
    write_frames(made, tmp_path / "frames.csv")
    with (tmp_path / "frames.csv").open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    text = " ".join(pages(pdf))
    samples = {line["time_s"] for line in lines}
    by_track: dict[str, list[dict[str, str]]] = defaultdict(list)
    for line in lines:
        if line["track"]:
            by_track[line["track"]].append(line)
    labels = [column.removeprefix("raw_") for column in lines[0] if column.startswith("raw_")]
    everybody = [line for mine in by_track.values() for line in mine]
    for name, mine in [
        ("Everybody", everybody),
        *((f"Person {track}", rows) for track, rows in by_track.items()),
    ]:
        found = Counter(line["label"] for line in mine)
        shares = [found[label] / len(mine) for label in [*labels, "uncertain"]]
        row = " ".join([name, *(percent(share) if share else "–" for share in shares)])
        assert row in text
        coverage = len({line["time_s"] for line in mine}) / len(samples)
        assert percent(coverage) in text
        assert percent(sum(float(line["score"]) for line in mine) / len(mine)) in text
        assert percent(sum(1 - float(line["smooth_neutral"]) for line in mine) / len(mine)) in text
    changes = Counter(
        pair
        for mine in by_track.values()
        for pair in pairwise(line["label"] for line in mine if line["label"] != "uncertain")
        if pair[0] != pair[1]
    )
    assert sum(changes.values()) >= 3
    assert f"Most frequent of {sum(changes.values())} Times" in text
    for (before, after), count in changes.items():
        assert f"{before.capitalize()} to {after} {count}" in text


def test_a_person_s_own_report_names_nobody_else(usual: tuple[Report, bytes]) -> None:
    made, _ = usual
    own = made.for_person(made.shown[1])
    text = " ".join(pages(report_pdf(own, ChartBook(made), EDITION)))
    assert "Person 2" in text
    assert "Person 1" not in text
    assert "Biking" not in text


def test_pictures_are_in_it_only_where_they_were_asked_for() -> None:
    gallery = Gallery()
    made = report({1: "hhhh"})
    for sample in made.recording.samples:
        noise = np.random.default_rng(sample.frame).integers(0, 255, (200, 320, 3), np.uint8)
        gallery.add(Frame(sample.frame, sample.time_s, 0.0, noise), sample)
    pdf = report_pdf(made, ChartBook(made), ReportEdition("3 May 2027", gallery))
    assert images_of(pdf) == len(gallery.scenes) + len(gallery.faces) == 4 + 1
    assert "as requested" in pages(pdf)[0]


def test_the_same_report_gives_the_same_file() -> None:
    made = report({1: "  "})
    assert report_pdf(made, ChartBook(made), EDITION) == report_pdf(made, ChartBook(made), EDITION)


@pytest.mark.parametrize(
    "name",
    ["<b>&amp;<font size=90>.mp4", "日本語の動画.mp4", "a" * 300, "line\nbreak\u202e.mp4", "caf\udce9.mp4"],
)
def test_no_name_breaks_a_page(name: str) -> None:
    found = pages_of(report({1: "  "}, name=name))
    assert len(found) == 2
    if name.startswith("<b>"):
        assert "<b>&amp;<font size=90>.mp4" in found[0]


def test_very_many_segments_are_cut_and_it_is_said() -> None:
    found = pages_of(report({1: " " * 600}, "BA" * 300))
    assert "The first 400 of 600; all are in actions.csv." in " ".join(found)


def test_pictures_have_a_table_instead_of_a_course() -> None:
    made = report({1: "h  ", 2: "hs "}, pictures=("a.jpg", "b.jpg", "c.jpg"))
    text = " ".join(pages_of(made))
    assert "1 a.jpg Happy 85.0 %, Happy 85.0 % 2 b.jpg Sad 85.0 % 3 c.jpg –" in text
    assert "Confidence and coverage" not in text
    assert "Actions recognised" not in text


def test_a_sample_in_the_gallery_needs_no_face() -> None:
    gallery = Gallery()
    gallery.add(Frame(0, 0.0, 0.0, np.zeros((9, 9, 3), np.uint8)), FaceSample(0.0, 0, "", ()))
    made = report({1: " "})
    assert images_of(report_pdf(made, ChartBook(made), ReportEdition("", gallery))) == 1


def ink_ends(page: pypdf.PageObject) -> float:
    """Where the text of a page ends, without its footer: 0 is the top, 1 the bottom."""
    heights: list[float] = []

    def visit(text: str, _: Any, matrix: list[float], *more: Any) -> None:
        if text.strip() and matrix[5] > BOTTOM:
            heights.append(matrix[5])

    page.extract_text(visitor_text=visit)
    return 1 - min(heights, default=1.0) / float(page.mediabox.height)


@pytest.mark.parametrize(
    "tracks", [{1: "h" * 40}, {1: "hhnn" * 10, 2: "ssnn" * 10, 3: "nnhh" * 10}, {1: " "}]
)
def test_no_page_but_the_last_is_mostly_white(tracks: dict[int, str]) -> None:
    made = report(tracks, " " * 8 + "BBBB")
    found = pypdf.PdfReader(io.BytesIO(report_pdf(made, ChartBook(made), EDITION))).pages
    assert len(found) <= 2 + len(made.shown)
    assert all(ink_ends(page) > 0.6 for page in found[:-1])


def test_one_emotion_alone_is_a_sentence_and_no_pie() -> None:
    text = " ".join(pages_of(report({1: "hhhh", 2: "hhhh"})))
    assert "The label is Happy in all samples of the faces." in text
    assert "Share of the time in view" not in text


def test_an_input_without_faces_has_no_empty_charts() -> None:
    text = " ".join(pages_of(report({1: "    "})))
    assert "No face was seen in 4 samples." in text
    for title in ("Emotions over time", "Share of each emotion", "Confidence and coverage"):
        assert title not in text
