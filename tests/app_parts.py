"""The web app as the tests use it: a server in a thread, clips of the demo's faces, plain requests."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from queue import Queue
from typing import Any

import cv2

from edgeharfer.app.server import serve
from edgeharfer.app.settings import Settings
from edgeharfer.runtime.clock import SystemClock
from edgeharfer.runtime.source.demo import DemoSource
from edgeharfer.runtime.types import Image
from films import write_film

PATIENCE_S = 60.0
BYTES = {"Content-Type": "application/octet-stream"}
JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True)
class Answer:
    """What a server said."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class App:
    """A running app."""

    port: int
    folder: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)) as connection:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())

    def order(self, path: str, content: Any, **headers: str) -> Answer:
        return self.ask("POST", path, json.dumps(content).encode(), **{**JSON, **headers})

    def upload(self, data: bytes, name: str = "clip.mp4") -> Answer:
        return self.ask("POST", f"/api/jobs?name={name}", data, **BYTES)

    def view(self, after: int = -1, viewer: str = "test") -> tuple[dict[str, Any], bytes]:
        """The facts and the picture that are newer than `after`."""
        answer = self.ask("GET", f"/api/live/view?viewer={viewer}&after={after}")
        assert answer.status == 200, answer.body
        length = int(answer.headers["x-state-bytes"])
        return json.loads(answer.body[:length]), answer.body[length:]

    def finished(self, job: str) -> dict[str, Any]:
        """What became of an upload."""
        until(lambda: self.ask("GET", f"/api/jobs/{job}").json["phase"] in ("done", "failed"))
        state = self.ask("GET", f"/api/jobs/{job}").json
        assert isinstance(state, dict)
        return state


@contextmanager
def running(folder: Path, settings: Settings) -> Iterator[App]:
    """An app on a free port."""
    addresses: Queue[str] = Queue()
    stop = threading.Event()
    settings = replace(settings, port=0, folder=folder)
    thread = threading.Thread(target=serve, args=(settings, addresses.put, stop.is_set), name="app")
    thread.start()
    try:
        port = int(addresses.get(timeout=PATIENCE_S).rstrip("/").rpartition(":")[2])
        [own] = folder.glob("app-*")
        yield App(port, own)
    finally:
        stop.set()
        thread.join(PATIENCE_S)
        assert not thread.is_alive()


def until(holds: Callable[[], Any]) -> None:
    """Wait for something to come true."""
    due_s = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < due_s, "it never came true"
        time.sleep(0.05)


@cache
def faces(count: int = 20) -> tuple[Image, ...]:
    """Pictures of the demo, in which two faces move, ten a second."""
    source = DemoSource(SystemClock())
    pictures = []
    for number in range(3 * count):
        frame = source.read()
        assert frame is not None
        if number % 3 == 0:
            pictures.append(frame.bgr)
    return tuple(pictures)


def write_clip(path: Path, count: int = 20, codec: str = "VP80") -> Path:
    """A video of these, which a browser can play, too."""
    return write_film(path, faces(count), 10, codec)


def write_camera(path: Path, count: int = 20) -> Path:
    """The same as motion JPEG, for the browser's fake camera."""
    path.write_bytes(b"".join(cv2.imencode(".jpg", picture)[1].tobytes() for picture in faces(count)))
    return path
