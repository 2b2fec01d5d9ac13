"""The app with clients that send slowly, guess tokens, or leave at odd moments: all others are served."""

from __future__ import annotations

import http.client
import json
import logging
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("reportlab", reason="needs the app extra")

from app_parts import BYTES, App, running, until
from edgeharfer.app.settings import Settings, UserLimits

Figures = Callable[..., None]

TOKEN = "correct-horse-battery-staple"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
NO_MODELS = {"action": None, "emotion": None}
MATROSKA = b"\x1aE\xdf\xa3"
ADDRESSES = ["127.0.0.1", "127.0.0.2"] if sys.platform == "linux" else ["127.0.0.1"]
"""The attackers' own address, and another one where loopback has more than one."""


def head(app: App, method: str, path: str, *lines: str) -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", f"Host: 127.0.0.1:{app.port}", *lines, "", ""]).encode()


def login(app: App) -> bytes:
    return head(app, "POST", "/api/login", "Content-Type: application/json", "Content-Length: 100")


def upload(app: App, *lines: str) -> bytes:
    kind = "Content-Type: application/octet-stream"
    bearer = f"Authorization: Bearer {TOKEN}"
    return head(app, "POST", "/api/jobs?name=slow", bearer, kind, *(lines or ("Content-Length: 100000000",)))


def connect(app: App) -> socket.socket:
    return socket.create_connection(("127.0.0.1", app.port), 10)


def status(app: App, address: str, path: str, **headers: str) -> int:
    """What a client at this address gets."""
    source = (address, 0)
    with closing(http.client.HTTPConnection("127.0.0.1", app.port, 10, source)) as link:
        link.request("GET", path, headers=headers)
        answer = link.getresponse()
        answer.read()
        return answer.status


def served(app: App) -> bool:
    """Whether well-behaved clients get their answers, at the attackers' address and elsewhere."""
    return all(
        status(app, address, "/healthz") == 200 and status(app, address, "/api/about", **BEARER) == 200
        for address in ADDRESSES
    )


@contextmanager
def app_with(folder: Path, limits: UserLimits) -> Iterator[App]:
    with running(folder, Settings(token=TOKEN, pipeline=NO_MODELS, limits=limits)) as app:
        yield app


def test_slow_bodies_keep_nobody_out(tmp_path: Path, figures: Figures) -> None:
    limits = UserLimits(body_s=1.0)
    with app_with(tmp_path, limits) as app, ExitStack() as stack:
        waits = []
        for number in range(limits.connections - 1):
            link = stack.enter_context(closing(connect(app)))
            link.sendall(login(app))
            if number % 16 == 0:
                start_s = time.monotonic()
                assert served(app)
                waits.append(time.monotonic() - start_s)
        figures(slow_bodies=limits.connections - 1, served_s=max(waits))
        link.settimeout(60)
        assert link.recv(100).startswith(b"HTTP/1.1 408")
        assert served(app)


def test_a_body_that_trickles_has_a_deadline(tmp_path: Path) -> None:
    with app_with(tmp_path, UserLimits(body_s=0.5)) as app, closing(connect(app)) as link:
        link.sendall(login(app))
        answer, due_s = b"", time.monotonic() + 60
        link.settimeout(0.05)
        while not answer and time.monotonic() < due_s:
            with suppress(TimeoutError):
                link.sendall(b" ")
                answer = link.recv(100)
        assert answer.startswith(b"HTTP/1.1 408")


def test_trickling_uploads_keep_no_place(tmp_path: Path, figures: Figures) -> None:
    limits = UserLimits(queued=4, stall_s=2.0)
    with app_with(tmp_path, limits) as app, ExitStack() as stack:
        over, links = threading.Event(), [stack.enter_context(closing(connect(app))) for _ in range(4)]
        for link in links:
            link.sendall(upload(app) + MATROSKA)
        until(lambda: len(list(app.folder.iterdir())) == limits.uploads_per_address + 1)

        def trickle() -> None:
            while not over.wait(0.05):
                for link in links:
                    with suppress(OSError):
                        link.sendall(b"a")

        thread = threading.Thread(target=trickle)
        thread.start()
        try:
            start_s = time.monotonic()
            other = _upload(app, ADDRESSES[-1])
            until(lambda: _upload(app, "127.0.0.1") == 202)
            figures(upload_served_s=time.monotonic() - start_s)
            assert other == 202 or len(ADDRESSES) == 1
            until(lambda: all(_was_answered(link) for link in links))
        finally:
            over.set()
            thread.join()


