"""HTTP MJPEG from a server on loopback: frames, a silent peer, an end, and a stop in the midst."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2
import numpy as np
import pytest

from edgeharfer.runtime.capture import Capture
from edgeharfer.runtime.errors import SourceError
from edgeharfer.runtime.source import open_source, stream

FRAMES, STEP = 12, 20


class MjpegServer(ThreadingHTTPServer):
    """`/end` sends 12 frames and hangs up, `/stall` sends them and falls silent, `/silent` says nothing."""

    daemon_threads = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), MjpegHandler)
        self.stopping = threading.Event()

    def url(self, path: str) -> str:
        return f"http://admin:hunter2@127.0.0.1:{self.server_address[1]}{path}"


class MjpegHandler(BaseHTTPRequestHandler):
    server: MjpegServer

    def do_GET(self) -> None:
        if self.path != "/silent":
            self._send_frames()
        if self.path != "/end":
            self.server.stopping.wait(30)

    def _send_frames(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        for number in range(FRAMES):
            jpeg = cv2.imencode(".jpg", np.full((48, 64, 3), STEP * number, np.uint8))[1].tobytes()
            head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
            self.wfile.write(head.encode() + jpeg + b"\r\n")

    def log_message(self, format: str, *args: object) -> None:
        """Nothing on stderr."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[MjpegServer]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(
        stream,
        "_PARAMETERS",
        (cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, 600, cv2.CAP_PROP_READ_TIMEOUT_MSEC, 400),
    )
    with MjpegServer() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield running
        running.stopping.set()
        running.shutdown()
        thread.join()


def test_frames_come_live_and_in_order_and_the_end_is_told(server: MjpegServer) -> None:
    with open_source(server.url("/end")) as source:
        assert (source.live, source.size, source.fps, source.frame_count) == (True, (64, 48), None, None)
        assert source.details == "HTTP MJPG 64x48"
        numbers, times = [], []
        with pytest.raises(SourceError, match="lost") as caught:
            while (frame := source.read()) is not None:
                numbers.append(round(float(frame.bgr.mean()) / STEP))
                times.append(frame.pts_s)
    assert numbers == list(range(FRAMES))
    assert times[0] == 0.0 and times == sorted(times)
    assert "hunter2" not in f"{source.name} {caught.value}"
    assert source.name.startswith("http://***@127.0.0.1:")


@pytest.mark.parametrize("path", ["/silent", "/stall"])
def test_a_silent_peer_does_not_hang_the_reader(server: MjpegServer, path: str) -> None:
    with pytest.raises(SourceError, match=r"no video comes|lost"), open_source(server.url(path)) as source:
        for _ in range(FRAMES + 1):
            source.read()


def test_the_capture_gives_the_newest_frame_and_raises_the_loss(server: MjpegServer) -> None:
    seqs = []
    with Capture(open_source(server.url("/end")), pace="fast") as capture:
        with pytest.raises(SourceError, match="lost"):
            for frame in capture:
                seqs.append(frame.seq)
        assert capture.state == "lost"
        assert capture.frames_in == FRAMES == len(seqs) + capture.dropped
    assert seqs[-1] == FRAMES - 1


def test_a_stop_comes_through_a_blocked_read(server: MjpegServer) -> None:
    with Capture(open_source(server.url("/stall"))) as capture:
        assert capture.next_frame(5.0) is not None
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("capture")]
    assert capture.next_frame() is None


def test_the_timeouts_that_ship_leave_a_stop_below_two_seconds() -> None:
    shipped = dict(zip(stream._PARAMETERS[::2], stream._PARAMETERS[1::2], strict=True))
    assert shipped[cv2.CAP_PROP_READ_TIMEOUT_MSEC] < 2000
    assert shipped[cv2.CAP_PROP_OPEN_TIMEOUT_MSEC] <= 5000
