"""HTTP requests and responses: strict parsing of a request head, and the bytes of a response head."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Self
from urllib.parse import parse_qsl, unquote

from edgeharfer.runtime.http.body import Body, BodyDeadline, received
from edgeharfer.runtime.http.errors import HttpError

MAX_JSON_BYTES = 16 * 1024
MAX_QUERY_FIELDS = 32

# RFC 9112, sections 3 and 5: a method, a target of visible ASCII signs, fields without folded lines.
_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_REQUEST_LINE = re.compile(rf"({_TOKEN}) ([!-~]+) HTTP/1\.([01])")
_FIELD = re.compile(rf"({_TOKEN}):([^\x00-\x08\x0a-\x1f\x7f]*)")


@dataclass(frozen=True)
class Request:
    """One request.

    path: decoded. query: the last value of each name. fields: the header, names in lower case. persistent:
    whether the client may send another request after it. client: its address, as limits count it. params:
    the parts of the path that a Route names.
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
        """Read a head, with the empty line after it.

        Args:
            head: Request line and fields.
            client: As above.
            make_body: Called with the length of the body in bytes, None where it is chunked, and whether the
                client waits for "100 Continue" before it sends it.

        Raises:
            HttpError: It is not HTTP/1, or where the request ends is not certain.
        """
        first, *lines = head.decode("latin-1").removesuffix("\r\n\r\n").lstrip("\r\n").split("\r\n")
        line, found = _REQUEST_LINE.fullmatch(first), [_FIELD.fullmatch(line) for line in lines]
        if line is None or not all(found):
            raise HttpError(400, "this is not an HTTP/1.1 request")
        method, target, minor = line.groups()
        path, _, query = target.partition("?")
        try:
            pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=MAX_QUERY_FIELDS)
        except ValueError as error:
            raise HttpError(400, "too many fields in the query") from error
        fields = tuple((one[1].lower(), one[2].strip(" \t")) for one in found if one is not None)
        named = {name: value.lower() for name, value in fields}
        body = make_body(_body_length(fields), minor == "1" and named.get("expect") == "100-continue")
        persistent = minor == "1" and "close" not in named.get("connection", "")
        return cls(method, unquote(path), dict(pairs), fields, persistent, client, body)

    def values(self, name: str) -> list[str]:
        """All values of a header field; the name in lower case."""
        return [value for known, value in self.fields if known == name]

    def header(self, name: str, default: str = "") -> str:
        """The first value of a header field; the name in lower case."""
        return next(iter(self.values(name)), default)

    def cookie(self, name: str) -> str:
        """The value of a cookie; "" where it is not there."""
        pairs = (pair.partition("=") for pair in self.header("cookie").split(";"))
        return next((value.strip() for known, _, value in pairs if known.strip() == name), "")

    @property
    def media_type(self) -> str:
        """Of the body, in lower case and without parameters."""
        return self.header("content-type").partition(";")[0].strip().lower()

    async def json(self, pace: BodyDeadline) -> Mapping[str, Any]:
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
        """Status line and header. headers: those of every response; the response's own replace them."""
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


def _body_length(fields: tuple[tuple[str, str], ...]) -> int | None:
    """RFC 9112, section 6: two statements of the length could be read in two ways (request smuggling)."""
    stated = [(name, value) for name, value in fields if name in ("content-length", "transfer-encoding")]
    if len(stated) > 1:
        raise HttpError(400, "Content-Length or Transfer-Encoding is given more than once")
    name, value = stated[0] if stated else ("", "0")
    if name == "transfer-encoding":
        if value.lower() != "chunked":
            raise HttpError(501, "of the transfer encodings only chunked is supported")
        return None
    if not re.fullmatch(r"[0-9]{1,18}", value):
        raise HttpError(400, "Content-Length is not a number")
    return int(value)
