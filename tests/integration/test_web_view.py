"""The web view on loopback: what it shows, what it refuses, and that no viewer holds up the run."""

from __future__ import annotations

import http.client
import json
import re
import socket
import sys
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from axe import problems
from chromium import CHROMIUM, Browser
from edgeharfer.runtime.clock import ManualClock
from edgeharfer.runtime.errors import ConfigError, SinkError
from edgeharfer.runtime.overlay import annotate
from edgeharfer.runtime.result import Result
from edgeharfer.runtime.sinks import Sink, live_feed, web
from edgeharfer.runtime.sinks.web import LIMITS, WebSink
from edgeharfer.runtime.stats import Status
from edgeharfer.runtime.types import Action, Box, Emotion, Frame, Image, TrackedFace
from mjpeg_server import allowed_s

PATIENCE_S = 60.0
STATUS = Status(fps=29.876, latency_ms=3.21, frames_dropped=2, provider="CPU", source_name="demo")
EMOTION = Emotion("happy", 0.75, {"happy": 0.75, "sad": 0.25})
FACE = TrackedFace(1, Box(20, 20, 40, 40), 0.9, {"emotion": EMOTION})


def put(sink: Sink, seq: int = 0, picture: Image | None = None) -> None:
    image = np.full((48, 64, 3), 10 * seq % 250, np.uint8) if picture is None else picture
    result = Result(seq, seq / 30, 4.0, (FACE,), {"action": Action("Biking", 0.8, ready=True)})
    sink.write(Frame(seq, seq / 30, 0.0, image), result, STATUS)


@cache
def noise() -> Image:
    """A picture of the largest size that goes out; as JPEG it is larger than any socket's buffer."""
    return np.random.default_rng(7).integers(0, 255, (1280, 1280, 3), np.uint8)


@pytest.fixture
def view() -> Iterator[WebSink]:
    before = set(threading.enumerate())
    with WebSink(port=0) as sink:
        yield sink
    assert set(threading.enumerate()) <= before


@pytest.fixture(scope="module")
def served() -> Iterator[WebSink]:
    """One for all the tests that change nothing."""
    with WebSink(port=0) as sink:
        yield sink


def port_of(sink: WebSink) -> int:
    return int(sink.url.rstrip("/").rpartition(":")[2])


def ask(sink: WebSink, path: str, method: str = "GET", **headers: str) -> http.client.HTTPResponse:
    """The answer, read as a whole."""
    connection = http.client.HTTPConnection("127.0.0.1", port_of(sink), timeout=PATIENCE_S)
    with closing(connection):
        connection.request(method, path, headers={name.replace("_", "-"): headers[name] for name in headers})
        answer = connection.getresponse()
        answer.body = answer.read()  # type: ignore[attr-defined]
        return answer


def body(sink: WebSink, path: str) -> Any:
    answer = ask(sink, path)
    assert answer.status == 200, path
    return answer.body  # type: ignore[attr-defined]


def state(sink: WebSink) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(body(sink, "/state.json"))
    return told


class Viewer:
    """A connection that stays: to /stream or /events."""

    def __init__(self, sink: WebSink, path: str) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", port_of(sink), timeout=PATIENCE_S)
        self.connection.request("GET", path)
        self.answer = self.connection.getresponse()

    def picture(self) -> bytes:
        assert self.answer.readline() == b"--frame\r\n"
        assert self.answer.readline() == b"Content-Type: image/jpeg\r\n"
        length = int(self.answer.readline().removeprefix(b"Content-Length: "))
        assert self.answer.readline() == b"\r\n"
        jpeg = self.answer.read(length)
        assert self.answer.readline() == b"\r\n"
        return jpeg

    def state(self) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(self.answer.readline().removeprefix(b"data: "))
        assert self.answer.readline() == b"\n"
        return told

    def close(self) -> None:
        self.answer.close()
        self.connection.close()


