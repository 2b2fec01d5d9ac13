"""Stream addresses: parsing, and redaction for display."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote

from edgeharfer.runtime.errors import SourceError

PORTS = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443}
"""Supported URL schemes and their default ports (RFC 2326, RFC 7826, RFC 9110)."""

# At least two letters: "C:/" is a folder on Windows.
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/+(.*)", re.DOTALL)
_URL_WITHIN_TEXT = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/+[^\s\"'<>]+?(?=[:;,.)]*(?:\s|$))")
_LOGIN_WITHOUT_SCHEME = re.compile(r"[^\s/\\:]{2,}:[^\\]*@")
# A value ends at the next separator. Both the separator and the "=" may be percent-encoded.
_VALUE = re.compile(r"(=|%3d)(?:(?!%26|%3b)[^&;?])+", re.IGNORECASE)
_BARE_PARAMETER = re.compile(r"([?&;])(?![^&;]*(?:=|%3d))[^&;?]+", re.IGNORECASE)
_SPACES = re.compile(r"[\x00-\x20\x7f]")


@dataclass(frozen=True)
class Address:
    """The parts of a stream's URL.

    Attributes:
        scheme: One of `PORTS`, in lower case.
        host: Host name or IP address, without the brackets of IPv6.
        port: Port number.
        target: Path and query.
        user: Decoded user name, None if absent.
        password: Decoded password, None if absent.
    """

    scheme: str
    host: str
    port: int
    target: str
    user: str | None = None
    password: str | None = None

    @property
    def origin(self) -> tuple[str, str, int]:
        """Scheme, host and port, which are equal for two addresses of the same server."""
        return self.scheme, self.host.lower(), self.port

    @property
    def host_and_port(self) -> str:
        """The value of a Host header: the port is omitted if it is the scheme's default."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """The URL without user and password."""
        return f"{self.scheme}://{self.host_and_port}{self.target}"


def is_url(text: str) -> bool:
    """Return whether a source spec is a URL rather than a path."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", text) is not None


def parse_address(url: str) -> Address:
    """Parse the URL of a stream (RFC 3986, section 3).

    Raises:
        SourceError: The URL is malformed or its scheme is not supported.
    """
    scheme, _, rest = url.partition("://")
    scheme = scheme.lower()
    if scheme not in PORTS:
        raise SourceError(
            f"{redact(url)}: unsupported URL scheme: use rtsp://, rtsps://, http:// or https://"
        )
    end = next((index for index, sign in enumerate(rest) if sign in "/?#"), len(rest))
    authority, target = rest[:end], rest[end:].partition("#")[0]
    login, at, host = authority.rpartition("@")
    user, colon, password = login.partition(":")
    found = re.fullmatch(r"(?:\[([0-9A-Fa-f:.%]+)\]|([^\[\]:]+))(?::([0-9]{1,5})?)?", host)
    if found is None or _SPACES.search(host) or not int(found[3] or 1) <= 65535:
        raise SourceError(
            f"{redact(url)}: invalid URL: use {scheme}://user:password@host:port/path, "
            "with / ? # @ in the password written as %2F %3F %23 %40"
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


def redact(text: str) -> str:
    """Return a source spec that is safe to display, without credentials and parameter values.

    Parameter values are hidden in the query and in the path (";pwd=…", "/user=…&password=…"), whatever the
    parameter names; a fragment is removed. Everything up to the last "@" is hidden, because passwords contain
    "/", "?" and "@" more often than paths contain "@". File paths are returned unchanged.
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
    """Redact each URL in a text, such as the error message of a library."""
    return _URL_WITHIN_TEXT.sub(lambda found: redact(found[0]), text)


def _hide_parameters(shown: str) -> str:
    shown = shown.partition("#")[0]
    return _BARE_PARAMETER.sub(r"\1***", _VALUE.sub(r"\1***", shown))
