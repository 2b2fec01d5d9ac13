"""Make the pictures of the web app, in Chromium: PYTHONPATH=tests python docs/pictures_app.py"""

from __future__ import annotations

import tempfile
from pathlib import Path
from urllib.parse import quote

import numpy as np

from app_parts import BYTES, App, faces, running, write_camera, write_clip
from chromium import Browser, Page
from edgeharfer.app.settings import Settings
from edgeharfer.runtime.types import Image
from films import write_film

HERE = Path(__file__).parent
SECONDS = 8
ACTION = "document.getElementById('action').textContent !== 'Warming up …'"
RUNS = "document.getElementById('live-state').textContent === 'Demo'"
MESSAGE = "[...document.querySelectorAll('#people .message')].some(line => line.textContent)"


def live(browser: Browser, url: str) -> None:
    """Write the live view after some seconds of the demo, in light, and in dark on a phone."""
    page = browser.open(url, width=1280, height=900)
    page.until("document.getElementById('source').options.length > 0")
    page.run("document.getElementById('source').value = 'demo'")
    page.run("document.getElementById('source').dispatchEvent(new Event('change'))")
    page.click("start")
    page.until(f"{RUNS} && {MESSAGE} && {ACTION}")
    page.picture(HERE / "app-live.png")
    page.look(width=390, height=844, dark=True, phone=True)
    page.until("Number(document.getElementById('picture').dataset.shown) > 5")
    page.picture(HERE / "app-live-phone.png")
    page.click("stop")
    page.close()


def analysis(browser: Browser, url: str, folder: Path) -> None:
    """Write the result of an upload, in light and dark, and the page for uploads and recordings."""
    page = browser.open(url + "#analyse", width=1280, height=620)
    page.until("document.getElementById('terms').textContent")
    page.picture(HERE / "app-upload.png")
    upload(page, write_clip(folder / "demo.webm", 10 * SECONDS))
    page.until("!document.getElementById('player').hidden")
    page.run("document.getElementById('moment').value = '5'")
    page.run("document.getElementById('moment').dispatchEvent(new Event('input'))")
    page.until("document.getElementById('film').currentTime > 4.9")
    page.run("document.activeElement.blur()")
    page.picture(HERE / "app-analysis.png")
    page.look(width=1281, dark=True)
    page.picture(HERE / "app-analysis-dark.png")
    page.close()


def teaching(browser: Browser, app: App, folder: Path) -> None:
    """Write the page Teach after a lesson of two actions: the demo's pictures move, or stand still."""
    pictures = faces(5 * SECONDS)
    for number in range(5):
        part = [dimmed(picture, number) for picture in pictures[2 * number :][:30]]
        for label, film in (("move", part), ("stand still", [part[0]] * 30)):
            clip = write_film(folder / f"{label}.webm", film, 10, "VP80")
            address = f"/api/lesson/examples?label={quote(label)}"
            assert app.ask("POST", address, clip.read_bytes(), **BYTES).status == 201
    page = browser.open(app.url + "#teach", width=1280, height=900)
    page.until("!document.getElementById('teach-start').disabled")
    page.click("teach-camera")
    page.until("document.getElementById('teach-preview').videoWidth > 0")
    page.run("document.getElementById('example-label').value = 'move'")
    page.click("teach-start")
    page.until("!document.getElementById('taught').hidden")
    page.picture(HERE / "app-teach.png")
    page.close()


def dimmed(picture: Image, steps: int) -> Image:
    """Return a darker picture, so that no two examples are copies."""
    return (picture * (1 - steps / 10)).astype(np.uint8)


def upload(page: Page, file: Path) -> None:
    """Upload a file and wait for the result."""
    page.choose("file", file)
    page.until("!document.getElementById('result').hidden")


def main() -> None:
    """Write all pictures."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        camera = write_camera(folder / "camera.mjpeg")
        with running(folder / "uploads", Settings()) as app, Browser(folder / "profile", camera) as browser:
            live(browser, app.url)
            analysis(browser, app.url, folder)
            teaching(browser, app, folder)


if __name__ == "__main__":
    main()
