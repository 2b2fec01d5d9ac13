"""Live from the browser's camera: in Chromium, and with clients of other kinds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from functools import cache
from pathlib import Path

import cv2
import pytest

pytest.importorskip("websockets", reason="needs the app extra")

from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from app_parts import App, faces, running, until, write_camera
from chromium import Browser
from edgeharfer.app.browser_camera import MAX_IMAGE_BYTES, NEXT
from edgeharfer.app.settings import Settings, UserLimits

TOKEN = "a token that nobody guesses"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
NO_MODELS = {"action": None, "emotion": None}
PATIENT = UserLimits(image_s=600.0)
"""However slow the machine is, no image comes too late."""
RUNS = "document.getElementById('live-state').textContent === 'Live'"
# Keeps the tracks of the cameras that the page opens.
TRACKS = """(() => {
  window.tracks = [];
  const devices = navigator.mediaDevices, open = devices.getUserMedia.bind(devices);
  devices.getUserMedia = async (wanted) => {
    const stream = await open(wanted);
    window.tracks.push(...stream.getTracks());
    return stream;
  };
})()"""


def open_socket(app: App, headers: Mapping[str, str] | None = None) -> ClientConnection:
    address = f"ws://127.0.0.1:{app.port}/api/live/camera"
    return connect(address, additional_headers=headers, proxy=None, close_timeout=5)


@cache
def images() -> list[bytes]:
    return [cv2.imencode(".jpg", picture)[1].tobytes() for picture in faces()]


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    with running(tmp_path_factory.mktemp("uploads"), Settings(pipeline=NO_MODELS, limits=PATIENT)) as started:
        yield started


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    settings = Settings(token=TOKEN, names=("faces.example",), pipeline=NO_MODELS, limits=PATIENT)
    with running(tmp_path_factory.mktemp("uploads"), settings) as started:
        yield started


@pytest.mark.needs("Chromium")
def test_the_faces_before_the_browsers_camera_are_recognised(app: App, tmp_path: Path) -> None:
    """Its pictures are marked, nothing of them reaches the disk, and Stop turns the camera off."""
    with Browser(tmp_path / "profile", write_camera(tmp_path / "camera.mjpeg")) as browser:
        page = browser.open(app.url)
        page.until("document.getElementById('source').value === 'browser'")  # there is a camera
        page.run(TRACKS)
        page.click("start")
        page.until(f"{RUNS} && document.querySelectorAll('#people .person').length >= 2")
        page.until("Number(document.getElementById('picture').dataset.shown) > 3")
        assert [path.name for path in app.folder.rglob("*")] == ["lock"]
        page.click("stop")
        page.until("document.getElementById('live-state').textContent === 'Off'")
        page.until("tracks.length === 1 && tracks.every(track => track.readyState === 'ended')")
        page.click("start")
        page.until(f"{RUNS} && tracks.length === 2")
        page.run("location.hash = 'teach'")  # another view needs the camera itself
        page.until("tracks.every(track => track.readyState === 'ended')")
        until(lambda: app.view()[0]["run"] == "off")
        assert page.complaints == []


@pytest.mark.needs("Chromium")
def test_a_page_that_gets_no_camera_says_why(app: App, tmp_path: Path) -> None:
    with Browser(tmp_path / "profile") as browser:
        page = browser.open(app.url)
        page.until("document.getElementById('source').options.length > 1")
        page.run("void Object.defineProperty(window, 'isSecureContext', {value: false})")
        page.run("document.getElementById('source').value = 'browser'")
        page.run("document.getElementById('source').dispatchEvent(new Event('change'))")
        assert "https" in page.text("source-note") and "localhost" in page.text("source-note")
        assert page.run("document.getElementById('start').disabled")


def test_only_a_page_of_the_app_with_its_token_is_let_in(app: App, guarded: App) -> None:
    assert app.ask("GET", "/api/live/camera").status == 426
    assert app.ask("POST", "/api/live/camera").status == 405
    for at, headers, status in (
        (app, {"Origin": "http://evil.example"}, 403),
        (app, {"Origin": "null"}, 403),
        (app, {"Sec-Fetch-Site": "cross-site"}, 403),
        (guarded, {}, 401),
        (guarded, {"Authorization": "Bearer wrong"}, 401),
    ):
        with pytest.raises(InvalidStatus) as refused:
            open_socket(at, headers)
        assert refused.value.response.status_code == status
    with open_socket(guarded, BEARER) as socket:
        assert socket.recv(60) == NEXT
    with open_socket(app, {"Origin": app.url.rstrip("/")}) as socket:
        assert socket.recv(60) == NEXT


def test_each_image_is_asked_for_and_the_last_camera_wins(app: App) -> None:
    with open_socket(app) as first:
        for image in images()[:3]:
            assert first.recv(60) == NEXT
            first.send(image)
        until(lambda: app.view()[0]["run"] == "running")
        with open_socket(app) as second:
            assert second.recv(60) == NEXT
            with pytest.raises(ConnectionClosed) as ended:
                while True:
                    first.recv(60)
                    first.send(images()[0])
            assert ended.value.rcvd is not None and ended.value.rcvd.code == 1000
            second.send(images()[0])
            assert second.recv(60) == NEXT
            app.ask("DELETE", "/api/live")
        assert app.view()[0]["run"] == "off"


def test_a_client_that_does_not_wait_to_be_asked_holds_nobody_up(app: App) -> None:
    """Its images wait in its own connection; others are served, and Stop ends it."""
    with open_socket(app) as socket:
        socket.recv(60)
        for image in images():
            socket.send(image)
        until(lambda: app.view()[0]["run"] == "running")
        assert app.ask("GET", "/healthz").status == 200
        assert app.ask("DELETE", "/api/live").status == 200
        with pytest.raises(ConnectionClosed):
            while True:
                socket.recv(60)
    assert app.view()[0]["run"] == "off"


@pytest.mark.parametrize("message", [bytes(MAX_IMAGE_BYTES + 1), "text"])
def test_what_is_no_image_ends_the_connection_and_nothing_else(app: App, message: bytes | str) -> None:
    with open_socket(app) as socket:
        socket.recv(60)
        with pytest.raises(ConnectionClosed) as ended:
            socket.send(message)
            while True:
                socket.recv(60)
        assert ended.value.rcvd is None or ended.value.rcvd.code in (1003, 1009)
    until(lambda: app.view()[0]["run"] != "running")
    assert app.ask("GET", "/healthz").status == 200


def test_the_app_ends_while_a_camera_is_connected(tmp_path: Path) -> None:
    with ExitStack() as stack:
        with running(tmp_path, Settings(pipeline=NO_MODELS, limits=PATIENT)) as small:
            socket = stack.enter_context(open_socket(small))
            assert socket.recv(60) == NEXT
        with pytest.raises(ConnectionClosed):
            socket.recv(60)
