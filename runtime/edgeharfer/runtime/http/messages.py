"""HTTP requests and responses: strict parsing of request heads and serialization of response heads."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import parse_qsl, unquote

from edgeharfer.runtime.http.body import Body, BodyDeadline, read_body
from edgeharfer.runtime.http.errors import HttpError

if TYPE_CHECKING:
    from typing_extensions import Self

MAX_JSON_BYTES = 16 * 1024
MAX_QUERY_FIELDS = 32

# RFC 9112, sections 3 and 5: a method, a target of visible ASCII characters, fields without line folding.
_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_REQUEST_LINE = re.compile(rf"({_TOKEN}) ([!-~]+) HTTP/1\.([01])")
_FIELD = re.compile(rf"({_TOKEN}):([^\x00-\x08\x0a-\x1f\x7f]*)")
_WITHOUT_LENGTH = frozenset({HTTPStatus.SWITCHING_PROTOCOLS, HTTPStatus.NO_CONTENT})


@dataclass(frozen=True)
class Request:
    """An HTTP request.

    Attributes:
        method: Method in upper case.
        path: Decoded path.
        query: Last value of each query parameter.
        fields: Header fields, names in lower case.
        persistent: Whether the client may send another request on the connection.
        client: Address of the client, as counted by limits.
        body: Request body.
        params: Path parameters of the matching `Route`.
    """

    method: str
    path: str
    query: Mapping[str, str]
    fields: tuple[tuple[str, str], ...]
    persistent: bool
    client: str
    body: Body
    params: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, head: bytes, client: str, make_body: Callable[[int | None, bool], Body]) -> Self:
        """Parse a request head.

        Args:
            head: Request line and header fields, including the final empty line.
            client: Address of the client.
            make_body: Called with the length of the body in bytes, None if it is chunked, and whether the
                client waits for "100 Continue".

        Raises:
            HttpError: The request is malformed, or its length is ambiguous.
        """
        first, *lines = head.decode("latin-1").removesuffix("\r\n\r\n").lstrip("\r\n").split("\r\n")
        line, found = _REQUEST_LINE.fullmatch(first), [_FIELD.fullmatch(line) for line in lines]
        if line is None or not all(found):
            raise HttpError(400, "malformed HTTP/1.1 request")
        method, target, minor = line.groups()
        path, _, query = target.partition("?")
        try:
            pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=MAX_QUERY_FIELDS)
        except ValueError as error:
            raise HttpError(400, "too many query parameters") from error
        fields = tuple((one[1].lower(), one[2].strip(" \t")) for one in found if one is not None)
        named = {name: value.lower() for name, value in fields}
        body = make_body(_body_length(fields), minor == "1" and named.get("expect") == "100-continue")
        persistent = minor == "1" and "close" not in named.get("connection", "")
        return cls(method, unquote(path), dict(pairs), fields, persistent, client, body)

    def values(self, name: str) -> list[str]:
        """Return all values of a header field; `name` is in lower case."""
        return [value for known, value in self.fields if known == name]

    def header(self, name: str, default: str = "") -> str:
        """Return the first value of a header field; `name` is in lower case."""
        return next(iter(self.values(name)), default)

    def cookie(self, name: str) -> str:
        """Return the value of a cookie, "" if absent."""
        pairs = (pair.partition("=") for pair in self.header("cookie").split(";"))
        return next((value.strip() for known, _, value in pairs if known.strip() == name), "")

    @property
    def media_type(self) -> str:
        """Media type of the body in lower case, without parameters."""
        return self.header("content-type").partition(";")[0].strip().lower()

    async def json(self, deadline: BodyDeadline) -> Mapping[str, Any]:
        """Return the JSON object in the body.

        Args:
            deadline: Deadline for receiving the body.

        Raises:
            HttpError: The body is not a JSON object, is larger than MAX_JSON_BYTES, or was not received.
        """
        if self.media_type != "application/json":
            raise HttpError(415, "unsupported Content-Type: send application/json")
        data = b""
        async for piece in read_body(self.body, deadline):
            data += piece
            if len(data) > MAX_JSON_BYTES:
                raise HttpError(413, f"the request body is larger than {MAX_JSON_BYTES // 1024} KiB")
        try:
            content = json.loads(data)
            json.dumps(content, ensure_ascii=False).encode()  # fails for an unpaired surrogate
        except (ValueError, RecursionError) as error:
            raise HttpError(400, "the request body is not valid JSON") from error
        if not isinstance(content, dict):
            raise HttpError(400, "the request body is not a JSON object")
        return content


class ByteStream(Protocol):
    """The bytes of a connection that has changed to another protocol."""

    async def read(self, size: int) -> bytes:
        """Return the next bytes, at most `size`; b"" at the end, and when the connection was lost."""

    async def send(self, data: bytes) -> None:
        """Send bytes. The connection is given up if the client does not read them."""


@dataclass(frozen=True)
class Response:
    """An HTTP response.

    Attributes:
        content: Complete body, or a generator of its parts.
        media_type: Content-Type, "" for none.
        status: HTTP status code.
        headers: Additional header fields.
        length: Total length of the parts; if None, the connection is closed after them.
        upgrade: Called with the connection after the head of a response 101; the connection is closed when
            it returns.
    """

    content: bytes | AsyncGenerator[bytes, None] = b""
    media_type: str = ""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    length: int | None = None
    upgrade: Callable[[ByteStream], Awaitable[None]] | None = None

    @property
    def known_length(self) -> int | None:
        """Length of the body in bytes, None if unknown."""
        return len(self.content) if isinstance(self.content, bytes) else self.length

    def head(self, headers: Mapping[str, str], *, close: bool) -> bytes:
        """Return the encoded status line and header.

        Args:
            headers: Default header fields, which those of the response override.
            close: Whether the connection is closed after the response.
        """
        lines = {"Content-Type": self.media_type} if self.media_type else {}
        lines |= {**headers, **self.headers}
        if self.known_length is not None and self.status not in _WITHOUT_LENGTH:
            lines["Content-Length"] = str(self.known_length)
        if close:
            lines["Connection"] = "close"
        text = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        return f"HTTP/1.1 {self.status} {HTTPStatus(self.status).phrase}\r\n{text}\r\n".encode("latin-1")


def json_response(
    content: Mapping[str, object], status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """Return a JSON response; NaN and infinite numbers raise ValueError."""
    body = json.dumps(content, separators=(",", ":"), allow_nan=False).encode("ascii")
    return Response(body, "application/json", status, headers or {})


def error_response(error: HttpError) -> Response:
    """Return an error as a JSON response."""
    return json_response({"error": error.message}, error.status, error.headers)


def _body_length(fields: tuple[tuple[str, str], ...]) -> int | None:
    """Parse the length; conflicting lengths are rejected (request smuggling, RFC 9112, section 6)."""
    stated = [(name, value) for name, value in fields if name in ("content-length", "transfer-encoding")]
    if len(stated) > 1:
        raise HttpError(400, "Content-Length or Transfer-Encoding is given more than once")
    name, value = stated[0] if stated else ("", "0")
    if name == "transfer-encoding":
        if value.lower() != "chunked":
            raise HttpError(501, "unsupported Transfer-Encoding: only chunked is supported")
        return None
    if not re.fullmatch(r"[0-9]{1,18}", value):
        raise HttpError(400, "Content-Length is not a number")
    return int(value)
