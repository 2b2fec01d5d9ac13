"""The result of a video in Chromium, from a digest made here: pictures, boxes and charts show one moment."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("reportlab", reason="needs the app extra")

from app_parts import App, faces, running, write_clip
from axe import problems
from chromium import Browser, Page
from edgeharfer.app.settings import Settings

pytestmark = pytest.mark.needs("Chromium")

FPS, WIDTH, HEIGHT = 10, 640, 480
SHOW = """(async (digest, data) => {
  const { showResult } = await import('./result.js');
  const file = data && new File([Uint8Array.from(atob(data), one => one.charCodeAt(0))], 'clip.webm');
  document.getElementById('intake').hidden = true;
  document.getElementById('result').hidden = false;
  showResult({id: 'none'}, digest, file, {limits: {keep_s: 900}});
})(%s, %s).then(() => null)"""
CLICK = """(() => {
  const chart = document.querySelector('%s svg'), box = chart.getBoundingClientRect();
  chart.setPointerCapture = () => undefined;
  const where = {clientX: box.left + %s, clientY: box.top + 20, pointerId: 1, bubbles: true};
  chart.dispatchEvent(new PointerEvent('pointerdown', where));
})()"""
# The x of the box, the times of both cursors and of the description, and of the player.
STATE = """(() => {
  const mark = chart => Number(document.querySelector(chart + ' .mark').getAttribute('x1'));
  const [wide, strip] = ['#timeline', '#strip'].map(
      chart => document.querySelector(chart + ' svg').viewBox.baseVal.width);
  return {
    box: Number(document.querySelector('#film-faces .face').getAttribute('x')),
    name: document.querySelector('#film-faces .face-name').textContent,
    timeline: 2 * (mark('#timeline') - 46) / (wide - 56), strip: 2 * mark('#strip') / strip,
    text: document.getElementById('moment-text').textContent, playing: !film.paused,
    player: film.currentTime, ended: film.ended, width: wide, strip_width: strip,
  };
})()"""


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    with running(tmp_path_factory.mktemp("uploads"), Settings(pipeline={"action": None})) as started:
        yield started


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("browser")) as started:
        yield started


@pytest.fixture
def page(app: App, browser: Browser) -> Iterator[Page]:
    opened = browser.open(app.url + "#analyse")
    opened.until("document.getElementById('terms').textContent !== ''")
    yield opened
    opened.close()


def box(number: int) -> dict[str, Any]:
    """The box of a frame: its x is ten times the number of the frame."""
    return {"t": number / FPS, "label": "happy", "score": 0.9, "box": [10 * number, 40, 80, 80]}


def digest(annotated: bool = False) -> dict[str, Any]:
    """One person in all frames."""
    known = {"shares": {"happy": 1}, "intensity": 0.9, "strength": "strong"}
    frames = len(faces())
    boxes = [box(number) for number in range(frames)]
    person = {
        **known,
        **{"track": 7, "seen_s": frames / FPS, "label": "happy", "share": 1, "message": ""},
        **{"best": {"t": 0.5, "box": [200, 100, 150, 150]}, "boxes": boxes},
        "points": [{**one, "intensity": 0.9, "probs": [0.9, 0.1]} for one in boxes],
    }
    return {
        **{"name": "clip", "kind": "video", "width": WIDTH, "height": HEIGHT, "frames": frames},
        **{"duration_s": frames / FPS, "samples": frames, "step_s": 1 / FPS, "labels": ["happy", "sad"]},
        **{"people_seen": 1, "group": {**known, "coverage": 1, "confidence": 0.9}, "people": [person]},
        "actions": [{"label": "Biking", "start_s": 0.5, "end_s": 1.5, "score": 0.9}],
        **{"likely": [], "annotated": annotated},
    }


def show(page: Page, clip: bytes | None, content: dict[str, Any]) -> None:
    data = "null" if clip is None else json.dumps(base64.b64encode(clip).decode("ascii"))
    page.run(SHOW % (json.dumps(content), data))


def moment(page: Page, time_s: float) -> None:
    """Wait for the player to get there, and check that everything shows that frame."""
    page.until(f"!film.seeking && Math.abs({STATE}.timeline - {time_s}) < 0.001")
    state = page.run(STATE)
    assert time_s - 0.001 <= state["player"] <= time_s + 1 / FPS
    check_one_frame(state)


def check_one_frame(state: dict[str, Any]) -> None:
    """Box, cursors and description are those of one frame."""
    time_s = state["timeline"]
    assert state["box"] == round(100 * time_s) and state["name"] == "Person 7: Happy 90 %"
    assert state["strip"] == pytest.approx(time_s, abs=0.001)
    assert state["text"].startswith(f"{time_s:.1f} s: Happy")


def test_pictures_boxes_and_charts_show_one_moment(page: Page, tmp_path: Path) -> None:
    """Wherever one clicks or types, and while it plays."""
    show(page, write_clip(tmp_path / "clip.webm").read_bytes(), digest())
    page.until("!document.getElementById('player').hidden")
    moment(page, 0.0)
    width, strip = page.run(f"[{STATE}.width, {STATE}.strip_width]")
    page.run(CLICK % ("#timeline", 46 + (width - 56) * 0.62))  # a little after the frame at 1.2 s
    moment(page, 1.2)
    page.run(CLICK % ("#strip", strip * 0.41))
    moment(page, 0.8)
    page.run("document.getElementById('moment').focus()")
    for _ in range(6):
        page.key("ArrowRight", 39)
    moment(page, 1.1)
    page.run("film.play()")
    page.until("film.ended")
    last = page.run(STATE)
    check_one_frame(last)
    assert last["timeline"] > 1.2  # frames that the browser left out are left out here
    assert page.complaints == []


def test_faces_are_shown_on_request_from_the_copy_in_the_browser(page: Page, tmp_path: Path) -> None:
    show(page, write_clip(tmp_path / "clip.webm").read_bytes(), digest())
    page.until("!document.getElementById('player').hidden")
    asked = page.run("performance.getEntriesByType('resource').length")
    assert "not shown unless you ask" in page.text("faces-note")
    assert page.run("document.querySelectorAll('#persons canvas').length") == 0
    page.click("show-faces")
    page.until("document.querySelectorAll('#persons canvas').length === 1")
    shades = page.run("[...document.querySelector('#persons canvas').getContext('2d')"
                      ".getImageData(0, 0, 96, 96).data]")  # fmt: skip
    assert max(shades[::4]) - min(shades[::4]) > 60  # a picture, not an empty one
    others = "performance.getEntriesByType('resource').filter(one => !one.name.startsWith('blob:')).length"
    assert page.run(others) <= asked
    page.run("document.querySelector('details').open = true")
    assert problems(page) == []
    page.click("show-faces")
    assert page.run("document.querySelectorAll('#persons canvas').length") == 0


@pytest.mark.parametrize("clip", [None, b"not a video"])
def test_without_a_copy_that_plays_the_charts_are_complete(page: Page, clip: bytes | None) -> None:
    show(page, clip, digest())
    page.until("document.getElementById('player-note').textContent.includes('charts are complete')")
    assert page.run("document.getElementById('player').hidden")
    page.run(CLICK % ("#timeline", 46))
    assert page.text("moment-text").startswith("0.0 s: Happy")
    assert page.run("document.getElementById('show-faces').disabled") is (clip is None)
    if clip is not None:
        page.click("show-faces")
        page.until("document.getElementById('faces-note').textContent.includes('cannot cut out')")
