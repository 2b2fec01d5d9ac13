"""The files of a report: all of them, whole or not there, and no picture among them."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("matplotlib", reason="needs the report extra")
pytest.importorskip("reportlab", reason="needs the report extra")
pytest.importorskip("pypdf", reason="needs the report extra")

from edgeharfer.report import write
from edgeharfer.report.content.edition import ReportEdition
from edgeharfer.report.inputs import available_folder, find_inputs, plan_tasks
from edgeharfer.report.write import ensure_writable_folder, write_report
from edgeharfer.runtime.errors import SinkError
from tiny_reports import report

EDITION = ReportEdition("3 May 2027")
FILES = {
    "actions.csv",
    "emotions_bar.png",
    "emotions_pie.png",
    "frames.csv",
    "report.html",
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

    monkeypatch.setattr(write, "report_html", full)
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


def at_once(
    monkeypatch: pytest.MonkeyPatch, first: Callable[[], object], second: Callable[[], object]
) -> None:
    """Write a second report while the first one is being written, as another process would."""
    real = write._write_all

    def interrupted(*arguments: Any) -> None:
        monkeypatch.setattr(write, "_write_all", real)
        real(*arguments)
        second()

    monkeypatch.setattr(write, "_write_all", interrupted)
    first()


def test_of_two_equal_reports_at_once_the_first_one_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, same = tmp_path / "clip", report({1: "    "})
    published: list[int] = []

    def second() -> None:
        write_report(same, folder, EDITION)
        published.append((folder / "report.pdf").stat().st_ino)

    at_once(monkeypatch, lambda: write_report(same, folder, EDITION), second)
    assert names(tmp_path) == {"clip"}
    assert names(folder) == FILES
    assert [(folder / "report.pdf").stat().st_ino] == published


def test_of_two_different_reports_at_once_one_stays_as_a_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "clip"
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    at_once(
        monkeypatch,
        lambda: write_report(report({1: "    "}), folder, EDITION, {"by": "first"}),
        lambda: write_report(report({1: "hhhh"}), folder, EDITION, {"by": "second"}),
    )
    assert names(tmp_path) == {"clip"}
    assert names(folder) == {*FILES, "notes.txt"}, "no folder of a person, whom only the other report has"
    assert json.loads((folder / "summary.json").read_text())["by"] == "first"
    assert all(line.endswith(",,,clip.mp4") for line in (folder / "frames.csv").read_text().splitlines()[1:])


def test_a_report_made_again_replaces_an_equal_one(tmp_path: Path) -> None:
    folder = tmp_path / "clip"
    write_report(report({1: "    "}), folder, EDITION)
    (folder / "report.pdf").write_bytes(b"damaged")
    write_report(report({1: "    "}), folder, EDITION)
    assert (folder / "report.pdf").read_bytes().startswith(b"%PDF")


def test_a_report_on_another_input_keeps_its_folder(tmp_path: Path) -> None:
    """Two processes at once planned the same folder for two clips of one name."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    for side in "ab":
        (tmp_path / side / "clip.mp4").write_text(side)
    out = tmp_path / "out"
    (one,), (other,) = (
        plan_tasks(find_inputs([str(tmp_path / side / "clip.mp4")]), out, {}) for side in "ab"
    )
    assert one.folder == other.folder
    for task in (one, other):
        write_report(
            report({1: "    "}), task.folder, EDITION, task.extra, choose=partial(available_folder, task)
        )  # fmt: skip
    assert names(out) == {"clip", "clip-2"}
    for task, name in ((one, "clip"), (other, "clip-2")):
        assert json.loads((out / name / "summary.json").read_text())["resume"] == task.extra["resume"]


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights on Windows")
def test_a_link_to_a_folder_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    (tmp_path / "clip").symlink_to(tmp_path / "far")
    write_report(report({1: "    "}), tmp_path / "clip", EDITION)
    assert (tmp_path / "clip").is_symlink()
    assert names(tmp_path / "far") == FILES


def test_a_file_in_the_way_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "clip").write_text("mine")
    with pytest.raises(SinkError, match="not a folder"):
        write_report(report({1: "    "}), tmp_path / "clip", EDITION)
    assert (tmp_path / "clip").read_text() == "mine"
    assert names(tmp_path) == {"clip"}


def test_a_folder_that_cannot_be_made_is_known_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(SinkError, match="cannot be written"):
        ensure_writable_folder(tmp_path / "file" / "out")
    ensure_writable_folder(tmp_path / "new" / "out")
    assert names(tmp_path / "new" / "out") == set()


def test_several_pictures_have_no_people(tmp_path: Path) -> None:
    write_report(report({1: "h ", 2: " s"}, pictures=("a.jpg", "b.jpg")), tmp_path / "two", EDITION)
    assert names(tmp_path / "two") == FILES
    assert (tmp_path / "two" / "actions.csv").read_text() == "start_s,end_s,label,mean_score\n"
