"""An HTTP client that connects only to the given server, unless following redirects is allowed."""

from __future__ import annotations

import http.client
import io
import re
from contextlib import suppress
from typing import TYPE_CHECKING, cast
from urllib.parse import urljoin

from edgeharfer.runtime.errors import SourceError
from edgeharfer.runtime.source.address import Address, is_url, parse_address, redact
from edgeharfer.runtime.source.credentials import Login
from edgeharfer.runtime.source.endpoint import Connection, Deadline, Endpoint, unreachable_error

if TYPE_CHECKING:
    import socket

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MAX_REDIRECTS = 5
_MAX_AUTH_ATTEMPTS = 2
_SKIP_BYTES = 1 << 18
"""Up to this distance ahead, reading is cheaper than another request."""


class HttpClient:
    """The HTTP client of one stream.

    Without `follow_redirects` it connects only to the scheme, host and port of the address; redirects and
    references to other ones are errors. Credentials are never sent to another server.
    """

    def __init__(self, address: Address, name: str, deadline: Deadline, *, follow_redirects: bool) -> None:
        """Prepare the client without connecting.

        Args:
            address: Address of the stream, with credentials if any.
            name: Name of the stream in error messages.
            deadline: Deadline for all network operations.
            follow_redirects: Whether other servers may be contacted.
        """
        self.name, self.deadline = name, deadline
        self._first, self._follow_redirects = address, follow_redirects
        self._login = None if address.user is None else Login(address.user, address.password or "")
        self._endpoints: dict[tuple[str, str, int], Endpoint] = {}

    def get(
        self, address: Address | None = None, *, start: int = 0, end: int | None = None
    ) -> HttpClientResponse:
        """Send a GET request, following redirects where allowed.

        Args:
            address: Address to request, by default that of the stream.
            start: First byte to request.
            end: Byte after the last one to request, None for the rest of the file.

        Raises:
            SourceError: The server is unreachable, a redirect is not followed, or the status is an error.
        """
        address = address or self._first
        for _ in range(_MAX_REDIRECTS + 1):
            response = self._request(address, start, end)
            if response.status not in _REDIRECTS:
                response.check_status(partial=bool(start or end))
                return response
            response.close()
            address = self.resolve(response.location, response.address, "redirects")
        raise SourceError(f"{self.name}: too many redirects: use the address of the video itself")

    def resolve(self, reference: str, base: Address, verb: str) -> Address:
        """Resolve a URL reference in a response.

        Args:
            reference: Absolute or relative URL.
            base: Address of the response.
            verb: Verb of the error message, such as "redirects".

        Raises:
            SourceError: The URL is not HTTP, or is on another server and redirects are not followed.
        """
        try:
            target = urljoin(base.url, reference.strip())
        except ValueError:
            target = reference.strip()
        if not re.match(r"https?://", target, re.IGNORECASE):
            kind = redact(target) if is_url(target) else target.partition(":")[0][:20] + ":"
            raise SourceError(f"{self.name}: {verb} to {kind}, which is not HTTP: not followed")
        address = parse_address(target)
        if address.origin != self._first.origin and not self._follow_redirects:
            raise SourceError(
                f"{self.name}: {verb} to {redact(address.url)}: not followed because it is another server; "
                "use that address, or add --follow-redirects"
            )
        return address

    def _request(self, address: Address, start: int, end: int | None) -> HttpClientResponse:
        endpoint = self._endpoints.setdefault(address.origin, Endpoint(address))
        login = self._login if address.origin == self._first.origin else None
        for _ in range(_MAX_AUTH_ATTEMPTS + 1):
            response = self._exchange(endpoint, address, login, start, end)
            if response.status != 401 or login is None or not login.accept_challenge(response.challenges):
                return response
            response.close()
        return response

    def _exchange(
        self, endpoint: Endpoint, address: Address, login: Login | None, start: int, end: int | None
    ) -> HttpClientResponse:
        fields = {"Host": address.host_and_port, "User-Agent": "edgeharfer", "Accept": "*/*"}
        if start or end is not None:
            fields["Range"] = f"bytes={start}-{'' if end is None else end - 1}"
        if login is not None and (authorization := login.authorize("GET", address.target)) is not None:
            fields["Authorization"] = authorization
        fields["Connection"] = "close"
        head = "".join(f"{key}: {value}\r\n" for key, value in fields.items())
        try:
            connection = endpoint.connect(self.deadline)
            try:
                connection.send(f"GET {address.target} HTTP/1.1\r\n{head}\r\n".encode())
                return HttpClientResponse(self, address, connection, start)
            except BaseException:
                connection.close()
                raise
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise unreachable_error(self.name, error) from None