def _upload(app: App, address: str) -> int:
    """A whole upload, whose analysis is cancelled at once."""
    with closing(http.client.HTTPConnection("127.0.0.1", app.port, 10, (address, 0))) as link:
        link.request("POST", "/api/jobs?name=me", MATROSKA + bytes(5000), {**BYTES, **BEARER})
        answer = link.getresponse()
        told = json.load(answer)
    if answer.status == 202:
        app.ask("DELETE", f"/api/jobs/{told['id']}", None, **BEARER)
    return answer.status


def _was_answered(link: socket.socket) -> bool:
    link.setblocking(False)
    try:
        link.recv(100, socket.MSG_PEEK)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def test_an_upload_that_moves_keeps_its_place(tmp_path: Path) -> None:
    with app_with(tmp_path, UserLimits(queued=1, stall_s=60.0)) as app, closing(connect(app)) as link:
        data = MATROSKA + bytes(20_000)
        link.sendall(upload(app, f"Content-Length: {len(data)}") + data[:10_000])
        until(lambda: len(list(app.folder.iterdir())) == 2)
        assert _upload(app, "127.0.0.1") == 503
        link.sendall(data[10_000:])
        assert link.recv(100).startswith(b"HTTP/1.1 202")


def test_wrong_tokens_never_shut_the_right_one_out(tmp_path: Path) -> None:
    with app_with(tmp_path, UserLimits()) as app:
        for number in range(12):
            wrong = {"Authorization": f"Bearer wrong-{number}"}
            assert app.ask("GET", "/api/about", None, **wrong).status == (401 if number < 10 else 429)
        limited = app.order("/api/login", {"token": "wrong"})
        assert limited.status == 429 and limited.headers["retry-after"] == "60"
        assert served(app)
        assert app.order("/api/login", {"token": TOKEN}).status == 200
        if len(ADDRESSES) > 1:
            assert status(app, ADDRESSES[1], "/api/about", Authorization="Bearer wrong") == 401


def test_text_that_cannot_be_encoded_is_refused(tmp_path: Path) -> None:
    """In tokens, sources, names of files, origins, cookies and paths."""
    with app_with(tmp_path, UserLimits()) as app:
        for token in ("\ud800", "x\udfff", ["\ud800"], {"\ud800": 1}, 7, None):
            assert app.order("/api/login", {"token": token}).status == 400
        for source in ("\ud800", "/tmp/\udc00.mp4", "a\0b", "", 7, "a" * 3000):
            assert app.order("/api/live", {"source": source}, **BEARER).status == 400
        for name in ("%ED%A0%80", "%00", "%ff%fe", "..%2f..%2fx", "a" * 3000):
            assert app.ask("POST", f"/api/jobs?name={name}", b"text", **BYTES, **BEARER).status == 415
        for sign in ("\xff", "\xed\xa0\x80", "\x80", "["):
            assert app.ask("GET", "/api/about", None, Authorization=f"Bearer {sign}").status in (401, 429)
            assert app.ask("GET", "/api/about", Cookie=f"edgeharfer_session={sign}").status == 401
            assert app.ask("GET", "/api/about", None, Origin=f"http://{sign}", **BEARER).status == 403
            assert app.ask("GET", "/api/about", None, Host=sign, **BEARER).status == 421
        for path in ("/%ED%A0%80", "/api/jobs/%ED%A0%80", "/api/jobs/%00/digest"):
            assert app.ask("GET", path, None, **BEARER).status == 404
        assert app.ask("GET", "/api/live/view?viewer=%ED%A0%80&after=0", None, **BEARER).status == 400


def test_a_token_may_hold_any_letters(tmp_path: Path) -> None:
    token = "Größe à la carte"
    with running(tmp_path, Settings(token=token, pipeline=NO_MODELS)) as app:
        bearer = b"Bearer " + token.encode()
        assert app.ask("GET", "/api/about", Authorization=bearer.decode("latin-1")).status == 200
        assert app.order("/api/login", {"token": token}).status == 200


