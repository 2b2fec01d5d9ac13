"""The page Teach in a real Chromium, with its fake camera: examples, the score, the live view."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from app_parts import BYTES, Answer, App, faces, running, write_camera, write_clip
from axe import problems
from chromium import Browser, Page
from edgeharfer.app.settings import Settings, UserLimits
from edgeharfer.runtime.inference.package import verify_package
from films import write_film

CLASSES = (
    "[...document.querySelectorAll('#classes li')].map(row => [...row.children].slice(0, 2)"
    ".map(child => child.textContent).join(': '))"
)


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    limits = UserLimits(example_s=2.0, countdown_s=0.0)
    with running(tmp_path_factory.mktemp("uploads"), Settings(limits=limits)) as started:
        yield started


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    folder = tmp_path_factory.mktemp("browser")
    with Browser(folder / "profile", write_camera(folder / "camera.mjpeg")) as started:
        yield started


@pytest.fixture
def page(app: App, browser: Browser) -> Iterator[Page]:
    opened = browser.open(app.url + "#teach")
    opened.until("document.getElementById('teach-terms').textContent !== ''")
    yield opened
    assert opened.complaints == []
    opened.close()


def record(page: Page, label: str, listed: str) -> None:
    page.run(f"document.getElementById('example-label').value = {json.dumps(label)}")
    page.until("!document.getElementById('example-record').disabled")
    page.click("example-record")
    page.until(f"{CLASSES}.includes({json.dumps(listed)})")


def shaded_clip(path: Path, number: int) -> bytes:
    pictures = [picture // (number + 2) for picture in faces()]
    return write_film(path, pictures, 10, "VP80").read_bytes()


def add_example(app: App, label: str, clip: bytes) -> Answer:
    return app.ask("POST", f"/api/lesson/examples?label={label}", clip, **BYTES)


@pytest.mark.needs("Chromium")
def test_two_actions_are_recorded_taught_tried_and_saved(page: Page, app: App, tmp_path: Path) -> None:
    page.click("teach-camera")
    page.until("document.getElementById('teach-preview').videoWidth > 0")
    record(page, "left", "left: 1 of 5 examples")
    assert page.run("document.getElementById('teach-start').disabled")  # one action is not enough
    for number, label in enumerate(("left", "right", "right")):  # as the page sends them
        assert add_example(app, label, shaded_clip(tmp_path / f"{number}.webm", number)).status == 201
    page.run("location.reload()")
    page.until(f"{CLASSES}.includes('right: 2 of 5 examples')")
    page.click("teach-start")
    page.until("!document.getElementById('taught').hidden")
    assert page.text("taught-score").endswith("of 4 examples recognised")
    rows = page.run("[...document.querySelectorAll('#taught-table tr')].map(row => row.innerText)")
    assert rows[0].split("\t") == ["Shown", "Left", "Right", "No action"] and len(rows) == 3
    assert "left has only 2 examples" in page.text("taught-warnings")
    saved = app.ask("GET", "/api/lesson/package.zip")
    zipfile.ZipFile(io.BytesIO(saved.body)).extractall(tmp_path)
    assert verify_package(tmp_path / "taught").manifest.labels == ("left", "right", "background")
    assert problems(page) == []
    page.click("teach-try")
    page.until("!document.getElementById('live').hidden")
    assert page.run("document.getElementById('teach-preview').srcObject") is None  # the camera is free again
    assert app.order("/api/live", {"source": "demo"}).status == 202
    page.until("!document.getElementById('picture').hidden")
    assert app.view()[0]["models"]["action"].startswith("taught ")
    assert app.ask("DELETE", "/api/lesson").json["classes"] == []
    assert not list(app.folder.rglob("*.webm")) and app.view()[0]["run"] == "off"


def test_a_signed_app_does_not_run_what_was_just_taught(tmp_path: Path) -> None:
    with running(tmp_path / "uploads", Settings(signature_key=tmp_path / "key.pub")) as app:
        answer = app.ask("POST", "/api/lesson/try")
        assert answer.status == 403 and "signed packages" in answer.json["error"]


def test_examples_that_cannot_be_used_are_refused(app: App, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.webm").read_bytes()

    def add(label: str, body: bytes) -> tuple[int, str]:
        answer = add_example(app, label, body)
        return answer.status, str(answer.json.get("error", ""))

    assert add("background", clip)[0] == 400
    assert add("..%2Fescaped", clip)[0] == 400
    assert add("wave", b"not a video" * 1000) == (415, "unsupported format: the file content is not a video")
    assert app.ask("POST", "/api/lesson/try").status == 409
    assert app.ask("GET", "/api/lesson/package.zip").status == 409
    assert add("wave", clip)[0] == 201
    assert add("Wave", clip)[0] == 400
    assert app.ask("DELETE", "/api/lesson/examples?label=clap").status == 404
    assert app.ask("POST", "/api/lesson").status == 202
    state = app.lesson()
    assert state["phase"] == "failed" and state["error"].startswith("only one class, wave")
    assert app.ask("DELETE", "/api/lesson/examples?label=wave").json["classes"] == []
    app.ask("DELETE", "/api/lesson")
