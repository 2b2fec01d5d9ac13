"""Which source a name opens, and the one line that a bad name gets."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgeharfer.runtime.errors import CameraError, SourceError
from edgeharfer.runtime.source import open_source
from edgeharfer.runtime.source.address import redact


def test_a_missing_camera_names_the_demo_and_exits_3() -> None:
    for spec in (4095, "4095", "/dev/video4095", -1):
        with pytest.raises(CameraError, match="--source demo") as caught:
            open_source(spec)
        assert caught.value.exit_code == 3


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("", "empty"),
        ("  ", "empty"),
        ("missing.mp4", "no such file"),
        ("missing*.png", "no file matches"),
        ("missing_%04d.png", "no file of this sequence"),
        ("**x", "not a pattern"),
        ("x" * 5000, "too long"),
        ("9" * 5000, "too long"),
        ("nul\0byte.mp4", "no such file"),
        ("ftp://host/clip.mp4", "rtsp://"),
    ],
)
def test_a_name_that_opens_nothing_is_one_line(
    name: str, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SourceError, match=why) as caught:
        open_source(name)
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no picture")
    with pytest.raises(SourceError, match="holds no image"):
        open_source(tmp_path)


def test_a_file_whose_name_looks_like_a_pattern_is_a_file(tmp_path: Path) -> None:
    path = tmp_path / "shot[1]_%04d.png"
    path.write_bytes(cv2.imencode(".png", np.full((4, 6, 3), 9, np.uint8))[1].tobytes())
    with open_source(path) as source:
        assert source.name == path.name
        assert source.size == (6, 4)


def test_an_image_without_a_suffix_is_known_by_its_content(tmp_path: Path) -> None:
    path = tmp_path / "upload"
    path.write_bytes(cv2.imencode(".jpg", np.full((4, 6, 3), 9, np.uint8))[1].tobytes())
    with open_source(path) as source:
        frame = source.read()
    assert frame is not None and frame.still


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("rtsp://cam/live", "rtsp://cam/live"),
        ("rtsp://admin:hunter2@cam:554/live", "rtsp://***@cam:554/live"),
        ("rtsp://admin:p/w?@x#@cam/live", "rtsp://***@cam/live"),
        ("http://cam/video?user=admin&pwd=hunter2", "http://cam/video?user=***&pwd=***"),
        ("http://cam/video#hunter2", "http://cam/video"),
        ("http://token@cam/a=b", "http://***@cam/a=***"),
    ],
)
def test_urls_are_shown_without_credentials(url: str, shown: str) -> None:
    assert redact(url) == shown


def test_errors_do_not_tell_the_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    for scheme in ("http", "rtsp", "gopher"):
        with pytest.raises(SourceError) as caught:
            open_source(f"{scheme}://admin:hunter2@127.0.0.1:1/live?key=hunter2")
        assert "hunter2" not in str(caught.value)
        assert "127.0.0.1:1/live" in str(caught.value)


_OPEN_ALL = """
import sys
from edgeharfer.runtime.errors import SourceError
from edgeharfer.runtime.source import open_source
for name in sys.argv[1:]:
    try:
        open_source(name)
    except SourceError as error:
        print(error)
    else:
        raise SystemExit(f"{name} was opened")
"""


def test_bad_files_leave_nothing_of_opencv_on_stderr(tmp_path: Path) -> None:
    """In a process of its own, since FFmpeg's log level is taken when OpenCV first uses it."""
    png = cv2.imencode(".png", np.arange(3072, dtype=np.uint8).reshape(32, 32, 3))[1].tobytes()
    jpg = cv2.imencode(".jpg", np.arange(3072, dtype=np.uint8).reshape(32, 32, 3))[1].tobytes()
    damaged = png[:60] + bytes(8) + png[68:]
    bad = {
        "text.mp4": b"hello\n",
        "empty.mp4": b"",
        "start.mkv": b"\x1aE\xdf\xa3" + bytes(64),
        "text.png": b"hello\n",
        "cut.png": png[: len(png) // 2],
        "damaged.png": damaged,
        "cut.jpg": jpg[: len(jpg) * 2 // 3],
        "empty.jpg": b"",
    }
    for name, data in bad.items():
        (tmp_path / name).write_bytes(data)
    names = [*(str(tmp_path / name) for name in bad), "4095", "http://127.0.0.1:1/x"]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("OPENCV")}
    environment |= {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "no_proxy": "127.0.0.1"}
    done = subprocess.run(
        [sys.executable, "-c", _OPEN_ALL, *names],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == len(names)
