"""A server of grey pictures for the fault tests, and patience for what comes of it."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable

import cv2
import numpy as np

from edgeharfer.chaos import server


@functools.lru_cache(maxsize=64)
def jpeg(level: int, width: int = 64, height: int = 48) -> bytes:
    """A grey picture of that level."""
    return cv2.imencode(".jpg", np.full((height, width, 3), level, np.uint8))[1].tobytes()


def moving(number: int) -> bytes:
    """Pictures of which no two in a row are alike."""
    return jpeg(40 + number % 32 * 5)


class MjpegServer(server.MjpegServer):
    """The product's own one, with grey pictures where no others are given."""

    def __init__(self, picture: Callable[[int], bytes] = moving, fps: float = 30.0) -> None:
        super().__init__(picture, fps)


def wait_until(condition: Callable[[], bool], patience_s: float = 60.0) -> float:
    """Seconds until the condition holds; fails where it does not."""
    start_s = time.monotonic()
    while not condition():
        waited_s = time.monotonic() - start_s
        assert waited_s < patience_s, f"not within {patience_s} s"
        time.sleep(0.01)
    return time.monotonic() - start_s


def allowed_s(promise_s: float) -> float:
    """What a promise may take on a machine that is busy with other things, by the length of its queue."""
    return promise_s * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
