"""A video of `--save` in a real Chromium: it plays, with its boxes, in the colours of the source."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from chromium import Browser
from edgeharfer.runtime.overlay import label_color
from edgeharfer.runtime.result import Result
from edgeharfer.runtime.sinks.video import VideoSink
from edgeharfer.runtime.stats import Status
from edgeharfer.runtime.types import Box, Emotion, Frame, TrackedFace

pytestmark = pytest.mark.needs("Chromium")
WIDTH, HEIGHT, COLOUR = 640, 360, (60, 110, 190)
PAGE = """<style>body { margin: 0 }</style><video id="film" muted src="out.mp4"></video>"""


def save_video(path: Path) -> None:
    """Two seconds of a variable rate: a picture of one colour, and a happy face at (200, 100)."""
    picture = np.full((HEIGHT, WIDTH, 3), COLOUR, np.uint8)
    happy = {"emotion": Emotion("happy", 1.0, {"happy": 1.0})}
    faces = (TrackedFace(1, Box(200, 100, 120, 120), 0.9, happy),)
    with VideoSink(path, 30.0) as sink:
        for number, pts_s in enumerate([*np.arange(0, 1, 1 / 30), *np.arange(1, 2, 0.1)]):
            frame = Frame(number, float(pts_s), 0.0, picture)
            sink.write(frame, Result(number, float(pts_s), 1.0, faces), Status())


def test_it_plays_with_boxes_in_the_colours_of_the_source(tmp_path: Path) -> None:
    save_video(tmp_path / "out.mp4")
    (tmp_path / "page.html").write_text(PAGE, encoding="utf-8")
    with Browser(tmp_path / "profile") as browser:
        page = browser.open((tmp_path / "page.html").as_uri())
        page.until("film.readyState >= 3 || film.error")
        assert page.run("[film.error, film.videoWidth, film.videoHeight]") == [None, WIDTH, HEIGHT]
        assert page.run("film.duration") == pytest.approx(2.0, abs=0.1)
        page.run("film.play()")
        page.until("film.ended")
        page.run("film.currentTime = 1.05")
        page.until("!film.seeking && film.readyState >= 2")
        page.run("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
        page.picture(tmp_path / "shown.png", full=False)
        assert page.complaints == []
    shown = np.asarray(cv2.imread(str(tmp_path / "shown.png")), int)
    assert np.abs(shown[160, 260] - COLOUR).max() <= 4, "inside the box"
    corner = np.abs(shown[95:112, 195:230] - np.array(label_color("happy"))).max(axis=2)
    assert corner.min() <= 40, "a corner of the box"