def test_no_answer_tells_where_files_lie(tmp_path: Path) -> None:
    films = tmp_path / "films of the door"
    films.mkdir()
    (films / "cut.mp4").write_bytes(b"\x00\x00\x00\x18ftypmp42" + bytes(500))
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    cv2.imwrite(str(pictures / "one.png"), np.zeros((64, 64, 3), np.uint8))
    sources = (str(films / "cut.mp4"), str(films / "none.mp4"), str(pictures))
    settings = Settings(pipeline=NO_MODELS, sources=sources)
    folder = tmp_path / "uploads of all"
    with running(folder, settings) as app:
        told = [app.ask("GET", path).body for path in ("/api/sources", "/api/about")]
        for source in ("#0", "#1", str(films), "/no/such/folder/clip.mp4"):
            assert app.order("/api/live", {"source": source}).status == 202
            until(lambda: app.view()[0]["run"] == "failed")
            state = app.view()[0]
            assert state["error"]
            told.append(str(state).encode())
        assert app.order("/api/live", {"source": "#2"}).status == 202
        until(lambda: app.view()[0]["run"] == "ended")
        told.append(str(app.view()[0]).encode())
        assert app.view()[0]["source"] == "pictures"
        for data in (MATROSKA, b"\x89PNG\r\n\x1a\n"):
            job = app.upload(data + bytes(5000)).json["id"]
            assert app.finished(job)["phase"] == "failed"
            told.append(app.ask("GET", f"/api/jobs/{job}").body)
    for answer in told:
        assert not any(str(part).encode() in answer for part in (films, folder, tmp_path, "/no/such"))


def requests(app: App) -> dict[str, bytes]:
    """Of every kind and in every state, whole and cut off."""
    bearer, chunked = f"Authorization: Bearer {TOKEN}", "Transfer-Encoding: chunked"
    page = head(app, "GET", "/login")
    view = head(app, "GET", "/api/live/view?viewer=a&after=-1", bearer)
    upgrade = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13")
    as_json = "Content-Type: application/json"
    return {
        "nothing": b"",
        "half a head": page[:-3],
        "whole": page,
        "several": page * 3,
        "body": login(app) + b"{",
        "body after the answer": head(app, "GET", "/login", "Content-Length: 9") + b"a",
        "expected body": head(
            app, "POST", "/api/login", as_json, "Expect: 100-continue", "Content-Length: 9"
        ),
        "upload": upload(app) + MATROSKA + bytes(9000),
        "bad chunk": head(app, "POST", "/api/login", as_json, chunked) + b"zz\r\n",
        "bad chunk of an upload": upload(app, chunked) + b"4\r\n" + MATROSKA + b"\r\nzz\r\n",
        "refused upload": head(app, "POST", "/api/jobs", bearer, as_json, chunked) + b"4\r\ntext\r\n",
        "bad chunk after an answer": head(app, "POST", "/api/about", bearer, chunked) + b"zz\r\n",
        "view": view,
        "many views": view * 20,
        "web socket": head(app, "GET", "/api/live/view", bearer, "Sec-WebSocket-Key: YQ==", *upgrade),
        "garbage": b"\x16\x03\x01\xff\x00\r\n\r\n",
        "garbage after a request": page + b"\x16\x03\x01\r\n\r\n",
    }


def leave(link: socket.socket, how: str) -> None:
    with suppress(OSError):
        if how == "half-close":
            link.shutdown(socket.SHUT_WR)
            link.settimeout(0.2)
            link.recv(100)
        elif how == "reset":
            link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    link.close()


@pytest.mark.parametrize("how", ["reset", "close", "half-close"])
def test_clients_that_leave_at_odd_moments_leave_no_traceback(
    how: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with app_with(tmp_path, UserLimits(stall_s=0.3, head_s=0.3, body_s=0.5)) as app:
        for data in requests(app).values():
            for answered in (0.0, 0.02, 0.3):
                link = connect(app)
                with suppress(OSError):
                    link.sendall(data)
                    if answered:
                        link.settimeout(answered)
                        link.recv(10)
                        link.sendall(b"zz\r\n")  # no chunk, no request
                leave(link, how)
        until(lambda: [path.name for path in app.folder.iterdir()] == ["lock"])
        time.sleep(0.5)  # timers of connections that are gone would run out by now
        assert served(app)
    wrong = [record for record in caplog.records if record.levelno >= logging.WARNING or record.exc_info]
    assert [record.getMessage() for record in wrong if record.name == "asyncio" or record.exc_info] == []
