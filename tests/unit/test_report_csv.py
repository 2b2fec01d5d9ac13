"""The CSV files: raw values, whole coverage, and no cell that a spreadsheet would run."""

from __future__ import annotations

import csv
import re
from dataclasses import replace
from pathlib import Path

import pytest

from edgeharfer.report.csv_files import escape_formula, write_actions, write_frames
from edgeharfer.report.report import Report, SourceFacts, make_report
from edgeharfer.report.segments import Segment
from edgeharfer.report.smoothing import Smoothing
from tiny_reports import LABELS, method, recording, report


def frames_of(made: Report, folder: Path) -> list[dict[str, str]]:
    write_frames(made, folder / "frames.csv")
    with (folder / "frames.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_each_face_has_a_line_with_its_raw_probabilities(tmp_path: Path) -> None:
    lines = frames_of(report({1: "hn", 2: " s"}, smoothing=Smoothing("centered", 10.0)), tmp_path)
    assert [(line["time_s"], line["track"]) for line in lines] == [("0.0", "1"), ("0.25", "1"), ("0.25", "2")]
    assert [line["raw_happy"] for line in lines] == ["0.850000", "0.050000", "0.050000"]
    assert [line["raw_neutral"] for line in lines] == ["0.050000", "0.850000", "0.050000"]
    assert [line["label"] for line in lines] == ["happy", "happy", "sad"]
    assert (lines[2]["x"], lines[2]["width"]) == ("200.0", "80.0")


def test_columns_are_those_of_the_documentation(tmp_path: Path) -> None:
    header = list(frames_of(report({1: "h"}), tmp_path)[0])
    raw = [f"raw_{label}" for label in LABELS]
    places = ["time_s", "frame", "picture", "track", "x", "y", "width", "height", "face_score"]
    smooth = [f"smooth_{label}" for label in LABELS]
    names = ("right_eye", "left_eye", "nose", "mouth", "right_ear", "left_ear")
    points = [f"{name}_{axis}" for name in names for axis in "xy"]
    assert header == [*places, *raw, "label", "score", *smooth, "strength", *points, "input"]
    text = (Path(__file__).resolve().parents[2] / "docs" / "analyze.md").read_text(encoding="utf-8")
    described = {re.sub(r"^(raw|smooth)_.*", r"\1_<emotion>", name) for name in header}
    assert {name for name in described if f"`{name}`" not in text} == set()


def test_values_of_further_tasks_are_columns(tmp_path: Path) -> None:
    seen = recording({1: "h h"})
    first, empty, last = seen.samples
    first, last = (
        replace(one, faces=(replace(one.faces[0], values=values),))
        for one, values in ((first, (-1.5, 20.0)), (last, (None, 3.25)))
    )
    seen = replace(seen, samples=(first, empty, last), columns=("pose_a", "pose_b"))
    source = SourceFacts("clip.mp4", "", (640, 480), 20.0)
    lines = frames_of(make_report(source, method(), Smoothing(), seen), tmp_path)
    header = list(lines[0])
    assert header[header.index("label") :][:5] == ["label", "score", "pose_a", "pose_b", "smooth_angry"]
    assert [(line["pose_a"], line["pose_b"]) for line in lines] == [("-1.5", "20.0"), ("", ""), ("", "3.25")]


def test_a_sample_without_a_face_has_a_line_too(tmp_path: Path) -> None:
    lines = frames_of(report({1: "h h"}), tmp_path)
    assert [line["track"] for line in lines] == ["1", "", "1"]
    assert lines[1]["time_s"] == "0.25"
    assert [value for value in lines[1].values() if value] == ["0.25", "5", "clip.mp4"]


def test_a_report_on_one_person_holds_only_that_person(tmp_path: Path) -> None:
    made = report({1: "h h", 2: "sss"})
    lines = frames_of(made.for_person(made.shown[0]), tmp_path)
    assert [line["track"] for line in lines] == ["1", "1"]


def test_without_emotions_there_are_boxes_alone(tmp_path: Path) -> None:
    source = SourceFacts("clip.mp4", "", (640, 480), 20.0)
    made = make_report(source, method(()), Smoothing(), recording({1: "h"}, labels=()))
    (line,) = frames_of(made, tmp_path)
    assert (line["track"], line["label"], line["score"]) == ("1", "", "")
    assert "raw_happy" not in line


def test_smoothed_probabilities_and_strength_are_beside_the_raw_ones(tmp_path: Path) -> None:
    lines = frames_of(report({1: "hn"}, smoothing=Smoothing("centered", 10.0)), tmp_path)
    for line in lines:
        assert (line["smooth_happy"], line["smooth_neutral"]) == ("0.450000", "0.450000")
        assert line["strength"] == "0.5500", "one minus the smoothed share of neutral"
        assert line["score"] == line["smooth_happy"][:6]
        assert line["input"] == "clip.mp4"


def test_key_points_are_pixels_and_missing_ones_are_empty(tmp_path: Path) -> None:
    seen = recording({1: "h"})
    points = (*map(float, range(1, 9)), None, None, 11.5, -2.0)
    (sample,) = seen.samples
    face = replace(sample.faces[0], keypoints=points)
    seen = replace(seen, samples=(replace(sample, faces=(face,)),))
    source = SourceFacts("clip.mp4", "", (640, 480), 20.0)
    (line,) = frames_of(make_report(source, method(), Smoothing(), seen), tmp_path)
    assert (line["right_eye_x"], line["right_eye_y"], line["mouth_y"]) == ("1.0", "2.0", "8.0")
    assert (line["right_ear_x"], line["left_ear_x"], line["left_ear_y"]) == ("", "11.5", "-2.0")


def test_actions_have_start_end_label_and_mean_score(tmp_path: Path) -> None:
    write_actions(report({1: "h" * 16}, " " * 8 + "BBBB????"), tmp_path / "actions.csv")
    assert (tmp_path / "actions.csv").read_text().splitlines() == [
        "start_s,end_s,label,mean_score",
        "2.0,3.0,Biking,0.8000",
        "3.0,4.0,uncertain,0.8000",
    ]


@pytest.mark.parametrize(
    "cell", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", " =1", "\uff1d1", "\uff0d1"]
)
def test_a_cell_that_looks_like_a_formula_is_text(cell: str) -> None:
    assert escape_formula(cell) == "'" + cell


@pytest.mark.parametrize("cell", ["happy", "a=b", "", None, -3.5, 0.25])
def test_other_cells_are_left_alone(cell: str | float | None) -> None:
    assert escape_formula(cell) == cell


def test_names_of_files_and_labels_are_guarded_in_the_files(tmp_path: Path) -> None:
    made = report({1: "h"}, pictures=('=HYPERLINK("http://x")\n.jpg',))
    (line,) = frames_of(made, tmp_path)
    assert line["picture"] == '\'=HYPERLINK("http://x")\n.jpg'
    bad = replace(made, segments=(Segment(0.0, 1.0, "=cmd|'/c calc'!A1", 0.9),))
    write_actions(bad, tmp_path / "actions.csv")
    assert "'=cmd|" in (tmp_path / "actions.csv").read_text()


def test_negative_places_stay_numbers(tmp_path: Path) -> None:
    made = report({0: "h"})
    face = replace(made.rows[0].face, box=replace(made.rows[0].face.box, x=-4.5))
    made = replace(made, rows=(replace(made.rows[0], face=face),))
    assert frames_of(made, tmp_path)[0]["x"] == "-4.5"


def test_a_name_that_is_no_unicode_is_written_all_the_same(tmp_path: Path) -> None:
    lines = frames_of(report({1: "h"}, pictures=("caf\udce9.jpg",)), tmp_path)
    assert lines[0]["picture"] == "caf\\udce9.jpg"
