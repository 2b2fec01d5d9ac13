"""The app's server: who may ask, what uploads may be, one run for all viewers, slow and hostile clients."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("reportlab", reason="needs the app extra")

from app_parts import BYTES, JSON, App, faces, running, until, write_clip
from edgeharfer.app.settings import Settings, UserLimits
from edgeharfer.cli import run_command

TOKEN = "a token that nobody guesses"
NO_ACTION = {"action": None}
LIMITS = UserLimits(upload_mb=1.0, video_s=5.0, queued=2, viewers=200)


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """One for all the tests that leave nothing behind."""
    settings = Settings(pipeline=NO_ACTION, limits=LIMITS)
    with running(tmp_path_factory.mktemp("uploads"), settings) as started:
        yield started


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """As behind a proxy."""
    settings = Settings(token=TOKEN, names=("faces.example",), sources=("demo",), pipeline=NO_ACTION)
    with running(tmp_path_factory.mktemp("uploads"), settings) as started:
        yield started


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
def test_other_addresses_need_a_token(
    host: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("EDGEHARFER_APP_TOKEN", raising=False)
    assert run_command(["app", "--host", host]) == 2
    told = capsys.readouterr().err
    assert "needs a token" in told and told.count("\n") == 1


def test_a_proxys_name_needs_a_token(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["app", "--name", "faces.example"]) == 2
    assert "faces.example" in capsys.readouterr().err


def test_bad_messages_end_it_before_it_listens(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "messages.json"
    file.write_text('{"merry": "Ha."}', encoding="utf-8")
    assert run_command(["app", "--port", "0", "--messages", str(file)]) == 2
    assert "unknown key 'merry'" in capsys.readouterr().err


def test_a_taken_port_is_told(app: App, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["app", "--port", str(app.port)]) == 2
    assert "in use" in capsys.readouterr().err


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8765", "192.0.2.1", "127.0.0.1.evil.example", ""]
)
def test_foreign_names_are_refused(app: App, host: str) -> None:
    assert app.ask("GET", "/", Host=host).status == 421


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:1234", "[::1]:8765"])
def test_names_of_this_machine_are_not(app: App, host: str) -> None:
    assert app.ask("GET", "/", Host=host).status == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:1", "file://"])
def test_pages_of_other_sites_get_nothing(app: App, origin: str) -> None:
    assert app.order("/api/live", {"source": "demo"}, Origin=origin).status == 403
    assert app.ask("GET", "/api/about", Origin=origin).status == 403


def test_a_link_of_another_site_opens_the_page_and_nothing_else(app: App) -> None:
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert app.ask("GET", "/", None, **link).status == 200
    assert app.ask("GET", "/api/about", None, **link).status == 403
    assert app.ask("GET", "/", None, **{**link, "Sec-Fetch-Mode": "no-cors"}).status == 403


def test_a_form_of_another_site_cannot_send_what_is_taken(app: App) -> None:
    plain = {"Content-Type": "text/plain"}
    assert app.ask("POST", "/api/live", b'{"source": "demo"}', **plain).status == 415
    assert app.ask("POST", "/api/jobs", b"RIFF", **plain).status == 415


def test_every_answer_forbids_what_is_not_its_own(app: App) -> None:
    for path in ("/", "/app.css", "/api/about", "/nothing"):
        headers = app.ask("GET", path).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff" and headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    "path",
    ["/../site.py", "/%2e%2e/site.py", "/..%2fsite.py", "/site.py", "/%00", "/api/jobs/..%2f../report.pdf"],
)
def test_nothing_outside_the_page_is_given(app: App, path: str) -> None:
    assert app.ask("GET", path).status == 404


def test_the_token_is_asked_for_everywhere(guarded: App) -> None:
    assert guarded.ask("GET", "/").headers["location"] == "/login"
    for path in ("/api/about", "/api/sources", "/main.js", "/api/live/view?viewer=a&after=0"):
        assert guarded.ask("GET", path).status == 401
    assert guarded.ask("POST", "/api/jobs?name=x", b"x", **BYTES).status == 401
    assert guarded.ask("GET", "/api/about", Authorization=f"Bearer {TOKEN}").status == 200
    assert guarded.ask("GET", "/api/about", Authorization="Bearer wrong").status == 401
    assert guarded.ask("GET", "/api/about", Authorization=f"Basic {TOKEN}").status == 401
    assert guarded.ask("GET", "/healthz").status == 200
    assert guarded.ask("GET", "/login", Host="faces.example").status == 200


def test_a_session_is_a_cookie_that_scripts_and_other_sites_do_not_get(guarded: App) -> None:
    origin = {"Host": "faces.example", "Origin": "https://faces.example"}
    answer = guarded.order("/api/login", {"token": TOKEN}, **origin)
    cookie = answer.headers["set-cookie"]
    assert all(sign in cookie for sign in ("HttpOnly", "SameSite=strict", "Secure")) and TOKEN not in cookie
    pair = cookie.partition(";")[0]
    assert guarded.ask("GET", "/api/about", Cookie=pair).status == 200
    guarded.order("/api/logout", {}, Cookie=pair)
    assert guarded.ask("GET", "/api/about", Cookie=pair).status == 401


def test_guessing_ends(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with running(tmp_path, Settings(token=TOKEN)) as small:
        answers = [small.order("/api/login", {"token": f"guess {n}"}).status for n in range(12)]
        assert answers == [401] * 10 + [429] * 2
        assert small.ask("GET", "/api/about", Authorization="Bearer guess").status == 429
        assert small.order("/api/login", {"token": TOKEN}).status == 200
        assert small.ask("GET", "/api/about", Authorization=f"Bearer {TOKEN}").status == 200
    assert TOKEN not in caplog.text and "guess" not in caplog.text


def test_from_elsewhere_only_what_was_named_can_be_watched(guarded: App) -> None:
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    found = guarded.ask("GET", "/api/sources", None, **bearer).json
    assert found == {"sources": [{"value": "#0", "name": "demo", "kind": "named"}], "free": False}
    for source in ("/etc/passwd", "http://127.0.0.1/", "0", "demo", "#1"):
        assert guarded.order("/api/live", {"source": source}, **bearer).status == 403
    assert guarded.order("/api/live", {"source": "#0"}, **bearer).status == 202
    guarded.ask("DELETE", "/api/live", None, **bearer)


def test_two_gigabytes_are_refused_before_they_come(app: App) -> None:
    with closing(socket.create_connection(("127.0.0.1", app.port), 30)) as link:
        head = (
            f"POST /api/jobs?name=x HTTP/1.1\r\nHost: 127.0.0.1:{app.port}\r\nContent-Length: {2 * 10**9}\r\n"
        )
        link.sendall(f"{head}Content-Type: application/octet-stream\r\n\r\n".encode() + b"x" * 1000)
        answer = b""
        while b"larger than 1 MB" not in answer and (part := link.recv(4096)):
            answer += part
    assert answer.startswith(b"HTTP/1.1 413") and b"larger than 1 MB" in answer
    assert [path.name for path in app.folder.iterdir()] == ["lock"]


def test_a_sender_who_does_not_say_how_much_is_counted(app: App) -> None:
    with closing(http.client.HTTPConnection("127.0.0.1", app.port, timeout=30)) as connection:
        head = b"\x1aE\xdf\xa3" + bytes(100_000)
        parts = (head for _ in range(30))
        with suppress(BrokenPipeError, ConnectionResetError):  # its answer may be there all the same
            connection.request("POST", "/api/jobs?name=x", parts, BYTES, encode_chunked=True)
        assert connection.getresponse().status == 413
    until(lambda: [path.name for path in app.folder.iterdir()] == ["lock"])


def test_a_sender_who_stops_is_given_up(tmp_path: Path) -> None:
    settings = Settings(limits=UserLimits(stall_s=0.3))
    with (
        running(tmp_path, settings) as small,
        closing(socket.create_connection(("127.0.0.1", small.port), 30)) as link,
    ):
        head = f"POST /api/jobs?name=x HTTP/1.1\r\nHost: 127.0.0.1:{small.port}\r\nContent-Length: 1000\r\n"
        link.sendall(f"{head}Content-Type: application/octet-stream\r\n\r\n".encode() + b"\x1aE\xdf\xa3")
        assert link.recv(4096).startswith(b"HTTP/1.1 408")
        assert [path.name for path in small.folder.iterdir()] == ["lock"]


def test_texts_and_empty_files_are_refused_whatever_they_are_called(app: App) -> None:
    assert app.upload(b"#EXTM3U\nfile:///etc/passwd\n").status == 415
    assert app.upload(b"").status == 400
    assert app.upload(b"\x89PNG").status == 415
    assert [path.name for path in app.folder.iterdir()] == ["lock"]


def test_what_cannot_be_decoded_or_is_too_large_is_told(app: App, tmp_path: Path) -> None:
    cut = app.upload(b"\x00\x00\x00\x18ftypmp42" + bytes(2000)).json["id"]
    broad = cv2.imencode(".png", np.zeros((1, 1), np.uint8))[1].tobytes()
    bomb = broad[:16] + (60_000).to_bytes(4, "big") * 2 + broad[24:]
    large = app.upload(bomb, "bomb.png").json["id"]
    assert "corrupt or unsupported video" in app.finished(cut)["error"]
    assert "60000x60000" in app.finished(large)["error"]
    for job in (cut, large):
        assert app.ask("GET", f"/api/jobs/{job}/report.pdf").status == 409
        assert app.ask("DELETE", f"/api/jobs/{job}").status == 200
    assert [path.name for path in app.folder.iterdir()] == ["lock"]


def test_no_more_wait_than_may_and_a_lost_worker_is_told(app: App, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.webm", 10).read_bytes()
    first, second = (app.upload(clip).json["id"] for _ in range(2))
    third = app.upload(clip)
    assert third.status == 503 and "2 analyses are already queued" in third.json["error"]
    assert app.ask("GET", f"/api/jobs/{second}").json["ahead"] == 1
    assert app.ask("DELETE", f"/api/jobs/{second}").status == 200
    until(lambda: workers())
    os.kill(workers()[0], signal.SIGKILL)
    assert "corrupt or unsupported video" in app.finished(first)["error"]
    app.ask("DELETE", f"/api/jobs/{first}")


def workers() -> list[int]:
    """Processes that this one has started to look at uploads."""
    children = [path.read_text().split() for path in Path("/proc/self/task").glob("*/children")]
    found = [int(pid) for pids in children for pid in pids]
    return [pid for pid in found if b"edgeharfer.app.worker" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def test_reports_go_after_a_while(tmp_path: Path) -> None:
    settings = Settings(pipeline={"action": None, "emotion": None}, limits=UserLimits(keep_s=0.5))
    with running(tmp_path, settings) as small:
        job = small.upload(cv2.imencode(".jpg", faces()[0])[1].tobytes(), "face.jpg").json["id"]
        until(lambda: small.ask("GET", f"/api/jobs/{job}").status == 404)
        assert [path.name for path in small.folder.iterdir()] == ["lock"]


@pytest.fixture
def live(app: App) -> Iterator[App]:
    """The app with the demo running."""
    start(app)
    yield app
    app.ask("DELETE", "/api/live")


@pytest.fixture
def impatient(tmp_path: Path) -> Iterator[App]:
    """Likewise, with an app that waits a second for clients that do not read."""
    with running(
        tmp_path, Settings(pipeline=NO_ACTION, limits=UserLimits(viewers=200, stall_s=1.0))
    ) as started:
        start(started)
        yield started


def start(app: App) -> None:
    assert app.order("/api/live", {"source": "demo"}).status == 202
    until(lambda: app.view()[0]["run"] == "running")


def live_threads() -> int:
    return sum(thread.name == "live" for thread in threading.enumerate())


def test_viewers_share_one_run_and_each_picture_is_encoded_once(live: App) -> None:
    seen: dict[str, list[tuple[int, bytes]]] = {"one": [], "two": [], "three": []}

    def look(viewer: str) -> None:
        after = -1
        while len(seen[viewer]) < 12:
            state, jpeg = live.view(after, viewer)
            after = state["number"]
            if jpeg:
                seen[viewer].append((after, jpeg))

    before = live.view()[0]["printed"]
    threads = [threading.Thread(target=look, args=(viewer,)) for viewer in seen]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert live_threads() == 1
    numbers = {number for pictures in seen.values() for number, _ in pictures}
    assert live.view()[0]["printed"] - before <= len(numbers) + 1
    assert len({jpeg for pictures in seen.values() for _, jpeg in pictures}) <= len(numbers)
    assert live.view()[0]["viewers"] >= 3
    live.ask("DELETE", "/api/live")
    assert live_threads() == 0 and live.view()[0]["run"] == "off"


def test_a_hundred_slow_clients_hold_up_nobody_and_are_cut_off(impatient: App) -> None:
    live = impatient
    with ExitStack() as stack:
        links = [stack.enter_context(closing(slow_client(live, number))) for number in range(100)]
        first, after, pictures = live.view()[0], -1, 0
        while pictures < 25:
            state, jpeg = live.view(after, "quick")
            after, pictures = state["number"], pictures + bool(jpeg)
        assert state["number"] - first["number"] >= 24  # the run went on: a result or more a picture
        assert state["printed"] - first["printed"] <= state["number"] - first["number"] + 1  # once each
        until(lambda: all(is_cut_off(link) for link in links))


def slow_client(app: App, number: int) -> socket.socket:
    """Asks for many pictures at once and reads none."""
    link = socket.socket()
    link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    link.connect(("127.0.0.1", app.port))
    ask = f"GET /api/live/view?viewer=slow{number}&after=-1 HTTP/1.1\r\nHost: 127.0.0.1:{app.port}\r\n\r\n"
    link.sendall(ask.encode() * 12)
    link.setblocking(False)
    return link


def is_cut_off(link: socket.socket) -> bool:
    """Whether the other side has broken off; nothing is read."""
    try:
        link.send(b"")
        return bool(link.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)) or _is_closed(link)
    except OSError:
        return True


def _is_closed(link: socket.socket) -> bool:
    closed = {7, 8}  # TCP_CLOSE and TCP_CLOSE_WAIT of Linux's tcp_states.h
    return link.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] in closed


def test_a_head_that_never_ends_is_not_waited_for(tmp_path: Path) -> None:
    settings = Settings(pipeline={"action": None, "emotion": None}, limits=UserLimits(head_s=0.3))
    with (
        running(tmp_path, settings) as small,
        closing(socket.create_connection(("127.0.0.1", small.port), 30)) as link,
    ):
        link.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ")
        with suppress(ConnectionResetError):
            assert link.recv(100) == b""


def test_the_run_ends_when_nobody_looks_on(tmp_path: Path) -> None:
    settings = Settings(pipeline={"action": None, "emotion": None}, idle_stop_s=0.5)
    with running(tmp_path, settings) as small:
        start(small)
        until(lambda: live_threads() == 0)
        assert small.view()[0]["run"] == "off"


def cli(folder: Path) -> tuple[subprocess.Popen[str], App]:
    """The command as a person starts it."""
    words = [sys.executable, "-c", "from edgeharfer.cli import main; main()", "app", "--port", "0"]
    process = subprocess.Popen(
        [*words, "--upload-dir", str(folder), "--no-browser"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    line = process.stderr.readline()
    assert line.startswith("open http://127.0.0.1:"), line
    [own] = folder.glob("app-*")
    return process, App(int(line.rstrip("/\n").rpartition(":")[2]), own)


def test_it_ends_cleanly_and_clears_up_what_a_killed_one_left(tmp_path: Path) -> None:
    folder = tmp_path / "uploads"
    killed, left = cli(folder)
    with killed:
        assert left.upload(b"\x1aE\xdf\xa3" + bytes(100_000)).status == 202
        killed.kill()
    assert left.folder.exists()
    process, app = cli(folder)
    with process:
        assert not left.folder.exists() and app.folder.stat().st_mode & 0o777 == 0o700
        assert app.ask("POST", "/api/live", json.dumps({"source": "demo"}).encode(), **JSON).status == 202
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
        assert process.stderr is not None and process.stderr.read() == ""
    assert list(folder.iterdir()) == []
