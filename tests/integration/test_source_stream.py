"""HTTP motion JPEG from a server on loopback: whole, cut, damaged and resized pictures, silence and ends."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from edgeharfer.runtime.capture import Capture
from edgeharfer.runtime.clock import SystemClock
from edgeharfer.runtime.errors import SourceError
from edgeharfer.runtime.source import open_source, stream_source
from edgeharfer.runtime.source.stream_source import StreamSource
from films import write_film
from mjpeg_server import MjpegServer, jpeg, moving

STEP = 5


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")

    monkeypatch.setattr(stream_source, "OPEN_S", 0.6)
    monkeypatch.setattr(stream_source, "READ_S", 0.4)


@pytest.fixture
def server() -> Iterator[MjpegServer]:
    with MjpegServer(fps=100) as running:
        yield running


def levels(source: StreamSource, count: int) -> list[int]:
    """The grey levels of so many frames, in steps of `moving`."""
    frames = [source.read() for _ in range(count)]
    return [round((float(frame.bgr.mean()) - 40) / STEP) for frame in frames if frame]


def test_frames_come_live_and_in_order(server: MjpegServer) -> None:
    url = server.url.replace("//", "//admin:hunter2@")
    with StreamSource(url, SystemClock()) as source:
        assert (source.live, source.size, source.fps, source.frame_count) == (True, (64, 48), None, None)
        assert source.details == "HTTP MJPG 64x48"
        assert source.name.startswith("http://***@127.0.0.1:")
        got = levels(source, 12)
        first, last = source.read(), source.read()
    assert got == [(got[0] + step) % 32 for step in range(12)]
    assert first and last and first.pts_s < last.pts_s and (first.seq, last.seq) == (12, 13)


def test_the_end_is_a_loss_that_names_no_password(server: MjpegServer) -> None:
    with StreamSource(server.url.replace("//", "//admin:hunter2@"), SystemClock()) as source:
        threading.Timer(0.1, server.stop_serving).start()
        with pytest.raises(SourceError, match="lost") as caught:
            while True:
                source.read()
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("state", ["mute", "silent"])
def test_a_silent_peer_does_not_hang_the_reader(server: MjpegServer, state: str) -> None:
    setattr(server, state, True)
    with pytest.raises(SourceError, match="no video received"):
        StreamSource(server.url, SystemClock())


def cut_in_half(data: bytes) -> bytes:
    return data[: len(data) // 2]


def cut_by_its_end_marker(data: bytes) -> bytes:
    return data[:-2]


def replaced_by_text(data: bytes) -> bytes:
    return b"<html>503</html>"


def emptied(data: bytes) -> bytes:
    return b""


def header_of_a_giant(data: bytes) -> bytes:
    """The size in the frame header (SOF0: marker, length, precision, height, width) is 65,500 squared."""
    at = data.index(b"\xff\xc0") + 5
    return data[:at] + (65_500).to_bytes(2, "big") * 2 + data[at + 4 :]


@pytest.mark.parametrize(
    "damage", [cut_in_half, cut_by_its_end_marker, replaced_by_text, emptied, header_of_a_giant]
)
def test_a_damaged_picture_is_counted_and_left_out(
    server: MjpegServer, damage: Callable[[bytes], bytes]
) -> None:
    server.picture = lambda number: damage(moving(number)) if number % 5 == 4 else moving(number)
    with StreamSource(server.url, SystemClock()) as source:
        frames = [source.read() for _ in range(24)]
    seqs = [frame.seq for frame in frames if frame]
    missing = sorted(set(range(seqs[-1] + 1)) - set(seqs))
    assert len(missing) == source.bad_pictures == pytest.approx(6, abs=1)
    assert all(later - earlier == 5 for earlier, later in pairwise(missing))
    shown = [round((float(frame.bgr.mean()) - 40) / STEP) for frame in frames if frame]
    for frame, level in zip(frames, shown, strict=True):
        assert frame is not None
        assert np.abs(frame.bgr.astype(int) - (40 + STEP * level)).max() <= 1, "no part of it is grey"


def test_nothing_but_garbage_is_a_loss(server: MjpegServer) -> None:
    with StreamSource(server.url, SystemClock()) as source:
        server.picture = lambda _: jpeg(99)[:-2]
        with pytest.raises(SourceError, match="no frame can be decoded"):
            while True:
                source.read()


def test_a_new_size_is_taken_over_with_its_first_picture(server: MjpegServer) -> None:
    sizes = [(64, 48), (128, 96), (48, 64)]
    server.picture = lambda number: jpeg(40 + number % 32 * 5, *sizes[number // 7 % 3])
    with StreamSource(server.url, SystemClock()) as source:
        frames = [frame for frame in (source.read() for _ in range(60)) if frame]
    shapes = [(frame.bgr.shape[1], frame.bgr.shape[0]) for frame in frames]
    changes = [index for index in range(1, 60) if shapes[index] != shapes[index - 1]]
    assert set(shapes) == set(sizes)
    assert all(later - earlier == 7 for earlier, later in pairwise(changes))


def test_the_capture_shows_the_newest_frame_of_a_reader_in_another_process(server: MjpegServer) -> None:
    with Capture(open_source(server.url)) as capture:
        assert capture.source.name == server.url
        assert capture.source.details == "HTTP MJPG 64x48"
        first = capture.next_frame(20)
        time.sleep(0.3)
        later = capture.next_frame(20)
        assert first and later and later.seq - first.seq > 3
        assert capture.dropped >= later.seq - first.seq - 2
        assert 0 <= SystemClock().monotonic() - later.captured_s < 10
        assert later.pts_s - first.pts_s == pytest.approx(later.captured_s - first.captured_s)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("capture")]
    assert capture.next_frame() is None


def test_a_video_file_on_a_web_server_comes_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    write_film(path, (np.full((48, 64, 3), number * 10, np.uint8) for number in range(20)))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(path.stat().st_size))
            self.end_headers()
            self.wfile.write(path.read_bytes())

        def log_message(self, format: str, *args: object) -> None:
            """Nothing on stderr."""

    with HTTPServer(("127.0.0.1", 0), Handler) as film:
        thread = threading.Thread(target=film.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        with Capture(open_source(f"http://127.0.0.1:{film.server_address[1]}/clip.mp4")) as capture:
            seqs = [frame.seq for frame in capture]
        film.shutdown()
        thread.join()
    assert seqs[-1] == 19
    assert (capture.state, capture.ended) == ("ended", True)
