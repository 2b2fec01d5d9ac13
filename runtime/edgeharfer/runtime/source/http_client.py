"""HTTP requests to the address that was given, and to no other unless redirects may be followed."""

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
from edgeharfer.runtime.source.endpoint import Connection, Deadline, Endpoint, unreachable

if TYPE_CHECKING:
    import socket

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MAX_REDIRECTS = 5
_MAX_LOGINS = 2
_SKIP_BYTES = 1 << 18
"""Reading on is cheaper than another request where so little is to be skipped."""


class HttpClient:
    """Requests for one stream. name: of the stream in messages.

    Without `follow_redirects` it only connects to the scheme, host and port of the address: a redirect or
    reference to another one is an error. The login is never sent to another host.
    """

    def __init__(self, address: Address, name: str, deadline: Deadline, *, follow_redirects: bool) -> None:
        self.name, self.deadline = name, deadline
        self._first, self._follow = address, follow_redirects
        self._login = None if address.user is None else Login(address.user, address.password or "")
        self._endpoints: dict[tuple[str, str, int], Endpoint] = {}

    def get(
        self, address: Address | None = None, *, start: int = 0, end: int | None = None
    ) -> HttpClientResponse:
        """The answer to a GET, redirects followed as far as they may be.

        start, end: only these bytes, the last one excluded. Raises SourceError: refused, unreachable, or
        an answer other than 200 or 206.
        """
        address = address or self._first
        for _ in range(_MAX_REDIRECTS + 1):
            response = self._ask(address, start, end)
            if response.status not in _REDIRECTS:
                response.check_status(partial=bool(start or end))
                return response
            response.close()
            address = self.resolve(response.location, response.address, "redirects")
        raise SourceError(f"{self.name}: redirects again and again: give the address of the video itself")

    def resolve(self, reference: str, base: Address, verb: str) -> Address:
        """The address of a reference in an answer. Raises SourceError where it may not be asked.

        verb: what the answer does with it, for the message.
        """
        try:
            target = urljoin(base.url, reference.strip())
        except ValueError:
            target = reference.strip()
        if not re.match(r"https?://", target, re.IGNORECASE):
            kind = redact(target) if is_url(target) else target.partition(":")[0][:20] + ":"
            raise SourceError(f"{self.name}: {verb} to {kind}, which is not HTTP: not followed")
        address = parse_address(target)
        if address.origin != self._first.origin and not self._follow:
            raise SourceError(
                f"{self.name}: {verb} to {redact(address.url)}: not followed, since that is another server; "
                "give that address, or add --follow-redirects"
            )
        return address

    def _ask(self, address: Address, start: int, end: int | None) -> HttpClientResponse:
        endpoint = self._endpoints.setdefault(address.origin, Endpoint(address))
        login = self._login if address.origin == self._first.origin else None
        for _ in range(_MAX_LOGINS + 1):
            response = self._exchange(endpoint, address, login, start, end)
            if response.status != 401 or login is None or not login.challenge(response.challenges):
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
            raise unreachable(self.name, error) from None


class HttpClientResponse:
    """An answer whose head has come. Its body is read from `start` of the file on."""

    def __init__(self, client: HttpClient, address: Address, connection: Connection, start: int) -> None:
        self.address, self.start = address, start
        self._client, self._connection = client, connection
        # http.client asks for nothing but makefile, which the connection has.
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
        """Raises SourceError, and closes, for anything but the content that was asked for."""
        name = self._client.name
        if self.status == (206 if partial else 200):
            place = re.match(r"bytes (\d+)-", self._content_range)
            if not partial or place is None or int(place[1]) == self.start:
                return
        self.close()
        if self.status == 401:
            raise SourceError(
                f"{name}: refuses the login (401): give user and password, as user:password@host"
            )
        raise SourceError(f"{name}: answers with status {self.status}: check the address")

    @property
    def complete(self) -> bool:
        """Whether a body of known length has been read to its end."""
        return not self._chunked and self.length is not None and self._response.length == 0

    def read_some(self, size: int) -> bytes:
        """Up to so many bytes, as soon as there are any; none at the end. Raises OSError."""
        try:
            return self._response.read1(size)
        except (http.client.HTTPException, ValueError):
            return b""

    def read_all(self, limit: int) -> bytes:
        """The whole body. Raises SourceError where it is longer than the limit, OSError."""
        data = b""
        while more := self.read_some(1 << 16):
            data += more
            if len(data) > limit:
                raise SourceError(f"{self._client.name}: a part of its playlist is over {limit >> 10} KiB")
        return data

    def reopen(self, start: int) -> HttpClientResponse:
        """The same file from another place on. Raises SourceError."""
        return self._client.get(self.address, start=start)

    def close(self) -> None:
        """Close the connection."""
        with suppress(OSError, ValueError):
            self._response.close()
        self._connection.close()


class HttpFile(io.BufferedIOBase):
    """The body of an answer as a file that FFmpeg reads: what fails is its end, and `error` says why.

    head: bytes that were read before. After a seek the next read asks the server for another part, where
    it gives parts; elsewhere only bytes ahead can be reached.
    """

    def __init__(self, response: HttpClientResponse, head: bytes = b"") -> None:
        self._response, self._head = response, head
        self._at = self._wanted = 0
        self._size = response.length
        if self._size is not None:
            self._size += len(head)
        self.error: Exception | None = None

    @property
    def complete(self) -> bool:
        """Whether the end of the file has been read."""
        return self._response.complete and not self._head

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return self._response.ranges

    def read(self, size: int | None = -1, /) -> bytes:
        try:
            while self._at != self._wanted:
                if not self._approach():
                    return b""
            data = self._take(1 << 16 if size is None or size < 0 else size)
        except (OSError, SourceError) as error:
            self.error = error
            return b""
        self._wanted = self._at
        return data

    def tell(self) -> int:
        return self._wanted

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """As of any file; -1 where that place cannot be reached."""
        if whence == io.SEEK_END and self._size is None:
            return -1
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._wanted, io.SEEK_END: self._size or 0}[whence]
        if base + offset < self._at and not self.seekable():
            return -1
        self._wanted = base + offset
        return self._wanted

    def close(self) -> None:
        self._response.close()
        super().close()

    def _take(self, count: int) -> bytes:
        data, self._head = self._head[:count], self._head[count:]
        data = data or self._response.read_some(count)
        self._at += len(data)
        return data

    def _approach(self) -> bool:
        """Get nearer to the place that is wanted; False where there is nothing."""
        ahead = self._wanted - self._at
        if 0 < ahead <= _SKIP_BYTES or not self.seekable():
            return bool(self._take(min(1 << 16, ahead)))
        if self._size is not None and self._wanted >= self._size:
            return False
        self._response.close()
        self._head, self._at = b"", self._wanted
        self._response = self._response.reopen(self._at)
        return True
