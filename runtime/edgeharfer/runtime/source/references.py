"""Rejection of files that refer to other files or URLs, such as playlists.

FFmpeg would open whatever they refer to. `opencv.FORMATS` excludes these formats; this module provides the
error message.
"""

from __future__ import annotations

from edgeharfer.runtime.errors import SourceError

_REFERRING = (
    (b"#EXTM3U", "a playlist (M3U)"),
    (b"v=0", "a session description (SDP)"),
    (b"ffconcat", "a list of files (ffconcat)"),
    (b"<MPD", "a playlist (DASH)"),
    (b"<asx", "a playlist (ASX)"),
    (b"[playlist]", "a playlist (PLS)"),
    (b"[Reference]", "a playlist (ASX)"),
)


def reject_references(head: bytes, name: str) -> None:
    """Reject a playlist or session description.

    Args:
        head: First bytes of the file.
        name: Name for the error message.

    Raises:
        SourceError: The file refers to other files or URLs.
    """
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    for mark, kind in _REFERRING:
        within_xml = mark.startswith(b"<") and text.startswith(b"<") and mark.lower() in text
        if within_xml or text.startswith(mark.lower()):
            raise SourceError(
                f"{name}: is {kind}, which refers to other files or addresses: use one of those instead"
            )
