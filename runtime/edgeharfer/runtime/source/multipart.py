"""Motion JPEG over HTTP: the pictures of a multipart/x-mixed-replace body (RFC 2046, 5.1)."""

from __future__ import annotations

from collections.abc import Callable

MAX_PICTURE_BYTES = 64 * 2**20
_MAX_LINE = 4096
_MAX_FIELDS = 64


class MultipartPictures:
    """The parts of a body, one after the other.

    Cameras differ from the standard: boundaries with or without the two dashes, or other ones than
    announced, none before the first part, line feeds alone, no Content-Length. `next` copes with all of it.
    """

    def __init__(self, read: Callable[[int], bytes], boundary: str, head: bytes = b"") -> None:
        """read: up to so many bytes, none at the end. head: the beginning, where it was read before."""
        self._read, self._buffer = read, bytearray(head)
        name = boundary.strip().strip('"').encode("latin-1", "replace")
        self._announced = {b"\n--" + name.removeprefix(b"--")} if name else set()
        self._seen = next(iter(self._announced), b"\n--")

    def next(self) -> bytes | None:
        """The bytes of the next picture, which may be none at all or damaged; None at the end."""
        while (fields := self._fields()) is not None:
            kind = fields.get(b"content-type", b"image/jpeg")
            data = self._sized(fields[b"content-length"]) if b"content-length" in fields else self._unsized()
            if data is None or kind.startswith(b"image/"):
                return data
        return None

    def _fields(self) -> dict[bytes, bytes] | None:
        """The header of the next part, boundaries and empty lines before it passed over."""
        fields: dict[bytes, bytes] = {}
        begun = False
        while (line := self._line()) is not None:
            if line.startswith(b"--"):
                self._seen = b"\n" + (line.removesuffix(b"--") or line)
                fields.clear()
                begun = True
            elif line:
                key, colon, value = line.partition(b":")
                if colon and len(fields) < _MAX_FIELDS:
                    fields[key.strip().lower()] = value.strip().lower()
            elif fields or begun:
                return fields
        return None

    def _line(self) -> bytes | None:
        while (end := self._buffer.find(b"\n")) < 0:
            if len(self._buffer) > _MAX_LINE:  # not a line: the rest of something damaged
                del self._buffer[:-1]
            if not self._more():
                return None
        line = bytes(self._buffer[:end]).rstrip(b"\r")
        del self._buffer[: end + 1]
        return line

    def _sized(self, length: bytes) -> bytes | None:
        if not length.isdigit() or int(length) > MAX_PICTURE_BYTES:
            return self._unsized()
        while len(self._buffer) < int(length):
            if not self._more():
                return None
        return self._cut(int(length))

    def _unsized(self) -> bytes | None:
        """Up to the next boundary, the announced one or one like the last."""
        markers, start = {*self._announced, self._seen}, 0
        overlap = max(map(len, markers))
        while not (ends := [end for one in markers if (end := self._buffer.find(one, start)) >= 0]):
            start = max(0, len(self._buffer) - overlap)
            if len(self._buffer) > MAX_PICTURE_BYTES or not self._more():
                return None
        return self._cut(min(ends)).removesuffix(b"\r")

    def _cut(self, length: int) -> bytes:
        data = bytes(self._buffer[:length])
        del self._buffer[:length]
        return data

    def _more(self) -> bool:
        data = self._read(1 << 16)
        self._buffer += data
        return bool(data)