def stalled(sink: WebSink) -> socket.socket:
    """A viewer that asks for the pictures and never reads one."""
    viewer = socket.create_connection(("127.0.0.1", port_of(sink)), PATIENCE_S)
    viewer.sendall(b"GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
    return viewer


def eventually(true: Callable[[], bool]) -> bool:
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        if true():
            return True
        time.sleep(0.01)
    return False


# What it shows


def test_the_state_before_during_and_after_a_run(view: WebSink) -> None:
    waiting = state(view)
    assert (waiting["run"], waiting["number"]) == ("waiting", 0)
    assert waiting["result"] is waiting["status"] is None
    assert ask(view, "/frame.jpg").status == 503, "no picture yet"
    put(view, 12)
    running = state(view)
    assert (running["kind"], running["run"], running["number"]) == ("state", "running", 1)
    assert running["result"]["seq"] == 12
    assert running["result"]["action"] == {"label": "Biking", "score": 0.8, "ready": True}
    assert running["result"]["faces"][0]["emotion"]["probs"] == {"happy": 0.75, "sad": 0.25}
    assert running["status"]["fps"] == 29.88 and running["status"]["frames_dropped"] == 2
    view.finish({})
    assert state(view)["run"] == "ended"
    assert not view.closed


def test_how_long_no_picture_came_is_told() -> None:
    clock = ManualClock()
    with WebSink(port=0, clock=clock) as view:
        put(view)
        assert state(view)["idle_s"] == 0.0
        clock.sleep(7.5)
        assert state(view)["idle_s"] == 7.5


def test_the_picture_is_the_annotated_one_enlarged_where_it_is_small(view: WebSink) -> None:
    put(view, 20, np.full((240, 320, 3), (40, 160, 90), np.uint8))
    image = cv2.imdecode(np.frombuffer(body(view, "/frame.jpg"), np.uint8), cv2.IMREAD_COLOR)
    assert image is not None and image.shape == (480, 640, 3)
    assert image[240, 320].tolist() == pytest.approx([40, 160, 90], abs=6)
    assert image[440:460].max() > 230, "the action is written at the bottom"


@pytest.mark.parametrize(
    ("rows", "columns", "shape"),
    [(1080, 1920, (720, 1280, 3)), (1, 1, (4, 4, 3)), (1, 3000, (1, 1280, 3))],
)
def test_no_size_of_picture_is_too_much(
    view: WebSink, rows: int, columns: int, shape: tuple[int, ...]
) -> None:
    put(view, 1, np.zeros((rows, columns, 3), np.uint8))
    image = cv2.imdecode(np.frombuffer(body(view, "/frame.jpg"), np.uint8), cv2.IMREAD_COLOR)
    assert image is not None and image.shape == shape


def test_two_viewers_get_every_picture_that_is_encoded_once(
    view: WebSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded: list[int] = []

    def counted(frame: Frame, result: Result, status: Status, *, min_height: int) -> Image:
        encoded.append(frame.seq)
        return annotate(frame, result, status, min_height=min_height)

    monkeypatch.setattr(web, "annotate", counted)
    put(view, 0)
    assert encoded == [], "nobody looks yet"
    with closing(Viewer(view, "/stream")) as one, closing(Viewer(view, "/stream")) as other:
        for seq in range(1, 6):
            first, second = one.picture(), other.picture()
            assert first == second and first.startswith(b"\xff\xd8")
            put(view, seq)
        assert one.picture() == other.picture() != first
    assert encoded == [0, 1, 2, 3, 4, 5]


def test_pictures_are_limited_in_number_and_end_with_the_newest(view: WebSink) -> None:
    running = True

    def run() -> None:
        for seq in range(10_000):
            if running:
                put(view, seq)
                time.sleep(0.002)

    thread = threading.Thread(target=run)
    thread.start()
    began = time.monotonic()
    with closing(Viewer(view, "/stream")) as viewer:
        for _ in range(11):
            viewer.picture()
        elapsed = time.monotonic() - began
        running = False
        thread.join()
        newest = body(view, "/frame.jpg")
        assert any(viewer.picture() == newest for _ in range(10))
    assert elapsed >= 10 * web.INTERVAL_S


def test_the_events_tell_each_state_and_the_end() -> None:
    with WebSink(port=0) as view:
        viewer = Viewer(view, "/events")
        assert viewer.answer.headers["Content-Type"] == "text/event-stream"
        assert viewer.state()["run"] == "waiting"
        for seq in (3, 4):
            put(view, seq)
            assert viewer.state()["result"]["seq"] == seq
        view.finish({})
    with closing(viewer):
        told = viewer.state()
        assert (told["run"], told["result"]["seq"]) == ("ended", 4)
        assert viewer.answer.readline() == b"", "and the connection ends"


def test_a_silent_source_is_no_silent_connection(view: WebSink, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_feed, "HEARTBEAT_S", 0.05)
    put(view)
    with closing(Viewer(view, "/events")) as events, closing(Viewer(view, "/stream")) as stream:
        assert [events.state()["number"] for _ in range(3)] == [1, 1, 1]
        assert stream.picture() == stream.picture()


def test_the_page_needs_nothing_but_itself(view: WebSink) -> None:
    answer = ask(view, "/")
    page = answer.body.decode()  # type: ignore[attr-defined]
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert re.findall(r"https?://(?!www\.w3\.org/2000/svg)", page) == []
    assert re.findall(r"\son[a-z]+=|\sstyle=|innerHTML|eval\(", page) == [], "the policy would forbid it"
    assert all("alt=" in tag for tag in re.findall(r"<img[^>]*>", page))
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == policy["frame-ancestors"] == "'none'"
    for tag in ("style", "script"):
        (text,) = re.findall(f"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        assert policy[f"{tag}-src"] == f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"


# What it refuses


@pytest.mark.parametrize("path", ["/", "/state.json", "/nothing"])
def test_every_answer_carries_the_safe_headers(served: WebSink, path: str) -> None:
    headers = ask(served, path).headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cache-Control"] == "no-store"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert "Python" not in headers["Server"] and "Access-Control-Allow-Origin" not in headers


@pytest.mark.parametrize(
    "path", ["/nothing", "/index.html", "/../web.py", "/%2e%2e/web.py", "/web_page.html", "//etc/passwd", "*"]
)
def test_any_other_path_is_not_found(served: WebSink, path: str) -> None:
    assert ask(served, path).status == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "HEAD", "TRACE", "BREW"])
def test_any_other_method_is_not_allowed(served: WebSink, method: str) -> None:
    answer = ask(served, "/state.json", method)
    assert (answer.status, answer.headers["Allow"]) == (405, "GET")


@pytest.mark.parametrize(
    "host",
    ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example:80", "127.0.0.1@x", "0.0.0.0", ""],
)
def test_a_foreign_host_is_forbidden(served: WebSink, host: str) -> None:
    for path in ("/", "/state.json", "/frame.jpg", "/stream", "/events"):
        assert ask(served, path, Host=host).status == 403


@pytest.mark.parametrize("host", ["localhost", "LocalHost:9000", "127.0.0.1:8765", "[::1]:8765"])
def test_the_names_of_this_machine_are_good_with_the_port_of_any_tunnel(served: WebSink, host: str) -> None:
    assert ask(served, "/state.json", Host=host, Origin=f"http://{host}").status == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "https://localhost", "http://localhost:1", "null"])
