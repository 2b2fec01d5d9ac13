"""Both full screens for real: the window takes a touch, the page in Chromium shows the scene."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("prometheus_client", reason="needs the kiosk extra")
import numpy as np

from chromium import CHROMIUM
from edgeharfer.kiosk.config import KioskConfig
from edgeharfer.kiosk.desk import Desk, Scene
from edgeharfer.kiosk.metrics import Metrics
from edgeharfer.kiosk.web import WebPort
from edgeharfer.runtime.clock import SystemClock
from edgeharfer.runtime.types import Box, Frame, Result, TrackedFace
from x_server import x_server

PATIENCE_S = 60.0
# Shows the notice until somebody touches the screen; a line of JSON tells each change.
CHILD = f"""
import json, time
import cv2
from edgeharfer.kiosk.config import KioskConfig
from edgeharfer.kiosk.desk import Desk, Scene
from edgeharfer.kiosk.window import TITLE, KioskWindow
from edgeharfer.runtime.clock import SystemClock
desk = Desk(KioskConfig(), SystemClock())
desk.show(Scene("live", people=1, notice="Please read this."))
end, told = time.monotonic() + {PATIENCE_S}, False
with KioskWindow(desk, SystemClock()) as window:
    while not (confirmed := desk.take_confirmation()) and time.monotonic() < end:
        window.turn()
        full = cv2.getWindowImageRect(TITLE)[2:] == (800, 600)
        if full and not told:
            told = True
            print(json.dumps({{"covers": True}}), flush=True)
        time.sleep(0.02)
print(json.dumps({{"confirmed": confirmed}}), flush=True)
"""


@pytest.fixture
def display(tmp_path: Path) -> Iterator[str]:
    """An X server of its own, on a display number that it chooses."""
    with x_server(tmp_path, "800x600") as server:
        yield server.name


@pytest.mark.needs("libXfixes", "OpenCV's libraries")
def test_a_touch_of_the_window_confirms_the_notice(display: str) -> None:
    environment = {**os.environ, "DISPLAY": display, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-c", CHILD],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdout is not None and child.stderr is not None
        line = child.stdout.readline()
        assert line, child.stderr.read()
        assert json.loads(line) == {"covers": True}
        touch = ["xdotool", "mousemove", "400", "300", "sleep", "0.3", "click", "1"]
        subprocess.run(touch, env=environment, check=True)
        assert json.loads(child.stdout.readline()) == {"confirmed": True}
        assert child.wait(PATIENCE_S) == 0


@pytest.mark.needs("Chromium")
def test_the_page_in_chromium_shows_the_scene(tmp_path: Path) -> None:
    desk = Desk(KioskConfig(), SystemClock())
    result = Result(0, 0.0, 1.0, (TrackedFace(1, Box(10, 10, 20, 20), 0.9),))
    frame = Frame(0, 0.0, 0.0, np.zeros((48, 64, 3), np.uint8))
    desk.show(Scene("live", people=1, action="BoxingPunchingBag", emotions=("happy",)), (frame, result))
    with WebPort(0, desk, Metrics().text) as web:
        words = [
            str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}",
            "--virtual-time-budget=3000", "--dump-dom", f"http://127.0.0.1:{web.port}/",
        ]  # fmt: skip
        done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    page = done.stdout
    assert '<h1 id="headline">Boxing punching bag</h1>' in page
    assert "<li>Happy</li>" in page and "No picture leaves it." in page
    assert 'id="notice" hidden' in page and 'src="blob:' in page
