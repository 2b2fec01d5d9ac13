"""Which source a name opens, and the one line that a bad name gets."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import astuple
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgeharfer.runtime.errors import CameraError, SourceError
from edgeharfer.runtime.source import open_source
from edgeharfer.runtime.source.address import parse_address, redact, redact_within


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
        ("**x", "invalid glob pattern"),
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
    with pytest.raises(SourceError, match="contains no images"):
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
        ("rtsp://cam/user=admin&password=hunter2", "rtsp://cam/user=***&password=***"),
        ("rtsp://cam/user=admin_password=hunter2_channel=1.sdp?real", "rtsp://cam/user=***?***"),
        ("rtsp://cam/live;PWD=hunter2", "rtsp://cam/live;PWD=***"),
        ("rtsp://cam/live;hunter2/x", "rtsp://cam/live;***"),
        ("http://cam/v?Token=hunter2&auth=hunter2;key=hunter2", "http://cam/v?Token=***&auth=***;key=***"),
        ("http://cam/v?access_token=a.hunter2==&sig=hunter2/x", "http://cam/v?access_token=***&sig=***"),
        ("http://cam/v?to%6ben%3Dhunter2%26a=1", "http://cam/v?to%6ben%3D***%26a=***"),
        ("http://cam/v?p=a?hunter2", "http://cam/v?p=***?***"),
        ("http://cam/v?hunter2", "http://cam/v?***"),
        ("http://cam/v?a=1#token=hunter2", "http://cam/v?a=***"),
        ("HTTP://ADMIN:hunter2@CAM/V", "HTTP://***@CAM/V"),
        ("rtsp://admin%3Ahunter2%40cam/live", "rtsp://***@cam/live"),
        ("rtsp:/admin:hunter2@cam/live", "rtsp:/***@cam/live"),
        ("admin:hunter2@cam/live", "***@cam/live"),
        ("http://cam/v?mail=me@home.org&token=hunter2", "http://***@home.org&token=***"),
        ("/data/a@b/x=1;y=2.mp4", "/data/a@b/x=1;y=2.mp4"),
        ("C:/data/a@b/x=1.mp4", "C:/data/a@b/x=1.mp4"),
    ],
)
def test_urls_are_shown_without_credentials(url: str, shown: str) -> None:
    assert redact(url) == shown


def test_addresses_within_a_message_are_redacted() -> None:
    message = "Got unexpected extra argument (rtsp://a:hunter2@cam/x?y=hunter2), or http://cam/;pw=hunter2."
    shown = "Got unexpected extra argument (rtsp://***@cam/x?y=***), or http://cam/;pw=***."
    assert redact_within(message) == shown == redact_within(shown)


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("rtsp://cam", ("rtsp", "cam", 554, "/", None, None)),
        ("HTTPS://Ad%40min:p%2Fw@cam:8443/v?x=1#y", ("https", "cam", 8443, "/v?x=1", "Ad@min", "p/w")),
        ("rtsp://user@[fe80::1]:8554/a b", ("rtsp", "fe80::1", 8554, "/a%20b", "user", None)),
        ("http://cam?x=a@b", ("http", "cam", 80, "/?x=a@b", None, None)),
    ],
)
def test_the_parts_of_an_address(url: str, parts: tuple[object, ...]) -> None:
    assert astuple(parse_address(url)) == parts


@pytest.mark.parametrize(
    "url", ["http:///x", "http://cam:99999/", "http://cam:port/", "http://a b/", "rtsp://a:hunter2/x@cam/y"]
)
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(SourceError, match="invalid URL") as caught:
        parse_address(url)
    assert "hunter2" not in str(caught.value)


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
