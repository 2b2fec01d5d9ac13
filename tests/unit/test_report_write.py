"""The files of a report: all of them, whole or not there, and no picture among them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("matplotlib", reason="needs the report extra")
pytest.importorskip("reportlab", reason="needs the report extra")
pytest.importorskip("pypdf", reason="needs the report extra")

from edgeharfer.report import write
from edgeharfer.report.pdf.edition import Edition
from edgeharfer.report.write import check_folder, write_report
from edgeharfer.runtime.errors import SinkError
from tiny_reports import report

EDITION = Edition("3 May 2027")
FILES = {
    "actions.csv",
    "emotions_bar.png",
    "emotions_pie.png",
    "frames.csv",
    "report.pdf",
    "summary.json",
    "timeline.png",
}
OWN = FILES - {"actions.csv"}


def names(folder: Path) -> set[str]:
    return {entry.name for entry in folder.iterdir()}


def test_all_files_are_there_for_the_input_and_for_each_person(tmp_path: Path) -> None:
    write_report(report({1: "hhhh", 2: "ssss"}, "BBBB"), tmp_path / "clip", EDITION, {"more": 1})
    assert names(tmp_path) == {"clip"}
    assert names(tmp_path / "clip") == {*FILES, "persons"}
    assert names(tmp_path / "clip" / "persons") == {"person-1", "person-2"}
    assert names(tmp_path / "clip" / "persons" / "person-2") == OWN
    summary = json.loads((tmp_path / "clip" / "summary.json").read_text())
    assert summary["more"] == 1
    assert summary["group"]["shares"]["happy"] == 0.5
    assert summary["input"] | {"name": "clip.mp4", "duration_s": 1.0, "samples": 4} == summary["input"]
    assert [person["track"] for person in summary["persons"]] == [1, 2]
    assert summary["actions"]["segments"][0] == {
        "start_s": 0.0,
        "end_s": 1.0,
        "label": "Biking",
        "score": 0.8,
    }
    assert summary["method"]["smoothing"] == {"method": "none", "seconds": 1.0}
    own = json.loads((tmp_path / "clip" / "persons" / "person-2" / "summary.json").read_text())
    assert own["group"]["shares"]["sad"] == 1.0
    assert [person["track"] for person in own["persons"]] == [2]
    assert "actions" not in own


def test_a_report_made_anew_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    folder = tmp_path / "clip"
    write_report(report({1: "hhhh"}), folder, EDITION)
    (folder / "notes.txt").write_text("mine")
    write_report(report({1: "    "}), folder, EDITION)
    assert names(folder) == {*FILES, "notes.txt"}
    assert (folder / "notes.txt").read_text() == "mine"
    assert json.loads((folder / "summary.json").read_text())["group"]["sightings"] == 0


def test_a_failure_on_the_way_leaves_the_old_report_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "clip"
    write_report(report({1: "    "}), folder, EDITION)
    before = (folder / "summary.json").read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(write, "person_pdf", full)
    with pytest.raises(SinkError, match="No space left on device"):
        write_report(report({1: "ssss"}), folder, EDITION)
    assert (folder / "summary.json").read_bytes() == before
    assert names(tmp_path) == {"clip"}


def test_what_a_killed_run_left_is_swept_away(tmp_path: Path) -> None:
    (tmp_path / ".clip.part").mkdir()
    (tmp_path / ".clip.part" / "half.pdf").write_text("half")
    write_report(report({1: "    "}), tmp_path / "clip", EDITION)
    assert names(tmp_path) == {"clip"}
    assert "half.pdf" not in names(tmp_path / "clip")


def test_a_file_in_the_way_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "clip").write_text("mine")
    with pytest.raises(SinkError, match="not a folder"):
        write_report(report({1: "    "}), tmp_path / "clip", EDITION)
    assert (tmp_path / "clip").read_text() == "mine"
    assert names(tmp_path) == {"clip"}


def test_a_folder_that_cannot_be_made_is_known_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(SinkError, match="cannot be written"):
        check_folder(tmp_path / "file" / "out")
    check_folder(tmp_path / "new" / "out")
    assert names(tmp_path / "new" / "out") == set()


def test_several_pictures_have_no_people(tmp_path: Path) -> None:
    write_report(report({1: "h ", 2: " s"}, pictures=("a.jpg", "b.jpg")), tmp_path / "two", EDITION)
    assert names(tmp_path / "two") == FILES
    assert (tmp_path / "two" / "actions.csv").read_text() == "start_s,end_s,label,mean_score\n"
