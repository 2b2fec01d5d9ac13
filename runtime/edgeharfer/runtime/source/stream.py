"""Network streams: RTSP, or HTTP with motion JPEG, HLS or a video file."""

from __future__ import annotations

from edgeharfer.runtime.source.address import parse_address, redact
from edgeharfer.runtime.source.base import Source, SourceOptions
from edgeharfer.runtime.source.isolated import open_live
from edgeharfer.runtime.source.requests import OpenRequest


def make_source(spec: str, options: SourceOptions) -> Source:
    """Connect to the URL of a stream.

    Raises:
        SourceError: The URL is invalid or no video is received.
    """
    parse_address(spec)
    arguments = {"url": spec, "follow_redirects": options.follow_redirects}
    return open_live(redact(spec), OpenRequest("stream_source", "StreamSource", arguments), options)
