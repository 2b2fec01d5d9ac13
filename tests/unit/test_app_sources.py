"""Error messages for clients do not tell where files lie on the server."""

from __future__ import annotations

import pytest

from edgeharfer.app.sources import display_name, strip_folders


@pytest.mark.parametrize(("text", "told"), [
    ("/tmp/edgeharfer-0/app-x/Zq/clip.mkv: cannot be read as a video", "clip.mkv: cannot be read as a video"),
    ("/home/a b/my clip.mp4: the file is empty", "my clip.mp4: the file is empty"),
    (r"C:\Users\a b\clip.mp4: the file is empty", "clip.mp4: the file is empty"),
    ("C:/Users/a/clip.mp4 is damaged", "clip.mp4 is damaged"),
    (r"\\server\share\clip.mp4: is damaged", "clip.mp4: is damaged"),
    ("[Errno 2] No such file: '/srv/my app/x/report.pdf'", "[Errno 2] No such file: 'report.pdf'"),
    ("camera 0: there is no /dev/video0: plug a camera in", "camera 0: there is no video0: plug a camera in"),
    ("rename /a/b -> /c/d failed", "rename b -> d failed"),
    ("rtsp://***@host/live/1: no video comes from it", "rtsp://***@host/live/1: no video comes from it"),
    ("http://host:8080/a/b.mjpg: lost", "http://host:8080/a/b.mjpg: lost"),
    ("12 s long, and 5 s are the most: cut it", "12 s long, and 5 s are the most: cut it"),
    ("30 frames/s and/or 1/2", "30 frames/s and/or 1/2"), ("/", "/"), ("", ""),
])  # fmt: skip
def test_of_a_path_only_the_name_is_left(text: str, told: str) -> None:
    assert strip_folders(text) == told


def test_sources_are_shown_without_folder_and_password() -> None:
    assert (
        display_name("/srv/films/door.mp4") == "door.mp4"
        and display_name("demo") == "demo"
        and display_name("0") == "0"
    )
    assert display_name("rtsp://me:secret@camera.example/live") == "rtsp://***@camera.example/live"
