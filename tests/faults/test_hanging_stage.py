"""A stage of the kiosk that hangs sends systemd's watchdog no ping; a camera that is away is no hang."""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytest.importorskip("prometheus_client", reason="needs the kiosk extra")
pytest.importorskip("paho.mqtt.client", reason="needs the kiosk extra")
from kiosk_process import KioskProcess
from mjpeg_server import MjpegServer, allowed_s, wait_until

Figures = Callable[..., None]

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="systemd is Linux's")

INTERVAL_S = 0.6

# Each stage waits for as long as the file names it.
HANGS = """
import pathlib, time
from edgeharfer.kiosk.state import KioskState
from edgeharfer.runtime.tasks.action import ActionModel
from edgeharfer.runtime.perception import Perception
from edgeharfer.runtime.source.demo import DemoSource
_mark = pathlib.Path({mark!r})
def _hangs(stage, owner, name):
    really = getattr(owner, name)
    def method(*arguments):
        while _mark.read_text() == stage:
            time.sleep(0.02)
        return really(*arguments)
    setattr(owner, name, method)
_hangs("capture", DemoSource, "picture")
_hangs("detect", Perception, "detect_faces")
_hangs("emotion", Perception, "classify_faces")
_hangs("encode", Perception, "encode")
_hangs("head", ActionModel, "classify")
_hangs("screen", KioskState, "show")
"""


@pytest.fixture(scope="module")
def mark(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("hang") / "stage"
    path.write_text("none")
    return path


@pytest.fixture(scope="module")
def kiosk(tmp_path_factory: pytest.TempPathFactory, mark: Path) -> Iterator[KioskProcess]:
    folder, prelude = tmp_path_factory.mktemp("kiosk"), HANGS.format(mark=str(mark))
    with KioskProcess(folder, "demo", interval_s=INTERVAL_S, prelude=prelude) as running:
        yield running


def set_mark(mark: Path, stage: str) -> float:
    """At once; the time."""
    beside = mark.with_suffix(".new")
    beside.write_text(stage)
    beside.replace(mark)
    return time.monotonic()


@pytest.mark.parametrize("stage", ["capture", "detect", "emotion", "encode", "head", "screen"])
def test_no_ping_comes_from_a_stage_that_hangs(
    kiosk: KioskProcess, mark: Path, stage: str, figures: Figures
) -> None:
    kiosk.wait_for_ping()
    hung_s = set_mark(mark, stage)
    time.sleep(1.5 * INTERVAL_S)
    last_s = kiosk.pings[-1] - hung_s
    set_mark(mark, "none")
    resumed_s = kiosk.wait_for_ping()
    figures(last_ping_s=last_s, resumed_s=resumed_s)
    assert last_s < INTERVAL_S, "the last one, seconds after the stage began to hang"


def test_a_camera_that_is_away_is_no_hang(tmp_path: Path, figures: Figures) -> None:
    with MjpegServer() as server, KioskProcess(tmp_path, server.url, interval_s=4.0) as kiosk:
        wait_until(lambda: "STATUS=source live" in kiosk.messages())
        kiosk.wait_for_ping()
        server.stop_serving()
        away = {"STATUS=source lost", "STATUS=source backoff"}  # the first one lasts a quarter of a second
        wait_until(lambda: not away.isdisjoint(kiosk.messages()))
        time.sleep(4.5)
        server.serve()
        before = kiosk.messages().count("STATUS=source live")
        wait_until(lambda: kiosk.messages().count("STATUS=source live") > before)
        longest_s = max(later - earlier for earlier, later in itertools.pairwise(kiosk.pings))
        kiosk.stop()
    figures(longest_without_ping_s=longest_s)
    assert longest_s < allowed_s(4.0)


def test_a_camera_that_never_was_there_is_no_hang(tmp_path: Path, figures: Figures) -> None:
    """It takes the connection and never answers, so that each attempt lasts for as long as one may."""
    with MjpegServer() as server:
        server.mute = True
        with KioskProcess(tmp_path, server.url, interval_s=4.0) as kiosk:
            wait_until(lambda: len(kiosk.pings) > 5, 60)
            longest_s = max(later - earlier for earlier, later in itertools.pairwise(kiosk.pings))
            stopped_s = kiosk.stop()
    figures(longest_without_ping_s=longest_s, stopped_s=stopped_s)
    assert longest_s < allowed_s(4.0)
    assert stopped_s < allowed_s(2.0)
