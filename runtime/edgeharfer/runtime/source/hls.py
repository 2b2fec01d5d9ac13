"""HTTP Live Streaming (RFC 8216): the segments of a playlist as one file, fetched by our own client.

FFmpeg's own reader asks whatever address a playlist names; here each one goes through `HttpClient`, which
refuses those of other servers.
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
_START = 3
"""A live playlist is joined so many segments before its end (RFC 8216, 6.3.3)."""
_ATTRIBUTE = re.compile(r'([A-Z0-9-]+)=("[^"]*"|[^",]*)')
_KEY_BYTES = 16


@dataclass(frozen=True)
class SegmentKey:
    """How segments are encrypted: AES-128 in CBC mode. vector: None where it is the segment's number."""

    uri: str
    vector: bytes | None


@dataclass(frozen=True)
class HlsSegment:
    """A segment, or the map that goes before some. place: its first and last byte + 1 within the file."""

    number: int
    uri: str
    place: tuple[int, int] | None = None
    key: SegmentKey | None = None
    map: HlsSegment | None = None


@dataclass(frozen=True)
class Playlist:
    """parts: in order. ended: no more will come. variants: (bandwidth, uri) of a playlist of playlists."""

    parts: tuple[HlsSegment, ...]
    target_s: float
    ended: bool
    variants: tuple[tuple[int, str], ...]


def is_playlist(data: bytes) -> bool:
    """Whether an answer that begins so is a playlist."""
    return data.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"#EXTM3U")


def parse_playlist(text: str) -> Playlist:
    """The parts or variants of a playlist. Raises ValueError for numbers that are none."""
    parts: list[HlsSegment] = []
    variants: list[tuple[int, str]] = []
    number, target_s, ended = 0, 1.0, False
    key: SegmentKey | None = None
    part_map: HlsSegment | None = None
    place: tuple[int, int] | None = None
    bandwidth: int | None = None
    for line in map(str.strip, text.splitlines()):
        tag, _, value = line.partition(":")
        if tag == "#EXT-X-MEDIA-SEQUENCE":
            number = int(value)
        elif tag == "#EXT-X-TARGETDURATION":
            target_s = float(value)
        elif tag == "#EXT-X-ENDLIST":
            ended = True
        elif tag == "#EXT-X-KEY":
            key = _key(_attributes(value))
        elif tag == "#EXT-X-MAP":
            named = _attributes(value)
            part_map = HlsSegment(0, named.get("URI", ""), _place(named.get("BYTERANGE", ""), None), key)
        elif tag == "#EXT-X-BYTERANGE":
            place = _place(value, parts[-1].place if parts else None)
        elif tag == "#EXT-X-STREAM-INF":
            bandwidth = int(_attributes(value).get("BANDWIDTH", "0"))
        elif line and not line.startswith("#"):
            if bandwidth is not None:
                variants.append((bandwidth, line))
            else:
                parts.append(HlsSegment(number + len(parts), line, place, key, part_map))
            bandwidth = place = None
    return Playlist(tuple(parts), target_s, ended, tuple(variants))


def _attributes(text: str) -> dict[str, str]:
    return {name: value.strip('"') for name, value in _ATTRIBUTE.findall(text)}


def _key(named: dict[str, str]) -> SegmentKey | None:
    if named.get("METHOD", "NONE") == "NONE":
        return None
    if named["METHOD"] != "AES-128" or not named.get("URI"):
        raise ValueError(f"encryption {named['METHOD']}")
    vector = named.get("IV")
    return SegmentKey(named["URI"], int(vector, 16).to_bytes(_KEY_BYTES, "big") if vector else None)


def _place(text: str, before: tuple[int, int] | None) -> tuple[int, int] | None:
    if not text:
        return None
    length, at, offset = text.partition("@")
    start = int(offset) if at else (before[1] if before else 0)
    return start, start + int(length)


