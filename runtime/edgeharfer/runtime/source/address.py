"""The address of a stream: its parts, and the form in which it may be shown."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote

from edgeharfer.runtime.errors import SourceError

PORTS = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443}
"""The schemes of streams and their default ports (RFC 2326, RFC 7826, RFC 9110)."""

# Two letters at least: "C:/" is a folder on Windows.
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/+(.*)", re.DOTALL)
_URL_WITHIN_TEXT = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/+[^\s\"'<>]+?(?=[:;,.)]*(?:\s|$))")
_LOGIN_WITHOUT_SCHEME = re.compile(r"[^\s/\\:]{2,}:[^\\]*@")
# A value ends at the next separator, which may be percent-encoded as well as the sign before the value.
_VALUE = re.compile(r"(=|%3d)(?:(?!%26|%3b)[^&;?])+", re.IGNORECASE)
_BARE_PARAMETER = re.compile(r"([?&;])(?![^&;]*(?:=|%3d))[^&;?]+", re.IGNORECASE)
_SPACES = re.compile(r"[\x00-\x20\x7f]")


@dataclass(frozen=True)
class Address:
    """Where a stream comes from. target: path and query. user, password: None where none is given."""

    scheme: str
    host: str
    port: int
    target: str
    user: str | None = None
    password: str | None = None

    @property
    def origin(self) -> tuple[str, str, int]:
        """What two addresses of one server have in common."""
        return self.scheme, self.host.lower(), self.port

    @property
    def host_and_port(self) -> str:
        """As in a Host header: without the port where it is the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """The address without user and password."""
        return f"{self.scheme}://{self.host_and_port}{self.target}"


def is_url(text: str) -> bool:
    """Whether a source is given by an address rather than a path."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", text) is not None


def parse_address(url: str) -> Address:
    """The parts of a stream's address (RFC 3986, 3). Raises SourceError where it is none."""
    check_url(url)
    scheme, _, rest = url.partition("://")
    scheme = scheme.lower()
    end = next((index for index, sign in enumerate(rest) if sign in "/?#"), len(rest))
    authority, target = rest[:end], rest[end:].partition("#")[0]
    login, at, place = authority.rpartition("@")
    user, colon, password = login.partition(":")
    found = re.fullmatch(r"(?:\[([0-9A-Fa-f:.%]+)\]|([^\[\]:]+))(?::([0-9]{1,5})?)?", place)
    if found is None or _SPACES.search(place) or not int(found[3] or 1) <= 65535:
        raise SourceError(
            f"{redact(url)}: not an address: write it as {scheme}://user:password@host:port/path, "
            "with %2F, %3F, %23 and %40 for / ? # @ in the password"
        )
    port = int(found[3]) if found[3] else PORTS[scheme]
    target = _SPACES.sub(lambda sign: f"%{ord(sign[0]):02X}", target)
    return Address(
        scheme,
        found[1] or found[2],
        port,
        target if target.startswith("/") else f"/{target}",
        unquote(user) if at else None,
        unquote(password) if colon else None,
    )


def check_url(url: str) -> str:
    """The address as it may be shown. Raises SourceError where its scheme is unknown."""
    if url.partition("://")[0].lower() not in PORTS:
        raise SourceError(f"{redact(url)}: a stream is one of rtsp://, rtsps://, http:// and https://")
    return redact(url)


def redact(text: str) -> str:
    """A source as it may be shown: of an address no user, no password and no value of a parameter.

    Parameters are hidden in the query and in the path (";pwd=…", "/user=…&password=…"), whatever their
    names; a fragment is left out. Everything up to the last "@" is hidden, since passwords hold "/", "?"
    and "@" more often than paths hold an "@". Paths of files are returned as they are.
    """
    found = _URL.fullmatch(text)
    if found is None:
        login = _LOGIN_WITHOUT_SCHEME.match(text)
        return text if login is None else f"***@{_hide_parameters(text.rpartition('@')[2])}"
    rest = found[2]
    end = next((index for index, sign in enumerate(rest) if sign in "/?#"), len(rest))
    rest = re.sub("%40", "@", rest[:end]) + rest[end:]
    _, at, shown = rest.rpartition("@")
    return f"{text[: found.start(2)]}{'***@' if at else ''}{_hide_parameters(shown)}"


def redact_within(text: str) -> str:
    """A text, such as a library's message, with each address in it redacted."""
    return _URL_WITHIN_TEXT.sub(lambda found: redact(found[0]), text)


def _hide_parameters(shown: str) -> str:
    shown = shown.partition("#")[0]
    return _BARE_PARAMETER.sub(r"\1***", _VALUE.sub(r"\1***", shown))
