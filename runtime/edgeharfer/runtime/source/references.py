"""Files that are no video themselves but name the files or addresses of one: playlists and the like.

FFmpeg would open whatever they name. It is not given such a format (see `opencv.FORMATS`); this module finds
the words for the person who has such a file.
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


def refuse_references(head: bytes, name: str) -> None:
    """Raises SourceError for what is no video itself but names files or addresses of one."""
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    for mark, kind in _REFERRING:
        within_xml = mark.startswith(b"<") and text.startswith(b"<") and mark.lower() in text
        if within_xml or text.startswith(mark.lower()):
            raise SourceError(f"{name}: is {kind}, which names other files or addresses: give one of those")