def test_a_foreign_origin_is_forbidden(served: WebSink, origin: str) -> None:
    assert ask(served, "/state.json", Host="localhost", Origin=origin).status == 403


@pytest.mark.parametrize(("site", "status"), [("cross-site", 403), ("same-site", 403), ("same-origin", 200)])
def test_a_picture_inside_a_foreign_page_is_forbidden(served: WebSink, site: str, status: int) -> None:
    assert ask(served, "/state.json", Sec_Fetch_Site=site).status == status


def test_a_body_is_not_taken(served: WebSink) -> None:
    assert ask(served, "/", Content_Length="1000000000").status == 413
    assert ask(served, "/", Transfer_Encoding="chunked").status == 413
    assert ask(served, "/", "POST", Content_Length="1000000000", Expect="100-continue").status == 405


def test_two_hosts_or_none_are_forbidden(served: WebSink) -> None:
    for hosts in (b"Host: localhost\r\nHost: evil.example\r\n", b""):
        with socket.create_connection(("127.0.0.1", port_of(served)), PATIENCE_S) as caller:
            caller.sendall(b"GET / HTTP/1.1\r\n" + hosts + b"\r\n")
            assert caller.recv(64).startswith(b"HTTP/1.1 403 ")


def test_more_viewers_than_places_are_told_so(view: WebSink) -> None:
    viewers = [Viewer(view, "/events") for _ in range(web.MAX_STREAMS)]
    try:
        assert {viewer.answer.status for viewer in viewers} == {200}
        assert ask(view, "/stream").status == ask(view, "/events").status == 503
        assert ask(view, "/state.json").status == 200
        viewers.pop().close()
        assert eventually(lambda: ask_and_leave(view, "/events") == 200), "the place is free again"
    finally:
        for viewer in viewers:
            viewer.close()


