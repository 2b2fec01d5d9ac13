"""What a live source is to be opened from, in a form that can be handed to another process."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from edgeharfer.runtime.clock import Clock
from edgeharfer.runtime.source.camera import CameraSource
from edgeharfer.runtime.source.stream import StreamSource


@dataclass(frozen=True)
class CameraOrder:
    """A camera. device: as it was asked for. path: what is opened instead, see `stable_path`."""

    device: int | str
    path: str | None = None
    width: int | None = None
    height: int | None = None
    fps: float | None = None

    def open(self, clock: Clock) -> CameraSource:
        return CameraSource(
            self.device, clock, path=self.path, width=self.width, height=self.height, fps=self.fps
        )


@dataclass(frozen=True)
class StreamOrder:
    """A network stream. The URL may hold a password, so it never goes on a command line."""

    url: str
    follow_redirects: bool = False

    def open(self, clock: Clock) -> StreamSource:
        return StreamSource(self.url, clock, follow_redirects=self.follow_redirects)


Order = CameraOrder | StreamOrder


def to_line(order: Order) -> bytes:
    """The order as one line."""
    return json.dumps(asdict(order)).encode("ascii") + b"\n"


def from_line(line: bytes) -> Order:
    """The order that a line holds."""
    fields = json.loads(line)
    return StreamOrder(**fields) if "url" in fields else CameraOrder(**fields)
