"""Who may use the app: names, origins, the token and the sessions that it opens.

Loopback needs no token, since whoever can reach it is already on this machine; any other address, and any
other name, does.
"""

from __future__ import annotations

import hmac
import ipaddress
import os
import re
import secrets
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from edgeharfer.app.settings import Settings
from edgeharfer.runtime.clock import Clock
from edgeharfer.runtime.errors import ConfigError

TOKEN_VARIABLE = "EDGEHARFER_APP_TOKEN"
LEAST_TOKEN, MOST_TOKEN = 16, 512
COOKIE = "edgeharfer_session"
SESSION_S = 12 * 3600.0
MOST_SESSIONS = 1000
GUESSES, GUESS_WINDOW_S = 10, 60.0
"""Wrong tokens from one client address, and the seconds they count, before more of them get status 429."""
MAX_ADDRESSES = 1000
"""Client addresses whose wrong tokens are remembered."""
IPV6_NETWORK_BITS = 64
"""The network that one IPv6 customer usually has: all its addresses count as one client."""

_HOST = re.compile(r"(?P<name>\[[0-9A-Fa-f:.]+\]|[^:\[\]/@\s]+)(?::(?P<port>\d{1,5}))?")
_LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")

Verdict = Literal["right", "wrong", "limited"]


def is_loopback(host: str) -> bool:
    """Whether an address or name to listen on is this machine's own."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def is_exposed(settings: Settings) -> bool:
    """Whether others than this machine's users can come to it, directly or through a proxy."""
    return not is_loopback(settings.host) or bool(settings.names)


def read_token(path: Path | None, environment: Mapping[str, str] = os.environ) -> str:
    """The token of a file, else of the environment, else "". Raises ConfigError for one that is no secret."""
    where = TOKEN_VARIABLE if path is None else str(path)
    try:
        token = environment.get(TOKEN_VARIABLE, "") if path is None else path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not a text"
        raise ConfigError(f"{where}: {reason}: give --token-file a file with the token in it") from error
    token = token.strip()
    if not is_unicode(token):  # bytes of the environment that are not UTF-8
        raise ConfigError(f"{where}: the token is not UTF-8: make one at random")
    if (path is not None or token) and not LEAST_TOKEN <= len(token) <= MOST_TOKEN:
        raise ConfigError(f"{where}: a token has {LEAST_TOKEN} to {MOST_TOKEN} signs: make one at random")
    return token


def check_bind(settings: Settings) -> None:
    """Raises ConfigError where the app could be reached from elsewhere and no token guards it."""
    if is_exposed(settings) and not settings.token:
        what = settings.host if not is_loopback(settings.host) else settings.names[0]
        raise ConfigError(
            f"{what}: the app is reached from other machines there, so it needs a token: "
            f"give --token-file FILE or {TOKEN_VARIABLE}, or stay on 127.0.0.1"
        )


def host_allowed(host: str, settings: Settings) -> bool:
    """Whether a Host header names this app.

    Any other name is a foreign page's own, made to point here (DNS rebinding). An address typed in by hand
    is nobody's name, and goes where the app listens for other machines.
    """
    match = _HOST.fullmatch(host)
    if match is None:
        return False
    name = match["name"].strip("[]").lower()
    if name in _LOCAL_NAMES or name in (known.lower() for known in settings.names):
        return True
    if is_loopback(settings.host):
        return False
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return name == settings.host.lower()
    return True


def origin_allowed(origin: str, host: str) -> bool:
    """Whether a page of this origin is the app's own; a proxy in front may speak https for it."""
    try:
        parts = urlsplit(origin)
    except ValueError:  # such as http://[
        return False
    return parts.scheme in ("http", "https") and parts.netloc.lower() == host.lower() and not parts.path


def client_address(host: str | None) -> str:
    """The client that limits count: an IPv4 address, or the network of an IPv6 address.

    Args:
        host: The address of the other end of a connection; None where there is none.
    """
    try:
        address = ipaddress.ip_address((host or "").partition("%")[0])
    except ValueError:
        return host or ""
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((address, IPV6_NETWORK_BITS), strict=False))


def is_unicode(text: str) -> bool:
    """Whether a text can be encoded. JSON may contain half of a surrogate pair, which cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


class Authenticator:
    """Compares tokens, limits wrong ones by client address, and keeps the sessions in memory."""

    def __init__(self, token: str, clock: Clock) -> None:
        self._token, self._clock = token.encode(), clock
        self._sessions: dict[str, float] = {}
        self._wrong: dict[str, deque[float]] = {}

    @property
    def required(self) -> bool:
        """Whether a token is required at all."""
        return bool(self._token)

    def rate_limited(self, address: str) -> bool:
        """Whether a client address has sent too many wrong tokens in the last minute."""
        wrong = self._wrong.get(address)
        if wrong is None or len(wrong) < GUESSES:
            return False
        return self._clock.monotonic() - wrong[0] < GUESS_WINDOW_S

    def check(self, token: bytes, address: str) -> Verdict:
        """Compare a token from a client address, in the same time for every wrong one of its length.

        The right token is always "right". Wrong ones beyond the limit are "limited" and are not counted,
        so that the limit ends however often a client asks.
        """
        if hmac.compare_digest(token, self._token):
            return "right"
        if self.rate_limited(address):
            return "limited"
        self._count_wrong(address)
        return "wrong"

    def _count_wrong(self, address: str) -> None:
        wrong = self._wrong.pop(address, deque[float](maxlen=GUESSES))
        while len(self._wrong) >= MAX_ADDRESSES:
            del self._wrong[next(iter(self._wrong))]  # the one that was quiet for longest
        wrong.append(self._clock.monotonic())
        self._wrong[address] = wrong

    def admit(self) -> str:
        """A new session's name, for a cookie."""
        now_s = self._clock.monotonic()
        live = {name: end_s for name, end_s in self._sessions.items() if end_s > now_s}
        while len(live) >= MOST_SESSIONS:
            del live[min(live, key=lambda name: live[name])]
        session = secrets.token_urlsafe(32)
        self._sessions = {**live, session: now_s + SESSION_S}
        return session

    def knows_session(self, session: str) -> bool:
        """Whether a cookie's session is one of ours, and not too old."""
        return self._sessions.get(session, 0.0) > self._clock.monotonic()

    def dismiss(self, session: str) -> None:
        """End a session."""
        self._sessions.pop(session, None)
