"""HTTP Live Streaming (RFC 8216): the segments of a playlist as one file-like object.

FFmpeg's HLS demuxer requests any URL that a playlist contains. Here each request goes through `HttpClient`,
which refuses URLs of other servers.
"""

from __future__ import annotations

import io
import re
from dataclasses import dataclass

from edgeharfer.runtime.clock import Clock
from edgeharfer.runtime.errors import SourceError
from edgeharfer.runtime.source.address import Address
from edgeharfer.runtime.source.http_client import HttpClient, HttpClientResponse

MAX_PLAYLIST_BYTES = 1 << 20
_MAX_SEGMENT_BYTES = 256 * 2**20
_LIVE_START_SEGMENTS = 3
"""Playback of a live playlist starts this many segments before its end (RFC 8216, 6.3.3)."""
_ATTRIBUTE = re.compile(r'([A-Z0-9-]+)=("[^"]*"|[^",]*)')
_KEY_BYTES = 16


@dataclass(frozen=True)
class SegmentKey:
    """The key of encrypted segments (AES-128 in CBC mode).

    Attributes:
        uri: URI of the key file.
        iv: Initialization vector of 16 bytes, None if it is the number of the segment.
    """

    uri: str
    iv: bytes | None


@dataclass(frozen=True)
class HlsSegment:
    """A media segment or an initialization section.

    Attributes:
        number: Media sequence number.
        uri: URI, absolute or relative to the playlist.
        byte_range: (start, end) within the file, end excluded; None for the whole file.
        key: Key of an encrypted segment.
        map: Initialization section of the segment (EXT-X-MAP).
    """

    number: int
    uri: str
    byte_range: tuple[int, int] | None = None
    key: SegmentKey | None = None
    map: HlsSegment | None = None


@dataclass(frozen=True)
class Playlist:
    """A parsed media or master playlist.

    Attributes:
        segments: Segments of a media playlist, in order.
        target_duration_s: Maximum duration of a segment in seconds.
        ended: Whether the playlist is complete (EXT-X-ENDLIST).
        variants: (bandwidth, URI) of the streams of a master playlist.
    """

    segments: tuple[HlsSegment, ...]
    target_duration_s: float
    ended: bool
    variants: tuple[tuple[int, str], ...]


def is_playlist(data: bytes) -> bool:
    """Return whether data starts with the header of a playlist."""
    return data.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"#EXTM3U")


def parse_playlist(text: str) -> Playlist:
    """Parse a playlist.

    Raises:
        ValueError: A value is malformed or the encryption method is not supported.
    """
    segments: list[HlsSegment] = []
    variants: list[tuple[int, str]] = []
    number, target_duration_s, ended = 0, 1.0, False
    key: SegmentKey | None = None
    segment_map: HlsSegment | None = None
    byte_range: tuple[int, int] | None = None
    bandwidth: int | None = None
    for line in map(str.strip, text.splitlines()):
        tag, _, value = line.partition(":")
        if tag == "#EXT-X-MEDIA-SEQUENCE":
            number = int(value)
        elif tag == "#EXT-X-TARGETDURATION":
            target_duration_s = float(value)
        elif tag == "#EXT-X-ENDLIST":
            ended = True
        elif tag == "#EXT-X-KEY":
            key = _parse_key(_parse_attributes(value))
        elif tag == "#EXT-X-MAP":
            named = _parse_attributes(value)
            map_range = _parse_byte_range(named.get("BYTERANGE", ""), None)
            segment_map = HlsSegment(0, named.get("URI", ""), map_range, key)
        elif tag == "#EXT-X-BYTERANGE":
            byte_range = _parse_byte_range(value, segments[-1].byte_range if segments else None)
        elif tag == "#EXT-X-STREAM-INF":
            bandwidth = int(_parse_attributes(value).get("BANDWIDTH", "0"))
        elif line and not line.startswith("#"):
            if bandwidth is not None:
                variants.append((bandwidth, line))
            else:
                segments.append(HlsSegment(number + len(segments), line, byte_range, key, segment_map))
            bandwidth = byte_range = None
    return Playlist(tuple(segments), target_duration_s, ended, tuple(variants))


def _parse_attributes(text: str) -> dict[str, str]:
    return {name: value.strip('"') for name, value in _ATTRIBUTE.findall(text)}


def _parse_key(named: dict[str, str]) -> SegmentKey | None:
    if named.get("METHOD", "NONE") == "NONE":
        return None
    if named["METHOD"] != "AES-128" or not named.get("URI"):
        raise ValueError(f"unsupported encryption {named['METHOD']}")
    iv = named.get("IV")
    return SegmentKey(named["URI"], int(iv, 16).to_bytes(_KEY_BYTES, "big") if iv else None)


def _parse_byte_range(text: str, before: tuple[int, int] | None) -> tuple[int, int] | None:
    if not text:
        return None
    length, at, offset = text.partition("@")
    start = int(offset) if at else (before[1] if before else 0)
    return start, start + int(length)


