"""Bad input: one clear line, the right exit code, nothing half-written."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgeharfer.cli import run_command
from edgeharfer.runtime import load_package
from films import write_film

RUN = ["run", "--view", "none"]


def missing(folder: Path) -> list[str]:
    return ["--source", str(folder / "missing.mp4")]


def text_as_video(folder: Path) -> list[str]:
    path = folder / "text.mp4"
    path.write_text("this is no video\n" * 100)
    return ["--source", str(path)]


def empty_video(folder: Path) -> list[str]:
    path = folder / "empty.mp4"
    path.write_bytes(b"")
    return ["--source", str(path)]


def truncated_video(folder: Path) -> list[str]:
    path = folder / "whole.mp4"
    write_film(path, (np.full((64, 64, 3), value * 8, np.uint8) for value in range(30)))
    cut = folder / "cut.mp4"
    cut.write_bytes(path.read_bytes()[: path.stat().st_size // 3])
    return ["--source", str(cut)]


def empty_image(folder: Path) -> list[str]:
    path = folder / "empty.png"
    path.write_bytes(b"")
    return ["--source", str(path)]


def empty_folder(folder: Path) -> list[str]:
    path = folder / "nothing"
    path.mkdir()
    return ["--source", str(path)]


def unknown_package(folder: Path) -> list[str]:
    return ["--source", "demo", "--action", "no-such-package"]


def package_of_another_task(folder: Path) -> list[str]:
    return ["--source", "demo", "--action", "emotion-fer8"]


def damaged_package(folder: Path) -> list[str]:
    path = folder / "package"
    shutil.copytree(load_package("emotion-fer8").path, path)
    for model in path.glob("*.onnx"):
        data = bytearray(model.read_bytes())
        data[len(data) // 2] ^= 1
        model.write_bytes(data)
    return ["--source", "demo", "--emotion", str(path)]


def unknown_key(folder: Path) -> list[str]:
    path = folder / "run.toml"
    path.write_text('sorce = "demo"\n')
    return ["--config", str(path)]


def wrong_value(folder: Path) -> list[str]:
    path = folder / "run.toml"
    path.write_text('source = "demo"\nthreads = "many"\n')
    return ["--config", str(path)]


def broken_config(folder: Path) -> list[str]:
    path = folder / "run.toml"
    path.write_text("source = \n")
    return ["--config", str(path)]


def unknown_option(folder: Path) -> list[str]:
    return ["--colour", "red"]


def camera_that_is_not_there(folder: Path) -> list[str]:
    return ["--camera", "73"]


def provider_that_is_not_there(folder: Path) -> list[str]:
    return ["--source", "demo", "--provider", "tensorrt"]


def window_without_display(folder: Path) -> list[str]:
    return ["--source", "demo", "--view", "window"]


CASES: list[tuple[Callable[[Path], list[str]], int, str]] = [
    (missing, 2, "missing.mp4"),
    (text_as_video, 2, "text.mp4"),
    (empty_video, 2, "empty.mp4"),
    (truncated_video, 2, "cut.mp4"),
    (empty_image, 2, "empty.png"),
    (empty_folder, 2, "nothing"),
    (unknown_package, 2, "no-such-package"),
    (package_of_another_task, 2, "emotion"),
    (damaged_package, 2, "SHA-256"),
    (unknown_key, 2, "sorce"),
    (wrong_value, 2, "threads"),
    (broken_config, 2, "run.toml"),
    (unknown_option, 2, "--colour"),
    (camera_that_is_not_there, 3, "--source demo"),
    (provider_that_is_not_there, 3, "tensorrt"),
    (window_without_display, 3, "display" if cv2.currentUIFramework() else "opencv-python-headless"),
]


@pytest.mark.parametrize(("case", "code", "named"), CASES, ids=[case.__name__ for case, _, _ in CASES])
def test_one_clear_line_and_nothing_half_written(
    case: Callable[[Path], list[str]], code: int, named: str, tmp_path: Path
) -> None:
    """In a process of its own, as a person runs it: what C libraries write to standard error counts too."""
    out = tmp_path / "out"
    out.mkdir()
    arguments = case(tmp_path)
    view = [] if "--view" in arguments else ["--view", "none"]
    outputs = ["--save", str(out / "out.mp4"), "--stats", str(out / "stats.json")]
    without_display = {key: value for key, value in os.environ.items() if "DISPLAY" not in key}
    command = [
        sys.executable,
        "-c",
        "from edgeharfer.cli import main; main()",
        "run",
        *view,
        *outputs,
        *arguments,
    ]
    done = subprocess.run(command, capture_output=True, text=True, env=without_display, timeout=60)
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    told = done.stderr.splitlines()
    assert len(told) == 1, done.stderr
    assert told[0].startswith("edgeharfer: ")
    assert named in told[0]
    assert list(out.iterdir()) == []


def test_an_output_that_cannot_be_written_is_told_before_anything_runs(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "no" / "such" / "folder" / "events.jsonl"
    assert run_command([*RUN, "--source", "demo", "--events", str(target)]) == 2
    assert str(target) in capfd.readouterr().err


@pytest.mark.parametrize("shape", [(480, 640), (480, 640, 4), (1, 1, 3), (2, 900, 3)])
def test_odd_images_are_told_like_others(
    shape: tuple[int, ...], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "odd.png"
    cv2.imwrite(str(path), np.full(shape, 120, np.uint8))
    assert run_command([*RUN, "--source", str(path), "--events", "-"]) == 0
    rows = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert [row["kind"] for row in rows] == ["result", "summary"]
    assert rows[0]["faces"] == []
