"""The settings of the app."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgeharfer.runtime.http.limits import HttpLimits
from edgeharfer.runtime.http.origins import LOOPBACK
from edgeharfer.runtime.source.decode_devices import AUTO

MEGABYTE = 10**6


@dataclass(frozen=True)
class UserLimits(HttpLimits):
    """Limits for users of the app, in addition to those of the HTTP server.

    Attributes:
        upload_mb: Size of an upload.
        video_s: Length of a video.
        record_s: Length of a recording in the browser.
        example_s: Length of an example of an action that is taught.
        countdown_s: Seconds before an example is recorded.
        queued: Analyses that are waiting or running.
        keep_s: How long a report is kept.
        megapixels: Size of a picture or video frame.
        work_s: Duration of an analysis.
        memory_mb: Memory of an analysis in addition to that of its models.
        upload_s: Duration of an upload.
        viewers: Viewers of the live view at a time.
        image_s: Time within which each image of a browser's camera has to arrive.
    """

    upload_mb: float = 200.0
    video_s: float = 600.0
    record_s: float = 60.0
    example_s: float = 4.0
    countdown_s: float = 3.0
    queued: int = 4
    keep_s: float = 900.0
    megapixels: float = 40.0
    work_s: float = 1800.0
    memory_mb: int = 2048
    upload_s: float = 1800.0
    viewers: int = 32
    image_s: float = 10.0

    @property
    def upload_bytes(self) -> int:
        """Size limit of an upload in bytes."""
        return int(self.upload_mb * MEGABYTE)

    @property
    def uploads_per_address(self) -> int:
        """Simultaneous uploads from one client address; one place stays free for others."""
        return max(1, self.queued - 1)


@dataclass(frozen=True)
class Settings:
    """The settings of one app.

    Attributes:
        host: Address to listen on.
        port: Port to listen on; 0 for any free one.
        names: Host names of proxies.
        token: The access token; "" for none.
        sources: Sources offered for the live view in addition to the cameras.
        follow_redirects: Let streams connect to other servers that they redirect or point to.
        decode: Device that decodes videos and streams, see `open_source`.
        pipeline: Keyword arguments of `Pipeline`.
        signature_key: Public key that the packages of `pipeline` must be signed with.
        fps: Samples per second of an uploaded video.
        messages: Replaces the shipped messages.
        context: Replaces the shipped context table.
        idle_stop_s: Stop the live view after this long without viewers; 0 never stops it.
        folder: Parent folder for uploads; None for one in the temporary folder.
        limits: Limits for users.
    """

    host: str = LOOPBACK
    port: int = 8765
    names: tuple[str, ...] = ()
    token: str = ""
    sources: tuple[str, ...] = ()
    follow_redirects: bool = False
    decode: str = AUTO
    pipeline: Mapping[str, Any] = field(default_factory=dict)
    signature_key: Path | None = None
    fps: float = 4.0
    messages: Path | None = None
    context: Path | None = None
    idle_stop_s: float = 0.0
    folder: Path | None = None
    limits: UserLimits = field(default_factory=UserLimits)