class HlsFile(io.BufferedIOBase):
    """The segments of a stream as one non-seekable file.

    Attributes:
        error: The error that ended the file, None if there was none.
    """

    def __init__(self, client: HttpClient, address: Address, data: bytes, clock: Clock) -> None:
        """Read the playlist and select the variant with the highest bandwidth.

        Args:
            client: Client for all requests.
            address: Address of the playlist.
            data: Content of the playlist.
            clock: Clock for the reload interval of a live playlist.

        Raises:
            SourceError: The playlist is invalid, empty, or refers to another server.
        """
        self.error: Exception | None = None
        self._client, self._address, self._clock = client, address, clock
        self._playlist = self._parse(data)
        if self._playlist.variants:
            best = max(self._playlist.variants, key=lambda one: one[0])
            self._address = client.resolve(best[1], address, "is a playlist that points")
            self._playlist = self._fetch()
        empty = self._playlist.ended and not self._playlist.segments
        if self._playlist.variants or empty:
            raise SourceError(f"{client.name}: the playlist contains no media segments")
        self._check_segments()
        segments = self._playlist.segments
        if not self._playlist.ended:
            segments = segments[-_LIVE_START_SEGMENTS:]
        self._next = segments[0].number if segments else 0
        self._map: HlsSegment | None = None
        self._keys: dict[str, bytes] = {}
        self._response: HttpClientResponse | None = None
        self._buffer = b""
        self._at = 0

    @property
    def complete(self) -> bool:
        """Whether a stream of finite length was read to its end."""
        return (
            self.error is None
            and self._playlist.ended
            and not self._buffer
            and self._response is None
            and self._next_segment() is None
        )

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1, /) -> bytes:
        count = 1 << 16 if size is None or size < 0 else size
        try:
            data = self._read(count)
        except (OSError, SourceError, ValueError) as error:
            self.error = error
            return b""
        self._at += len(data)
        return data

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Return the position, or -1 for any other position than the current one."""
        here = (whence == io.SEEK_CUR and offset == 0) or (whence == io.SEEK_SET and offset == self._at)
        return self._at if here else -1

    def close(self) -> None:
        if self._response is not None:
            self._response.close()
        super().close()

    def _read(self, count: int) -> bytes:
        while True:
            if self._buffer:
                data, self._buffer = self._buffer[:count], self._buffer[count:]
                return data
            if self._response is not None:
                if data := self._response.read_some(count):
                    return data
                self._response.close()
                self._response = None
            segment = self._next_segment()
            if segment is None:
                if self._playlist.ended:
                    return b""
                reload_s = max(0.25, self._playlist.target_duration_s / 2)
                self._clock.sleep(min(reload_s, self._client.deadline.remaining_s()))
                self._playlist = self._fetch()
                self._check_segments()
                continue
            if segment.map is not None and segment.map != self._map:
                self._map = segment.map
                self._buffer = self._download(segment.map)
                continue
            self._next = segment.number + 1
            if segment.key is None:
                self._response = self._open(segment)
            else:
                self._buffer = self._download(segment)

    def _next_segment(self) -> HlsSegment | None:
        """Return the next segment, or the oldest one left if that was already removed from the playlist."""
        return next((segment for segment in self._playlist.segments if segment.number >= self._next), None)

    def _fetch(self) -> Playlist:
        response = self._client.get(self._address)
        try:
            return self._parse(response.read_all(MAX_PLAYLIST_BYTES))
        finally:
            response.close()

    def _parse(self, data: bytes) -> Playlist:
        if not is_playlist(data):
            raise SourceError(f"{self._client.name}: invalid playlist: it does not start with #EXTM3U")
        try:
            return parse_playlist(data.decode("utf-8", "replace"))
        except ValueError as error:
            raise SourceError(f"{self._client.name}: invalid playlist: {error}") from None

    def _check_segments(self) -> None:
        """Reject a playlist with URLs of other servers before any of it is played."""
        for segment in self._playlist.segments:
            for named in (segment, segment.map, segment.key):
                if named is not None:
                    self._client.resolve(named.uri, self._address, "is a playlist that points")

    def _open(self, segment: HlsSegment) -> HttpClientResponse:
        address = self._client.resolve(segment.uri, self._address, "is a playlist that points")
        start, end = segment.byte_range or (0, None)
        return self._client.get(address, start=start, end=end)

    def _download(self, segment: HlsSegment) -> bytes:
        response = self._open(segment)
        try:
            data = response.read_all(_MAX_SEGMENT_BYTES)
        finally:
            response.close()
        return data if segment.key is None else self._decrypt(data, segment, segment.key)

    def _decrypt(self, data: bytes, segment: HlsSegment, key: SegmentKey) -> bytes:
        try:
            from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
        except ImportError:
            raise SourceError(
                f"{self._client.name}: encrypted streams need the package cryptography: "
                "pip install 'edgeharfer[sign]'"
            ) from None
        if key.uri not in self._keys:
            self._keys = {key.uri: self._download(HlsSegment(0, key.uri))}
        iv = key.iv or segment.number.to_bytes(_KEY_BYTES, "big")
        decryptor = Cipher(algorithms.AES128(self._keys[key.uri]), modes.CBC(iv)).decryptor()
        plain = decryptor.update(data) + decryptor.finalize()
        return plain[: -plain[-1]] if plain else b""
