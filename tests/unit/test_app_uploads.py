"""What an upload may be: by its bytes, its size in pixels, its length; and the folder that it lies in."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgeharfer.app.probe import check_length, check_picture, check_video
from edgeharfer.app.settings import UserLimits
from edgeharfer.app.sniff import sniff
from edgeharfer.app.workspace import Workspace, remove_leftovers
from edgeharfer.runtime.errors import SinkError, SourceError
from edgeharfer.runtime.source import open_source
from films import write_film

PICTURE = np.zeros((48, 64, 3), np.uint8)


def clip(folder: Path, name: str, codec: str, count: int = 10) -> Path:
    path = folder / name
    return write_film(path, (PICTURE for _ in range(count)), 10, codec)


@pytest.mark.parametrize(
    ("name", "codec", "kind"),
    [
        ("a.avi", "MJPG", "AVI"),
        ("a.mp4", "mp4v", "MP4"),
        ("a.mkv", "MJPG", "Matroska"),
        ("a.webm", "VP80", "Matroska"),
    ],
)
def test_real_videos_are_known_by_their_bytes(tmp_path: Path, name: str, codec: str, kind: str) -> None:
    found = sniff(clip(tmp_path, name, codec).read_bytes()[:4096])
    assert found is not None and (found.name, found.still) == (kind, False)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".tif", ".webp"])
def test_real_pictures_are_known_by_their_bytes(suffix: str) -> None:
    found = sniff(cv2.imencode(suffix, PICTURE)[1].tobytes())
    assert found is not None and found.still and found.suffix == suffix


@pytest.mark.parametrize(
    "head",
    [b"", b"\0" * 400, b"#EXTM3U\nfile:///etc/passwd", b"ffconcat version 1.0\n", b"v=0\no=- 0 0 IN IP4",
     b"<svg>", b"RIFF\0\0\0\0WAVEfmt ", b"%PDF-1.7", b"\0\0\0\x1cftypheic", b"GIF89a", b"\x7fELF"],
)  # fmt: skip
def test_nothing_else_is(head: bytes) -> None:
    assert sniff(head) is None


def test_a_transport_stream_is_known_by_its_packets() -> None:
    packet = b"\x47" + bytes(187)
    found = sniff(packet * 5)
    assert found is not None and found.suffix == ".ts"
    assert sniff(packet + b"\0" + packet * 5) is None


def test_large_pictures_are_refused_by_their_header(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    data = cv2.imencode(".png", PICTURE)[1].tobytes()
    path.write_bytes(data[:16] + (20_000).to_bytes(4, "big") * 2 + data[24:])
    with pytest.raises(SourceError, match="20000x20000"):
        check_picture(path, UserLimits())
    path.write_bytes(data)
    check_picture(path, UserLimits())
    path.write_bytes(b"\xff\xd8\xff\xe0 no size")
    with pytest.raises(SourceError, match="damaged"):
        check_picture(path, UserLimits())


def test_large_and_long_and_broken_videos_are_refused(tmp_path: Path) -> None:
    path = clip(tmp_path, "a.avi", "MJPG", 30)
    check_video(path, UserLimits())
    with pytest.raises(SourceError, match=r"64x48 pixels are more than the limit of 0\.003 megapixels"):
        check_video(path, UserLimits(megapixels=0.003))
    with open_source(path) as source:
        check_length(source, path, UserLimits(video_s=3))
        with pytest.raises(SourceError, match="3 s long; the limit is 1 s"):
            check_length(source, path, UserLimits(video_s=1))
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(SourceError, match="cut off or damaged"):
        check_video(path, UserLimits())


# Takes 10 MB more than it has, and then 400 MB, of the 200 MB that it may.
SWELL = """
import numpy as np
from edgeharfer.app.settings import UserLimits
from edgeharfer.app.worker import limit_resources
limit_resources(UserLimits(memory_mb=200))
np.ones(10_000_000, np.uint8)
try:
    np.ones(400_000_000, np.uint8)
except MemoryError:
    print("bounded")
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is bounded on Linux alone")
def test_memory_is_bounded_beyond_what_the_models_take() -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", SWELL], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == "bounded\n"


def test_the_folder_is_private_and_goes(tmp_path: Path) -> None:
    with Workspace(tmp_path / "uploads") as workspace:
        folder = workspace.new_folder()
        (folder / "clip.mp4").write_bytes(b"x")
        assert (tmp_path / "uploads").stat().st_mode & 0o777 == 0o700
        assert workspace.path.stat().st_mode & 0o777 == folder.stat().st_mode & 0o777 == 0o700
    assert list((tmp_path / "uploads").iterdir()) == []


def test_leftovers_go_and_the_folder_of_another_app_stays(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    left = tmp_path / "app-left"
    left.mkdir()
    (left / "lock").touch()
    (left / "clip.mp4").write_bytes(b"x")
    with Workspace(tmp_path) as running:
        assert not left.exists()
        assert remove_leftovers(tmp_path) == []
        assert running.path.exists()


def test_a_folder_into_which_others_look_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    with pytest.raises(SinkError, match="chmod 700"), Workspace(tmp_path):
        pass


@pytest.mark.skipif(not hasattr(os, "symlink"), reason="there are no symbolic links")
def test_a_link_in_its_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "uploads").symlink_to(tmp_path / "real")
    with pytest.raises(SinkError, match="belongs to another user"), Workspace(tmp_path / "uploads"):
        pass
