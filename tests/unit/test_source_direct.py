"""A live source that is read in this process: what it takes from the camera, and how it comes back."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from edgeharfer.runtime.capture import Capture
from edgeharfer.runtime.clock import ManualClock
from edgeharfer.runtime.errors import CameraError
from edgeharfer.runtime.source.camera import CameraSource
from edgeharfer.runtime.source.direct import DirectSource
from edgeharfer.runtime.types import Image


class Device:
    """Gives so many pictures, every third of which does not decode, and then nothing."""

    def __init__(self, pictures: int) -> None:
        self.pictures, self.given, self.released = pictures, 0, 0

    def isOpened(self) -> bool:  # noqa: N802 - OpenCV's name
        return self.pictures > 0

    def grab(self) -> bool:
        self.given += 1
        return self.given <= self.pictures

    def retrieve(self) -> tuple[bool, Image | None]:
        good = self.given % 3 != 0
        return good, np.full((4, 4, 3), self.given, np.uint8) if good else None

    def read(self) -> tuple[bool, Image | None]:
        return self.retrieve() if self.grab() else (False, None)

    def get(self, prop: int) -> float:
        return 24.0 if prop == cv2.CAP_PROP_FPS else 0.0

    def set(self, prop: int, value: float) -> bool:
        return True

    def release(self) -> None:
        self.released += 1


class Port:
    """A socket for cameras, into which devices are plugged one after the other; then it is empty."""

    def __init__(self, clock: ManualClock, *devices: Device) -> None:
        self.clock, self.devices, self.used = clock, list(devices), list[Device]()

    def connect(self) -> CameraSource:
        self.used.append(self.devices.pop(0) if self.devices else Device(0))
        return CameraSource(0, self.clock, connect=lambda _: self.used[-1])


def test_it_is_what_the_camera_is() -> None:
    with DirectSource(Port(ManualClock(), Device(10)).connect) as source:
        assert source.restartable
        assert (source.name, source.size, source.fps, source.live) == ("camera 0", (4, 4), 24.0, True)
        frames = [source.read() for _ in range(4)]
    assert [frame.seq for frame in frames if frame] == [0, 1, 3, 4]
    assert source.bad_pictures == 1


def test_a_capture_brings_it_back_and_counts_on() -> None:
    clock = ManualClock()
    port = Port(clock, Device(4), Device(0), Device(10**9))  # The last one outlives the test.
    newest = 0
    with Capture(DirectSource(port.connect), clock=clock) as capture:
        while newest <= 4:  # More than the first one gave: numbered on.
            frame = capture.next_frame(0.01)
            newest = newest if frame is None else frame.seq
        assert capture.reconnects == 1
        assert capture.source.bad_pictures >= 1
    assert len(port.used) == 3
    assert all(device.released == 1 for device in port.used)


def test_one_that_is_not_there_is_told_at_once() -> None:
    with pytest.raises(CameraError, match="another program"):
        DirectSource(Port(ManualClock(), Device(0)).connect)