def ask_and_leave(view: WebSink, path: str) -> int:
    with closing(Viewer(view, path)) as viewer:
        return viewer.answer.status


def test_only_loopback_is_served() -> None:
    with pytest.raises(ConfigError, match=r"0\.0\.0\.0.*127\.0\.0\.1 only.*tunnel"):
        WebSink(host="0.0.0.0")


def test_a_port_in_use_is_one_clear_line(view: WebSink) -> None:
    line = rf"^{view.url}: the port is in use by another program; use another port with --port$"
    with pytest.raises(SinkError, match=line), WebSink(port=port_of(view)):
        pass


def test_the_same_port_can_be_used_again_at_once() -> None:
    with WebSink(port=0) as first:
        port = port_of(first)
        assert state(first)["run"] == "waiting"
    with WebSink(port=port) as second:
        assert second.url == first.url
        assert state(second)["run"] == "waiting"


# That no viewer holds up the run or its end


def test_slow_viewers_do_not_delay_the_run(view: WebSink) -> None:
    picture = noise()
    put(view, 0, picture)
    viewers = [stalled(view) for _ in range(4)]
    idle = [socket.create_connection(("127.0.0.1", port_of(view))) for _ in range(4)]
    try:
        slowest_s = 0.0
        for seq in range(100):
            began = time.monotonic()
            put(view, seq, picture)
            slowest_s = max(slowest_s, time.monotonic() - began)
            time.sleep(0.005)
        with closing(Viewer(view, "/stream")) as viewer:
            assert viewer.picture() and viewer.picture(), "nor the other viewers"
    finally:
        for connection in (*viewers, *idle):
            connection.close()
    assert slowest_s < min(allowed_s(1.0), LIMITS.stall_s), "a viewer who does not read takes five"


@pytest.mark.parametrize("path", ["/stream", "/events"])
def test_a_viewer_that_never_reads_is_let_go(path: str) -> None:
    with WebSink(port=0, limits=replace(LIMITS, stall_s=0.3)) as view:
        put(view, 0, noise())
        with stalled(view):
            for seq in range(10):
                put(view, seq, noise())
                time.sleep(0.05)
            assert eventually(lambda: view.connections == 0)


def test_a_caller_that_says_nothing_is_let_go() -> None:
    with (
        WebSink(port=0, limits=replace(LIMITS, head_s=0.2)) as view,
        socket.create_connection(("127.0.0.1", port_of(view)), PATIENCE_S) as caller,
    ):
        caller.sendall(b"GET / HT")
        assert caller.recv(1) == b""


def test_the_timeouts_that_ship() -> None:
    assert (LIMITS.stall_s, LIMITS.head_s) == (5.0, 10.0)