class HlsFile(io.BufferedIOBase):
    """The segments of a stream as one file without an end or a way back; what fails ends it, see `error`."""

    def __init__(self, client: HttpClient, address: Address, data: bytes, clock: Clock) -> None:
        """data: the playlist at that address. Raises SourceError."""
        self.error: Exception | None = None
        self._client, self._address, self._clock = client, address, clock
        self._playlist = self._parse(data)
        if self._playlist.variants:
            best = max(self._playlist.variants, key=lambda one: one[0])
            self._address = client.resolve(best[1], address, "is a playlist that points")
            self._playlist = self._fetch()
        empty = self._playlist.ended and not self._playlist.parts
        if self._playlist.variants or empty:
            raise SourceError(f"{client.name}: its playlist names no video")
        self._check_parts()
        ahead = self._playlist.parts if self._playlist.ended else self._playlist.parts[-_START:]
        self._next = ahead[0].number if ahead else 0
        self._map: HlsSegment | None = None
        self._keys: dict[str, bytes] = {}
        self._response: HttpClientResponse | None = None
        self._buffer = b""
        self._at = 0

    @property
    def complete(self) -> bool:
        """Whether the end of a stream that has one was reached."""
        return (
            self.error is None
            and self._playlist.ended
            and not self._buffer
            and self._response is None
            and self._part() is None
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
        """Nowhere but where it is."""
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
            part = self._part()
            if part is None:
                if self._playlist.ended:
                    return b""
                self._clock.sleep(min(max(0.25, self._playlist.target_s / 2), self._client.deadline.left_s()))
                self._playlist = self._fetch()
                self._check_parts()
                continue
            if part.map is not None and part.map != self._map:
                self._map = part.map
                self._buffer = self._whole(part.map)
                continue
            self._next = part.number + 1
            if part.key is None:
                self._response = self._open(part)
            else:
                self._buffer = self._whole(part)

    def _part(self) -> HlsSegment | None:
        """The next segment; the oldest one there is where it has left the playlist already."""
        return next((part for part in self._playlist.parts if part.number >= self._next), None)

    def _fetch(self) -> Playlist:
        response = self._client.get(self._address)
        try:
            return self._parse(response.read_all(MAX_PLAYLIST_BYTES))
        finally:
            response.close()

    def _parse(self, data: bytes) -> Playlist:
        if not is_playlist(data):
            raise SourceError(f"{self._client.name}: its playlist cannot be read: it is something else")
        try:
            return parse_playlist(data.decode("utf-8", "replace"))
        except ValueError as error:
            raise SourceError(f"{self._client.name}: its playlist cannot be read: {error}") from None

    def _check_parts(self) -> None:
        """Refuse a playlist that points elsewhere before anything of it is shown."""
        for part in self._playlist.parts:
            for named in (part, part.map, part.key):
                if named is not None:
                    self._client.resolve(named.uri, self._address, "is a playlist that points")

    def _open(self, part: HlsSegment) -> HttpClientResponse:
        address = self._client.resolve(part.uri, self._address, "is a playlist that points")
        start, end = part.place or (0, None)
        return self._client.get(address, start=start, end=end)

    def _whole(self, part: HlsSegment) -> bytes:
        response = self._open(part)
        try:
            data = response.read_all(_MAX_SEGMENT_BYTES)
        finally:
            response.close()
        return data if part.key is None else self._decrypt(data, part, part.key)

    def _decrypt(self, data: bytes, part: HlsSegment, key: SegmentKey) -> bytes:
        try:
            from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
        except ImportError:
            raise SourceError(
                f"{self._client.name}: an encrypted stream needs a further package: "
                "pip install 'edgeharfer[sign]'"
            ) from None
        if key.uri not in self._keys:
            self._keys = {key.uri: self._whole(HlsSegment(0, key.uri))}
        vector = key.vector or part.number.to_bytes(_KEY_BYTES, "big")
        decryptor = Cipher(algorithms.AES128(self._keys[key.uri]), modes.CBC(vector)).decryptor()
        plain = decryptor.update(data) + decryptor.finalize()
        return plain[: -plain[-1]] if plain else b""
