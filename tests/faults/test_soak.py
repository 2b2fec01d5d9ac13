"""The whole product for an hour: a live stream, all models, events, the web view with a viewer.

EDGEHARFER_SOAK_MINUTES says how long (60); EDGEHARFER_SOAK_LOG keeps what was seen each minute.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edgeharfer.runtime.clock import SystemClock
from edgeharfer.runtime.source.demo import DemoSource
from mjpeg_server import MjpegServer, wait_until

Figures = Callable[..., None]

pytestmark = [
    pytest.mark.soak,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts in /proc"),
]

MINUTES = float(os.environ.get("EDGEHARFER_SOAK_MINUTES", "60"))
PERIODS = 60
WARM_UP = PERIODS // 6
LOOP_S = 19.0  # of the demo, until its second card has come back


def pictures() -> list[bytes]:
    demo = DemoSource(SystemClock())
    return [cv2.imencode(".jpg", demo.picture(number))[1].tobytes() for number in range(int(30 * LOOP_S))]


def look_on(url: str) -> None:
    """A viewer who comes, takes the page, a picture and the first state, and goes."""
    for part in ("", "frame.jpg"):
        with urllib.request.urlopen(url + part, timeout=5) as answer:
            answer.read()
    with urllib.request.urlopen(url + "events", timeout=5) as answer:
        answer.readline()


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What was seen of the run in each of its sixty periods."""
    folder = tmp_path_factory.mktemp("soak")
    log = Path(os.environ.get("EDGEHARFER_SOAK_LOG", folder / "log.jsonl"))
    loop, said = pictures(), folder / "said"
    with MjpegServer(lambda number: loop[number % len(loop)]) as server, said.open("w") as complaints:
        script = str(Path(__file__).with_name("soaking.py"))
        run = subprocess.Popen(
            [sys.executable, script, str(log), str(60 * MINUTES / PERIODS), "run", "--source", server.url,
             "--view", "web", "--port", "0", "--events", str(folder / "events.jsonl")],
            stderr=complaints, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )  # fmt: skip
        wait_until(lambda: "watch at" in said.read_text(), 60)
        url = next(line for line in said.read_text().splitlines() if "watch at" in line).split()[-1]
        while run.poll() is None and not (log.exists() and len(log.read_text().splitlines()) >= PERIODS):
            time.sleep(1)
            look_on(url)
        run.send_signal(signal.SIGTERM)
        code = run.wait(30)
    assert code == 0, said.read_text()
    return [json.loads(line) for line in log.read_text().splitlines()]


@pytest.mark.parametrize("whose", ["rss_mb", "reader_mb"])
def test_memory_does_not_grow(watched: list[dict[str, Any]], whose: str, figures: Figures) -> None:
    """Of the run, and of the process that reads the stream."""
    hours = [row["at_s"] / 3600 for row in watched[WARM_UP:]]
    slope = float(np.polyfit(hours, [row[whose] for row in watched[WARM_UP:]], 1)[0])
    figures(minutes=MINUTES, mb=watched[-1][whose], slope_mb_an_hour=slope,
            frames=sum(row["frames"] for row in watched))  # fmt: skip
    assert slope < max(1.0, (60 / MINUTES) ** 2), "1 MB an hour; a shorter run tells less apart"


@pytest.mark.parametrize("kind", ["descriptors", "threads"])
def test_nothing_piles_up(watched: list[dict[str, Any]], kind: str, figures: Figures) -> None:
    """A viewer who is just there has a thread and a socket or two; no more than that comes and goes."""
    counts = [row[kind] for row in watched[WARM_UP:]]
    figures(**{f"{kind}_least": min(counts), f"{kind}_most": max(counts)})
    early, late = counts[: len(counts) // 2], counts[len(counts) // 2 :]
    assert min(late) <= min(early) and max(counts) - min(counts) <= 4


def test_frames_do_not_get_dearer(watched: list[dict[str, Any]], figures: Figures) -> None:
    """The p99 of processor time, in units of the reference's, at the end against after the warm-up."""
    third = (PERIODS - WARM_UP) // 3
    early, late = watched[WARM_UP : WARM_UP + third], watched[-third:]
    cost = [float(np.median([row["frame_ms"][-1] / row["reference_ms"][-1] for row in rows]))
            for rows in (early, late)]  # fmt: skip
    figures(p99_ms=float(np.median([row["frame_ms"][-1] for row in late])), p99_drift=cost[1] / cost[0] - 1)
    assert cost[1] / cost[0] < 1.05