def test_more_connections_than_there_may_be_are_closed(view: WebSink) -> None:
    threads = threading.active_count()
    callers = [socket.create_connection(("127.0.0.1", port_of(view))) for _ in range(100)]
    try:
        assert eventually(lambda: sum(map(is_closed, callers)) == 100 - LIMITS.connections)
        assert eventually(lambda: view.connections == LIMITS.connections)
        assert threading.active_count() == threads
        put(view)
    finally:
        for caller in callers:
            caller.close()
    assert eventually(lambda: ask_or_none(view) == 200), "and there is room again"


def is_closed(caller: socket.socket) -> bool:
    """Whether the server has closed it; the server has sent nothing."""
    caller.setblocking(False)
    try:
        return caller.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


def ask_or_none(view: WebSink) -> int | None:
    try:
        return ask(view, "/").status
    except (ConnectionError, http.client.HTTPException):
        return None


def test_it_ends_in_time_with_stalled_idle_and_live_viewers() -> None:
    before = set(threading.enumerate())
    with WebSink(port=0) as view:
        put(view, 0, noise())
        viewers = [stalled(view) for _ in range(3)]
        idle = socket.create_connection(("127.0.0.1", port_of(view)))
        half = socket.create_connection(("127.0.0.1", port_of(view)))
        half.sendall(b"GET / HTTP/1.1\r\nHost: loc")
        live = Viewer(view, "/stream")
        live.picture()
        for seq in range(6):  # until the buffers of those who do not read are full
            put(view, seq, noise())
            time.sleep(0.08)
        began = time.monotonic()
    elapsed = time.monotonic() - began
    assert set(threading.enumerate()) <= before
    live.close()
    for connection in (*viewers, idle, half):
        connection.close()
    assert elapsed < allowed_s(2.0)


def test_an_error_in_an_answer_reaches_the_log_and_not_the_run(
    view: WebSink, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any, **__: Any) -> Image:
        raise ValueError("no such picture")

    put(view)
    with monkeypatch.context() as patched:
        patched.setattr(web, "annotate", broken)
        with pytest.raises(http.client.HTTPException):
            ask(view, "/frame.jpg")
        assert eventually(lambda: "no such picture" in caplog.text)
    assert ask(view, "/frame.jpg").status == 200


@pytest.mark.skipif(sys.platform == "win32", reason="Windows resets instead")
def test_a_viewer_that_leaves_is_no_error(view: WebSink, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    put(view, 0, noise())
    stalled(view).close()
    assert eventually(lambda: view.connections == 0)
    assert caplog.text == ""


WORDS = """(() => {
  const say = (action) => {
    renderAction(action);
    const hidden = part('action-bar').parentElement.hidden;
    return [part('action').textContent, part('action-score').textContent, hidden];
  };
  const look = (emotion) => {
    renderFaces([{ track: 7, emotion }]);
    const face = document.querySelector('#faces li');
    return [face.querySelector('strong').textContent, face.querySelector('.row span').textContent,
      face.querySelector('.bar').hidden];
  };
  const probs = { happy: 0.4, sad: 0.35 };
  return [
    [null, { ready: false, label: 'uncertain', score: 0 }, { ready: true, label: 'uncertain', score: 0.3 },
      { ready: true, label: 'background', score: 1 }, { ready: true, label: 'Biking', score: 0.81 }].map(say),
    [null, { label: 'uncertain', score: 0.4, probs }, { label: 'happy', score: 0.4, probs }].map(look),
  ];
})()"""


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed (apt-get install chromium)")
def test_what_is_not_known_is_told_in_words_and_without_figures(served: WebSink, tmp_path: Path) -> None:
    with Browser(tmp_path / "profile") as browser:
        page = browser.open(served.url)
        page.until("document.readyState === 'complete'")
        actions, faces = page.run(WORDS)
        assert problems(page) == []
        page.close()
    assert actions == [
        ["–", "", False],
        ["Warming up", "", False],
        ["Not sure", "", False],
        ["No action", "", True],
        ["Biking", "81%", False],
    ]
    assert faces == [["In view", "", True], ["Not sure", "", False], ["Happy", "40%", False]]
