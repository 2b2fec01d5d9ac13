"""Motion JPEG over HTTP: the parts of a multipart/x-mixed-replace body (RFC 2046, 5.1)."""

from __future__ import annotations

from collections.abc import Callable

MAX_PART_BYTES = 64 * 2**20
_MAX_LINE = 4096
_MAX_FIELDS = 64


class MultipartReader:
    """Reads the image parts of a multipart body.

    Many cameras deviate from the standard, which is tolerated: boundaries with or without the two dashes,
    or different from the declared one, no boundary before the first part, LF line ends, no Content-Length.
    """

    def __init__(self, read: Callable[[int], bytes], boundary: str, head: bytes = b"") -> None:
        """Prepare to read the first part.

        Args:
            read: Returns up to the given number of bytes, b"" at the end.
            boundary: Boundary declared in the Content-Type field, "" if there is none.
            head: Bytes of the body that were already read.
        """
        self._read, self._buffer = read, bytearray(head)
        name = boundary.strip().strip('"').encode("latin-1", "replace")
        self._declared = {b"\n--" + name.removeprefix(b"--")} if name else set()
        self._seen = next(iter(self._declared), b"\n--")

    def next(self) -> bytes | None:
        """Return the bytes of the next image, which may be empty or damaged, or None at the end."""
        while (fields := self._read_header()) is not None:
            kind = fields.get(b"content-type", b"image/jpeg")
            length = fields.get(b"content-length")
            data = self._read_until_boundary() if length is None else self._read_sized(length)
            if data is None or kind.startswith(b"image/"):
                return data
        return None

    def _read_header(self) -> dict[bytes, bytes] | None:
        """Return the header of the next part, skipping boundaries and empty lines before it."""
        fields: dict[bytes, bytes] = {}
        in_header = False
        while (line := self._read_line()) is not None:
            if line.startswith(b"--"):
                self._seen = b"\n" + (line.removesuffix(b"--") or line)
                fields.clear()
                in_header = True
            elif line:
                key, colon, value = line.partition(b":")
                if colon and len(fields) < _MAX_FIELDS:
                    fields[key.strip().lower()] = value.strip().lower()
            elif fields or in_header:
                return fields
        return None

    def _read_line(self) -> bytes | None:
        while (end := self._buffer.find(b"\n")) < 0:
            if len(self._buffer) > _MAX_LINE:  # not a header line: the rest of a damaged part
                del self._buffer[:-1]
            if not self._read_more():
                return None
        line = bytes(self._buffer[:end]).rstrip(b"\r")
        del self._buffer[: end + 1]
        return line

    def _read_sized(self, length: bytes) -> bytes | None:
        if not length.isdigit() or int(length) > MAX_PART_BYTES:
            return self._read_until_boundary()
        while len(self._buffer) < int(length):
            if not self._read_more():
                return None
        return self._consume(int(length))

    def _read_until_boundary(self) -> bytes | None:
        """Return the bytes up to the next boundary, the declared one or one equal to the last."""
        markers, start = {*self._declared, self._seen}, 0
        overlap = max(map(len, markers))
        while not (ends := [end for one in markers if (end := self._buffer.find(one, start)) >= 0]):
            start = max(0, len(self._buffer) - overlap)
            if len(self._buffer) > MAX_PART_BYTES or not self._read_more():
                return None
        return self._consume(min(ends)).removesuffix(b"\r")

    def _consume(self, length: int) -> bytes:
        data = bytes(self._buffer[:length])
        del self._buffer[:length]
        return data

    def _read_more(self) -> bool:
        data = self._read(1 << 16)
        self._buffer += data
        return bool(data)