class HttpClientResponse:
    """A response whose header was received; its body starts at byte `start` of the file."""

    def __init__(self, client: HttpClient, address: Address, connection: Connection, start: int) -> None:
        self.address, self.start = address, start
        self._client, self._connection = client, connection
        # http.client only calls makefile, which the connection has.
        self._response = http.client.HTTPResponse(cast("socket.socket", connection), method="GET")
        self._response.begin()
        self.status, headers = self._response.status, self._response.headers
        self.location = headers.get("Location", "")
        self.challenges = headers.get_all("WWW-Authenticate", [])
        self.media_type = headers.get_content_type() if "Content-Type" in headers else ""
        self.boundary = str(headers.get_param("boundary") or "") if self.media_type else ""
        self.length = self._response.length
        self.ranges = self.length is not None and headers.get("Accept-Ranges", "").lower() == "bytes"
        self._content_range = headers.get("Content-Range", "")
        self._chunked = bool(self._response.chunked)

    def check_status(self, *, partial: bool) -> None:
        """Close the response and raise an error unless it is the requested content.

        Args:
            partial: Whether a range was requested (status 206).

        Raises:
            SourceError: The status or the range is not the expected one.
        """
        name = self._client.name
        if self.status == (206 if partial else 200):
            content_range = re.match(r"bytes (\d+)-", self._content_range)
            if not partial or content_range is None or int(content_range[1]) == self.start:
                return
        self.close()
        if self.status == 401:
            raise SourceError(
                f"{name}: login failed (status 401): add credentials to the URL as user:password@host"
            )
        raise SourceError(f"{name}: the server responded with status {self.status}: check the address")

    @property
    def complete(self) -> bool:
        """Whether a body of known length was read to its end."""
        return not self._chunked and self.length is not None and self._response.length == 0

    def read_some(self, size: int) -> bytes:
        """Return up to `size` bytes as soon as some are available, b"" at the end.

        Raises:
            OSError: The connection failed or timed out.
        """
        try:
            return self._response.read1(size)
        except (http.client.HTTPException, ValueError):
            return b""

    def read_all(self, limit: int) -> bytes:
        """Return the whole body.

        Raises:
            SourceError: The body is longer than `limit` bytes.
            OSError: The connection failed or timed out.
        """
        data = b""
        while more := self.read_some(1 << 16):
            data += more
            if len(data) > limit:
                raise SourceError(
                    f"{self._client.name}: a playlist or segment is larger than {limit >> 10} KiB"
                )
        return data

    def reopen(self, start: int) -> HttpClientResponse:
        """Request the same file again from byte `start`.

        Raises:
            SourceError: See `HttpClient.get`.
        """
        return self._client.get(self.address, start=start)

    def close(self) -> None:
        """Close the connection."""
        with suppress(OSError, ValueError):
            self._response.close()
        self._connection.close()


class HttpFile(io.BufferedIOBase):
    """The body of a response as a file for FFmpeg. Errors end the file.

    A read after a seek sends a range request if the server supports it; otherwise only forward seeks work.

    Attributes:
        error: The error that ended the file, None if there was none.
    """

    def __init__(self, response: HttpClientResponse, head: bytes = b"") -> None:
        """Wrap a response.

        Args:
            response: The response.
            head: Bytes of the body that were already read.
        """
        self._response, self._head = response, head
        self._position = self._target = 0
        self._size = response.length
        if self._size is not None:
            self._size += len(head)
        self.error: Exception | None = None

    @property
    def complete(self) -> bool:
        """Whether the file was read to its end."""
        return self._response.complete and not self._head

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return self._response.ranges

    def read(self, size: int | None = -1, /) -> bytes:
        try:
            while self._position != self._target:
                if not self._advance():
                    return b""
            data = self._read_forward(1 << 16 if size is None or size < 0 else size)
        except (OSError, SourceError) as error:
            self.error = error
            return b""
        self._target = self._position
        return data

    def tell(self) -> int:
        return self._target

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Set the position and return it, or return -1 if it cannot be reached."""
        if whence == io.SEEK_END and self._size is None:
            return -1
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._target, io.SEEK_END: self._size or 0}[whence]
        if base + offset < self._position and not self.seekable():
            return -1
        self._target = base + offset
        return self._target

    def close(self) -> None:
        self._response.close()
        super().close()

    def _read_forward(self, count: int) -> bytes:
        data, self._head = self._head[:count], self._head[count:]
        data = data or self._response.read_some(count)
        self._position += len(data)
        return data

    def _advance(self) -> bool:
        """Move towards the target position; return False at the end of the file."""
        ahead = self._target - self._position
        if 0 < ahead <= _SKIP_BYTES or not self.seekable():
            return bool(self._read_forward(min(1 << 16, ahead)))
        if self._size is not None and self._target >= self._size:
            return False
        self._response.close()
        self._head, self._position = b"", self._target
        self._response = self._response.reopen(self._position)
        return True
