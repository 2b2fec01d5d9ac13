"""HTTP requests and responses: strict parsing of a request head, and the bytes of a response head."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Any, Self
from urllib.parse import parse_qsl, unquote

from edgeharfer.runtime.http.body import Body, Pace, received
from edgeharfer.runtime.http.errors import HttpError

MAX_JSON_BYTES = 16 * 1024
MAX_QUERY_FIELDS = 32

# RFC 9112, sections 3 and 5: a method, a target of visible ASCII signs, fields without folded lines.
_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_REQUEST_LINE = re.compile(rf"({_TOKEN}) ([!-~]+) HTTP/1\.([01])")
_FIELD = re.compile(rf"({_TOKEN}):[ \t]*([^\x00-\x08\x0a-\x1f\x7f]*?)[ \t]*")


@dataclass(frozen=True)
class Head:
    """What stands before the body. fields: names in lower case, in the order of the request."""

    method: str
    target: str
    http_1_1: bool
    fields: tuple[tuple[str, str], ...]

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read a head with the empty line after it. Raises HttpError 400 for anything that is not HTTP/1."""
        first, *lines = data.decode("latin-1").removesuffix("\r\n\r\n").lstrip("\r\n").split("\r\n")
        request = _REQUEST_LINE.fullmatch(first)
        fields = [_FIELD.fullmatch(line) for line in lines]
        if request is None or not all(fields):
            raise HttpError(400, "this is not an HTTP/1.1 request")
        method, target, minor = request.groups()
        named = tuple((found[1].lower(), found[2]) for found in fields if found is not None)
        return cls(method, target, minor == "1", named)

    def values(self, name: str) -> list[str]:
        """All values of a field."""
        return [value for known, value in self.fields if known == name]

    def value(self, name: str, default: str = "") -> str:
        """The first value of a field."""
        return next(iter(self.values(name)), default)

    @property
    def keep_alive(self) -> bool:
        return self.http_1_1 and self.value("connection").lower() != "close"

    def body_length(self) -> int | None:
        """In bytes; None for a chunked body. Raises HttpError for a request whose end is not certain."""
        lengths, codings = self.values("content-length"), self.values("transfer-encoding")
        if len(lengths) + len(codings) > 1:
            raise HttpError(400, "Content-Length or Transfer-Encoding is given more than once")
        if codings:
            if codings[0].lower() != "chunked":
                raise HttpError(501, "of the transfer encodings only chunked is supported")
            return None
        if lengths and not re.fullmatch(r"[0-9]{1,18}", lengths[0]):
            raise HttpError(400, "Content-Length is not a number")
        return int(lengths[0]) if lengths else 0


@dataclass(frozen=True)
class Request:
    """One request.

    path: decoded. query: the last value of each name. client: its address, as limits count it. params: the
    parts of the path that a Route names.
    """

    head: Head
    path: str
    query: Mapping[str, str]
    client: str
    body: Body
    params: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def make(cls, head: Head, client: str, body: Body) -> Self:
        """Raises HttpError 400 for a query that is too long."""
        path, _, query = head.target.partition("?")
        try:
            fields = parse_qsl(query, keep_blank_values=True, max_num_fields=MAX_QUERY_FIELDS)
        except ValueError as error:
            raise HttpError(400, "too many fields in the query") from error
        return cls(head, unquote(path), dict(fields), client, body)

    @property
    def method(self) -> str:
        return self.head.method

    @property
    def media_type(self) -> str:
        """Of the body, in lower case and without parameters."""
        return self.head.value("content-type").partition(";")[0].strip().lower()

    def cookie(self, name: str) -> str:
        """The value of a cookie; "" where it is not there."""
        pairs = (pair.partition("=") for pair in self.head.value("cookie").split(";"))
        return next((value.strip() for known, _, value in pairs if known.strip() == name), "")

    async def json(self, pace: Pace) -> Mapping[str, Any]:
        """The JSON object in the body. Raises HttpError for anything else and over MAX_JSON_BYTES."""
        if self.media_type != "application/json":
            raise HttpError(415, "send a JSON object")
        data = b""
        async for piece in received(self.body, pace):
            data += piece
            if len(data) > MAX_JSON_BYTES:
                raise HttpError(413, "the request is too large")
        try:
            content = json.loads(data)
            json.dumps(content, ensure_ascii=False).encode()  # half of a surrogate pair cannot be encoded
        except (ValueError, RecursionError) as error:
            raise HttpError(400, "not a JSON object in Unicode") from error
        if not isinstance(content, dict):
            raise HttpError(400, "not a JSON object")
        return content

    def with_params(self, params: Mapping[str, str]) -> Self:
        return replace(self, params=params)


@dataclass(frozen=True)
class Response:
    """One response. content: all of it, or its parts as they come.

    length: of the parts together; without it the connection ends where they do.
    """

    content: bytes | AsyncGenerator[bytes, None] = b""
    media_type: str = ""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    length: int | None = None

    @property
    def known_length(self) -> int | None:
        return len(self.content) if isinstance(self.content, bytes) else self.length

    def head(self, headers: Mapping[str, str], *, close: bool) -> bytes:
        """Status line and header fields. headers: those of every response; the response's own go before."""
        lines = {"Content-Type": self.media_type} if self.media_type else {}
        lines |= {**headers, **self.headers}
        if self.known_length is not None and self.status != HTTPStatus.NO_CONTENT:
            lines["Content-Length"] = str(self.known_length)
        if close:
            lines["Connection"] = "close"
        text = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        return f"HTTP/1.1 {self.status} {HTTPStatus(self.status).phrase}\r\n{text}\r\n".encode("latin-1")


def json_response(
    content: Mapping[str, object], status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """An object as JSON, with every number finite."""
    body = json.dumps(content, separators=(",", ":"), allow_nan=False).encode("ascii")
    return Response(body, "application/json", status, headers or {})


def error_response(error: HttpError) -> Response:
    """The error as JSON."""
    return json_response({"error": error.why}, error.status, error.headers)
