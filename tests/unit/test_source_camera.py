"""Cameras, with a device that follows a script in place of a real one."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgeharfer.runtime.clock import ManualClock
from edgeharfer.runtime.errors import CameraError
from edgeharfer.runtime.source.camera import CameraSource, stable_path
from edgeharfer.runtime.types import Image


class FakeDevice:
    """Gives a picture for "ok", one that does not decode for "bad", a timeout for "none"."""

    def __init__(self, script: Sequence[str], *, is_open: bool = True) -> None:
        self.script = list(script)
        self.is_open = is_open
        self.released = 0
        self.wishes: dict[int, float] = {}
        self.asked: list[int] = []
        self._now = ""

    def isOpened(self) -> bool:  # noqa: N802 - OpenCV's name
        return self.is_open

    def grab(self) -> bool:
        self._now = self.script.pop(0) if self.script else "none"
        return self._now != "none"

    def retrieve(self) -> tuple[bool, Image | None]:
        return (True, np.zeros((480, 640, 3), np.uint8)) if self._now == "ok" else (False, None)

    def read(self) -> tuple[bool, Image | None]:
        return self.retrieve() if self.grab() else (False, None)

    def get(self, prop: int) -> float:
        return {cv2.CAP_PROP_FOURCC: float(cv2.VideoWriter.fourcc(*"MJPG")), cv2.CAP_PROP_FPS: 24.0}.get(
            prop, 0.0
        )

    def set(self, prop: int, value: float) -> bool:
        self.wishes[prop] = value
        self.asked.append(prop)
        return True

    def release(self) -> None:
        self.released += 1


def camera(device: FakeDevice, clock: ManualClock | None = None) -> CameraSource:
    return CameraSource(0, clock or ManualClock(), width=1280, height=720, fps=30.0, connect=lambda _: device)


def test_the_real_values_are_reported_not_the_wishes() -> None:
    device = FakeDevice(["ok"])
    source = camera(device)
    assert device.wishes == {
        cv2.CAP_PROP_FOURCC: float(cv2.VideoWriter.fourcc(*"MJPG")),
        cv2.CAP_PROP_FRAME_WIDTH: 1280.0,
        cv2.CAP_PROP_FRAME_HEIGHT: 720.0,
        cv2.CAP_PROP_FPS: 30.0,
    }
    assert device.asked[0] == cv2.CAP_PROP_FOURCC
    assert (source.live, source.size, source.fps, source.frame_count) == (True, (640, 480), 24.0, None)
    assert source.details == "MJPG 640x480 at 24 fps"


def test_nothing_but_the_format_is_asked_for_without_wishes() -> None:
    device = FakeDevice(["ok"])
    CameraSource(0, ManualClock(), connect=lambda _: device)
    assert device.asked == [cv2.CAP_PROP_FOURCC]


def test_frames_are_timed_by_the_clock() -> None:
    clock = ManualClock(50.0)
    source = camera(FakeDevice(["ok", "ok"]), clock)
    first = source.read()
    clock.sleep(0.25)
    second = source.read()
    assert first is not None and second is not None
    assert [(frame.seq, frame.pts_s, frame.captured_s) for frame in (first, second)] == [
        (0, 0.0, 50.0),
        (1, 0.25, 50.25),
    ]


def test_a_picture_that_does_not_decode_is_counted_and_leaves_a_gap() -> None:
    source = camera(FakeDevice(["ok", "bad", "ok"]))
    seqs = [frame.seq for frame in (source.read(), source.read()) if frame is not None]
    assert seqs == [0, 2]
    assert source.bad_pictures == 1


def test_a_slow_start_is_waited_for() -> None:
    assert camera(FakeDevice(["none", "none", "bad", "ok"])).read() is not None


def test_a_camera_that_is_busy_is_let_go_and_exits_3() -> None:
    device = FakeDevice([], is_open=False)
    with pytest.raises(CameraError, match="another program") as caught:
        camera(device)
    assert caught.value.exit_code == 3
    assert device.released == 1


def test_a_camera_that_gives_nothing_is_let_go() -> None:
    device = FakeDevice(["none"] * 100)
    with pytest.raises(CameraError, match=r"no frames received.*--source demo"):
        camera(device)
    assert device.released == 1
    assert len(device.script) >= 90


@pytest.mark.parametrize("after", [["none"] * 4, ["bad"] * 1000])
def test_a_camera_that_is_lost_says_so(after: list[str]) -> None:
    source = camera(FakeDevice(["ok", *after]))
    assert source.read() is not None
    with pytest.raises(CameraError, match="lost"):
        source.read()


def test_a_second_without_a_picture_is_not_a_loss() -> None:
    source = camera(FakeDevice(["ok", "none", "none", "ok"]))
    assert [frame.seq for frame in (source.read(), source.read()) if frame] == [0, 1]


def test_close_lets_go_once() -> None:
    device = FakeDevice(["ok", "ok"])
    with camera(device) as source:
        source.read()
    source.close()
    assert device.released == 1
    assert source.read() is None


def test_the_path_is_opened_in_place_of_the_number() -> None:
    opened: list[int | str] = []

    def connect(target: int | str) -> FakeDevice:
        opened.append(target)
        return FakeDevice(["ok"])

    source = CameraSource(0, ManualClock(), path="/dev/v4l/by-id/mine", connect=connect)
    assert (opened, source.name) == (["/dev/v4l/by-id/mine"], "camera 0")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="udev is Linux's")
def test_a_camera_is_known_by_its_serial_number_else_by_its_socket(tmp_path: Path) -> None:
    nodes = {name: tmp_path / name for name in ("video0", "video1", "video2")}
    for node in nodes.values():
        node.touch()
    for folder, link, number in (("by-id", "usb-a", 0), ("by-path", "pci-0", 0), ("by-path", "pci-1", 1)):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / link).symlink_to(nodes[f"video{number}"])
    found = [stable_path(str(node), tmp_path) for node in nodes.values()]
    assert found == [str(tmp_path / "by-id/usb-a"), str(tmp_path / "by-path/pci-1"), str(nodes["video2"])]
    with pytest.raises(CameraError, match="--source demo"):
        stable_path(str(tmp_path / "video3"), tmp_path)
