"""From paths to inputs and folders: what is taken, under which name, and what counts as done."""

from __future__ import annotations

import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgeharfer.report.inputs import (
    check_finite,
    expected_frames,
    find_inputs,
    folder_name,
    make_input,
    plan_tasks,
)
from edgeharfer.report.task import ReportTask
from edgeharfer.runtime import ConfigError, open_source


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def finish(task: ReportTask) -> None:
    """Leave what a finished report leaves for the next run."""
    task.folder.mkdir(parents=True)
    (task.folder / "summary.json").write_text(json.dumps(task.extra))


def test_a_folder_gives_each_video_and_all_its_pictures(tmp_path: Path) -> None:
    touch(*(tmp_path / name for name in ("b2.mp4", "b10.MKV", "a.jpg", "c.png", ".hidden.mp4", "notes.txt")))
    touch(tmp_path / "deeper" / "d.mp4")
    assert [item.spec for item in find_inputs([str(tmp_path)])] == [
        str(tmp_path / "b2.mp4"),
        str(tmp_path / "b10.MKV"),
        str(tmp_path),
    ]


def test_a_folder_of_videos_is_no_input_itself(tmp_path: Path) -> None:
    touch(tmp_path / "a.mp4")
    assert [item.name for item in find_inputs([str(tmp_path)])] == ["a.mp4"]


def test_a_glob_of_videos_gives_each_of_them(tmp_path: Path) -> None:
    touch(tmp_path / "a.mp4", tmp_path / "b.mp4", tmp_path / "c.png")
    assert [item.name for item in find_inputs([str(tmp_path / "*.mp4")])] == ["a.mp4", "b.mp4"]
    assert [item.spec for item in find_inputs([str(tmp_path / "*.png")])] == [str(tmp_path / "*.png")]


def test_an_empty_folder_is_left_to_fail_when_it_is_opened(tmp_path: Path) -> None:
    assert [item.spec for item in find_inputs([str(tmp_path)])] == [str(tmp_path)]


def test_an_input_named_twice_is_taken_once(tmp_path: Path) -> None:
    touch(tmp_path / "a.mp4")
    assert len(list(find_inputs([str(tmp_path), str(tmp_path / "a.mp4"), str(tmp_path / "a.mp4")]))) == 1


@pytest.mark.parametrize("spec", ["0", "-1", "/dev/video0", "rtsp://host/stream", "http://user:pw@host/"])
def test_what_has_no_end_is_refused(spec: str) -> None:
    with pytest.raises(ConfigError, match="has no end"):
        list(find_inputs([spec]))


def test_the_demo_needs_a_duration() -> None:
    (demo,) = find_inputs(["demo"])
    with pytest.raises(ConfigError, match="--duration"):
        list(check_finite([demo], None))
    assert list(check_finite([demo], 5.0)) == [demo]


def test_like_named_inputs_get_folders_of_their_own(tmp_path: Path) -> None:
    paths = [tmp_path / "x" / "a.mp4", tmp_path / "y" / "a.mp4", tmp_path / "y" / "A.mkv"]
    touch(*paths)
    tasks = plan_tasks(map(make_input, map(str, paths)), tmp_path / "out", {})
    assert [task.folder.name for task in tasks] == ["a", "a-2", "A-3"]


def test_a_finished_report_is_known_again(tmp_path: Path) -> None:
    touch(tmp_path / "a.mp4", tmp_path / "b.mp4")
    inputs = list(find_inputs([str(tmp_path)]))
    first, _ = plan_tasks(inputs, tmp_path / "out", {"fps": 4})
    finish(first)
    again = list(plan_tasks(inputs, tmp_path / "out", {"fps": 4}))
    assert [task.done for task in again] == [True, False]
    assert again[0].folder == first.folder


def test_other_settings_or_a_changed_file_make_it_anew_in_its_place(tmp_path: Path) -> None:
    touch(tmp_path / "a.mp4")
    (item,) = find_inputs([str(tmp_path)])
    (first,) = plan_tasks([item], tmp_path / "out", {"fps": 4})
    finish(first)
    (other,) = plan_tasks([item], tmp_path / "out", {"fps": 5})
    assert (other.done, other.folder) == (False, first.folder)
    os.utime(tmp_path / "a.mp4", (1, 1))
    (changed,) = plan_tasks(find_inputs([str(tmp_path)]), tmp_path / "out", {"fps": 4})
    assert (changed.done, changed.folder) == (False, first.folder)


def test_fresh_takes_nothing_as_done(tmp_path: Path) -> None:
    touch(tmp_path / "a.mp4")
    inputs = list(find_inputs([str(tmp_path)]))
    finish(next(plan_tasks(inputs, tmp_path / "out", {})))
    assert not next(plan_tasks(inputs, tmp_path / "out", {}, fresh=True)).done


def test_the_report_on_another_file_of_that_name_is_left_alone(tmp_path: Path) -> None:
    touch(tmp_path / "x" / "a.mp4", tmp_path / "y" / "a.mp4")
    (first,) = plan_tasks([make_input(str(tmp_path / "x" / "a.mp4"))], tmp_path / "out", {})
    finish(first)
    (second,) = plan_tasks([make_input(str(tmp_path / "y" / "a.mp4"))], tmp_path / "out", {})
    assert second.folder != first.folder
    assert not second.done


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"resume": 3}', '{"resume": {}}', "{not json"])
def test_a_torn_summary_counts_as_nothing(tmp_path: Path, content: str) -> None:
    touch(tmp_path / "a.mp4")
    inputs = list(find_inputs([str(tmp_path)]))
    (tmp_path / "out" / "a").mkdir(parents=True)
    (tmp_path / "out" / "a" / "summary.json").write_text(content)
    (task,) = plan_tasks(inputs, tmp_path / "out", {})
    assert (task.done, task.folder.name) == (False, "a")


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("clip.mp4", "clip"),
        ("my clip (1).mp4", "my_clip_1"),
        ("Größe.mp4", "Größe"),
        ("..", "input"),
        ("img_%04d.png", "img_04d"),
        ("a/../b.mp4", "b"),
        ("x" * 300 + ".mp4", "x" * 80),
        ("caf\udce9.mp4", "caf"),
    ],
)
def test_a_folder_name_means_nothing_to_any_system(name: str, folder: str) -> None:
    assert folder_name(name) == folder


def test_frames_are_counted_where_the_container_does_not_say(tmp_path: Path) -> None:
    """A stream of JPEG pictures, one after the other, has no header at all."""
    path = tmp_path / "raw.mjpeg"
    pictures = [np.full((48, 64, 3), value * 9, np.uint8) for value in range(25)]
    path.write_bytes(b"".join(cv2.imencode(".jpg", picture)[1].tobytes() for picture in pictures))
    with open_source(path) as source:
        assert source.frame_count is None
        assert expected_frames(source, str(path)) == 25
        assert expected_frames(source, str(path), 0.4) == 10


def test_a_count_that_the_source_knows_is_taken(tmp_path: Path) -> None:
    for number in range(3):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.zeros((8, 8, 3), np.uint8))
    with open_source(tmp_path) as source:
        assert expected_frames(source, str(tmp_path)) == 3


def test_the_demo_is_as_long_as_asked() -> None:
    with open_source("demo") as source:
        assert expected_frames(source, "demo", 2.0) == 60
