"""Images and videos of which a part cannot be read: named, counted, exit code 2, the rest processed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edgeharfer.cli import run_command
from films import write_film

MODELS_OFF = ["--action", "off", "--emotion", "off"]


def album(folder: Path, count: int, damaged: int) -> Path:
    """So many photographs, of which the first ones are cut in half."""
    folder.mkdir()
    for number in range(count):
        picture = np.full((48, 64, 3), 5 * number, np.uint8)
        data = cv2.imencode(".png", picture)[1].tobytes()
        whole = number >= damaged
        (folder / f"p{number:03d}.png").write_bytes(data if whole else data[: len(data) // 2])
    return folder


def film(path: Path, codec: str = "MJPG", frames: int = 20) -> Path:
    noise = np.random.default_rng(1)
    return write_film(path, (noise.integers(0, 256, (48, 64, 3), np.uint8) for _ in range(frames)), 10, codec)


def run(source: object, stats: Path, *more: str) -> tuple[int, dict[str, Any]]:
    arguments = ["run", "--view", "none", "--source", str(source), "--stats", str(stats), *MODELS_OFF, *more]
    code = run_command(arguments)
    return code, json.loads(stats.read_text("utf-8"))


def complaints(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Standard error without the words on what was recognised."""
    return [line for line in capsys.readouterr().err.splitlines() if line.startswith("edgeharfer: ")]


def test_nine_of_ten_damaged_images_are_named_and_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = album(tmp_path / "album", 10, damaged=9)
    for source in (folder, folder / "*.png", folder / "p%03d.png"):
        code, summary = run(source, tmp_path / "stats.json")
        said = complaints(capsys)
        assert (code, summary["unreadable"], summary["frames_processed"]) == (2, 9, 1)
        assert [f"p{number:03d}.png" in line for number, line in enumerate(said[:9])] == [True] * 9
        assert len(said) == 10 and "9 of 10 images could not be read" in said[9]


def test_only_the_first_twenty_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, summary = run(album(tmp_path / "album", 31, damaged=30), tmp_path / "stats.json")
    said = complaints(capsys)
    assert (code, summary["unreadable"], len(said)) == (2, 30, 22)
    assert "10 more files could not be read" in said[20]


def test_whole_images_end_with_0_and_none_unreadable(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, summary = run(album(tmp_path / "album", 3, damaged=0), tmp_path / "stats.json")
    assert (code, summary["unreadable"], complaints(capsys)) == (0, 0, [])


def test_holes_in_a_sequence_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = album(tmp_path / "album", 8, damaged=0)
    for number in (3, 4):
        (folder / f"p{number:03d}.png").unlink()
    code, summary = run(folder / "p%03d.png", tmp_path / "stats.json")
    assert (code, summary["unreadable"], summary["missing"]) == (0, 0, 2)
    assert "2 numbers of the sequence are missing (3, 4)" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["clip.avi", "clip.mkv"])
def test_a_video_that_breaks_off_is_named(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = film(tmp_path / name)
    data = path.read_bytes()
    path.write_bytes(data[: 2 * len(data) // 3])
    code, summary = run(path, tmp_path / "stats.json")
    assert code == 2
    assert summary["unreadable"] == 20 - summary["frames_processed"] > 3
    assert f"{name}: the file is truncated" in capsys.readouterr().err
    code, summary = run(path, tmp_path / "stats.json", "--max-frames", "3")
    assert (code, summary["unreadable"]) == (0, 0), "the end was not looked at"


@pytest.mark.parametrize(("name", "codec"), [("clip.avi", "MJPG"), ("clip.mp4", "mp4v")])
def test_lost_frames_in_a_damaged_video_are_counted(
    name: str, codec: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = film(tmp_path / name, codec)
    data = bytearray(path.read_bytes())
    start = data.index(b"mdat" if codec == "mp4v" else b"movi")
    middle = (start + len(data)) // 2
    data[middle : middle + 3000] = bytes(3000)
    path.write_bytes(data)
    code, summary = run(path, tmp_path / "stats.json")
    assert code == 2
    assert summary["unreadable"] == 20 - summary["frames_processed"] > 0
    assert "the file is corrupt" in capsys.readouterr().err


def test_a_report_names_what_it_could_not_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib", reason="analyze needs the report extra")
    pytest.importorskip("reportlab", reason="analyze needs the report extra")
    folder, clip = album(tmp_path / "album", 4, damaged=3), film(tmp_path / "clip.avi")
    command = ["analyze", str(folder), str(clip), "--out", str(tmp_path / "out"), *MODELS_OFF]
    assert run_command(command) == 2
    said = capsys.readouterr()
    assert all(f"p{number:03d}.png" in said.err for number in range(3))
    assert "1 of 2 inputs could only be read in part (album)" in said.err
    inputs = {
        name: json.loads((tmp_path / "out" / name / "summary.json").read_text("utf-8"))["input"]
        for name in ("album", "clip")
    }
    assert {name: one["unreadable"] for name, one in inputs.items()} == {"album": 3, "clip": 0}
    assert run_command(command) == 2, "what was done before is still only a part"
    assert "1 of 2 inputs" in capsys.readouterr().err
