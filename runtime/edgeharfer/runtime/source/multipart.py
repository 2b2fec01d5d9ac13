"""Motion JPEG over HTTP: the parts of a multipart/x-mixed-replace body (RFC 2046, 5.1), or bare images."""

from __future__ import annotations

from collections.abc import Callable

from edgeharfer.runtime.source import jpeg

MAX_PART_BYTES = 64 * 2**20
_MAX_LINE = 4096
_MAX_FIELDS = 64
_NO_HEADER: dict[bytes, bytes] = {}


class MultipartReader:
    """Reads the image parts of a multipart body.

    Many cameras deviate from the standard, which is tolerated: boundaries with or without the two dashes,
    or different from the declared one, no boundary before the first part, LF line ends, no Content-Length,
    and JPEG images without any header between them.
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
        self._name = name or b"--"
        self._declared = {b"\n--" + name.removeprefix(b"--")} if name else set()
        self._seen = next(iter(self._declared), b"\n--")

    def next(self) -> bytes | None:
        """Return the bytes of the next image, which may be empty or damaged, or None at the end."""
        while (fields := self._read_header()) is not None:
            kind = fields.get(b"content-type", b"image/jpeg")
            length = fields.get(b"content-length")
            if fields is _NO_HEADER:
                data = self._read_jpeg()
            else:
                data = self._read_until_boundary() if length is None else self._read_sized(length)
            if data is None or kind.startswith(b"image/"):
                return data
        return None

    def _read_header(self) -> dict[bytes, bytes] | None:
        """Return the header of the next part, skipping boundaries and empty lines before it.

        Returns:
            The fields by name; _NO_HEADER if an image begins outside a part; None at the end.
        """
        fields: dict[bytes, bytes] = {}
        in_header = False
        while in_header or fields or not self._starts_with_jpeg():
            if (line := self._read_line()) is None:
                return None
            if line.startswith(b"--") or line == self._name:
                self._seen = b"\n" + (line.removesuffix(b"--") or line)
                fields.clear()
                in_header = True
            elif line:
                key, colon, value = line.partition(b":")
                if colon and len(fields) < _MAX_FIELDS:
                    fields[key.strip().lower()] = value.strip().lower()
            elif fields or in_header:
                return fields
        return _NO_HEADER

    def _starts_with_jpeg(self) -> bool:
        """Return whether an image begins where a header is expected."""
        while len(self._buffer) < len(jpeg.START) and self._read_more():
            continue
        return self._buffer.startswith(jpeg.START)

    def _read_jpeg(self) -> bytes | None:
        """Return the bytes of an image up to its end marker, or up to the next image if it has none."""
        while (end := jpeg.image_length(self._buffer)) is None:
            if len(self._buffer) > MAX_PART_BYTES or not self._read_more():
                return None
        return self._consume(end)

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
