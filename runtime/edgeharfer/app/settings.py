"""What an app is started with: models, limits, and who may reach it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgeharfer.runtime.http.limits import HttpLimits
from edgeharfer.runtime.http.origins import LOOPBACK

MEGABYTE = 10**6


@dataclass(frozen=True)
class UserLimits(HttpLimits):
    """What one person may ask of this machine, beside the limits of the server.

    upload_mb: of one file. video_s: of one video; record_s: of a recording in the browser. queued: analyses
    that wait or run. keep_s: how long a report is kept. megapixels: of a picture or a frame. work_s: how
    long one analysis may take. memory_mb: how much more memory an analysis may take than its models do.
    upload_s: the longest that the server waits for the bytes of one upload. viewers: at a time.
    """

    upload_mb: float = 200.0
    video_s: float = 600.0
    record_s: float = 60.0
    queued: int = 4
    keep_s: float = 900.0
    megapixels: float = 40.0
    work_s: float = 1800.0
    memory_mb: int = 2048
    upload_s: float = 1800.0
    viewers: int = 32

    @property
    def upload_bytes(self) -> int:
        return int(self.upload_mb * MEGABYTE)

    @property
    def uploads_per_address(self) -> int:
        """Uploads that one client address may be sending at a time: one place is left to others."""
        return max(1, self.queued - 1)


@dataclass(frozen=True)
class Settings:
    """One app.

    host, port: where it listens. names: other names under which browsers reach it, through a proxy.
    token: what a browser has to know; "" where none is asked for. sources: what may be watched live beside
    the cameras. follow_redirects: streams may connect to other servers that they name.
    pipeline: options of the models, as `Pipeline` takes them. fps: emotions read a second of
    an upload. messages, context: files in place of those that ship. idle_stop_s: the live view ends after
    so long without a viewer; 0 is never. folder: where uploads lie while they are looked at.
    """

    host: str = LOOPBACK
    port: int = 8765
    names: tuple[str, ...] = ()
    token: str = ""
    sources: tuple[str, ...] = ()
    follow_redirects: bool = False
    pipeline: Mapping[str, Any] = field(default_factory=dict)
    signature_key: Path | None = None
    fps: float = 4.0
    messages: Path | None = None
    context: Path | None = None
    idle_stop_s: float = 0.0
    folder: Path | None = None
    limits: UserLimits = field(default_factory=UserLimits)
