"""Access control: the token, and the sessions of clients that have sent it.

A loopback address needs no token, because only programs on this machine can reach it. Any other address or
host name needs one.
"""

from __future__ import annotations

import hmac
import os
import secrets
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from edgeharfer.app.settings import Settings
from edgeharfer.runtime.clock import Clock
from edgeharfer.runtime.errors import ConfigError
from edgeharfer.runtime.http.origins import is_loopback

TOKEN_VARIABLE = "EDGEHARFER_APP_TOKEN"
MIN_TOKEN, MAX_TOKEN = 16, 512
COOKIE = "edgeharfer_session"
SESSION_S = 12 * 3600.0
MAX_SESSIONS = 1000
MAX_WRONG_TOKENS, WRONG_TOKEN_WINDOW_S = 10, 60.0
"""Wrong tokens allowed per client address within the window; further ones get status 429."""
MAX_ADDRESSES = 1000
"""Client addresses for which wrong tokens are counted."""

Verdict = Literal["right", "wrong", "limited"]


def is_exposed(settings: Settings) -> bool:
    """Whether other machines can reach the app, directly or through a proxy."""
    return not is_loopback(settings.host) or bool(settings.names)


def read_token(path: Path | None, environment: Mapping[str, str] = os.environ) -> str:
    """Read the token.

    Args:
        path: The file that holds the token; None reads the environment variable instead.
        environment: The environment variables.

    Returns:
        The token, or "" when none is configured.

    Raises:
        ConfigError: The file cannot be read, or the token is too short, too long or not UTF-8.
    """
    where = TOKEN_VARIABLE if path is None else str(path)
    try:
        token = environment.get(TOKEN_VARIABLE, "") if path is None else path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not a text file"
        raise ConfigError(
            f"{where}: {reason}; pass a file that contains the token to --token-file"
        ) from error
    token = token.strip()
    try:
        token.encode()
    except UnicodeEncodeError as error:  # bytes of the environment that are not UTF-8
        raise ConfigError(f"{where}: the token is not valid UTF-8; generate a random one") from error
    if (path is not None or token) and not MIN_TOKEN <= len(token) <= MAX_TOKEN:
        raise ConfigError(
            f"{where}: the token must have {MIN_TOKEN} to {MAX_TOKEN} characters; generate a random one"
        )
    return token


def check_bind(settings: Settings) -> None:
    """Check that an app that other machines can reach has a token.

    Raises:
        ConfigError: There is no token.
    """
    if is_exposed(settings) and not settings.token:
        what = settings.host if not is_loopback(settings.host) else settings.names[0]
        raise ConfigError(
            f"{what}: other machines can reach the app at this address, so it needs a token; "
            f"set --token-file FILE or {TOKEN_VARIABLE}, or use --host 127.0.0.1"
        )


class Authenticator:
    """Checks tokens, limits wrong attempts per client address, and holds the sessions in memory."""

    def __init__(self, token: str, clock: Clock) -> None:
        self._token, self._clock = token.encode(), clock
        self._sessions: dict[str, float] = {}
        self._wrong: dict[str, deque[float]] = {}

    @property
    def required(self) -> bool:
        """Whether requests need a token."""
        return bool(self._token)

    def rate_limited(self, address: str) -> bool:
        """Whether this client address has sent too many wrong tokens within the window."""
        wrong = self._wrong.get(address)
        if wrong is None or len(wrong) < MAX_WRONG_TOKENS:
            return False
        return self._clock.monotonic() - wrong[0] < WRONG_TOKEN_WINDOW_S

    def check(self, token: bytes, address: str) -> Verdict:
        """Compare a token in constant time.

        Args:
            token: The token as the client sent it.
            address: The client's address.

        Returns:
            "right" for the correct token, even when the address is rate-limited; "wrong"; or "limited" for a
            wrong token beyond the limit. Limited attempts are not counted, so that the limit ends even if the
            client keeps trying.
        """
        if hmac.compare_digest(token, self._token):
            return "right"
        if self.rate_limited(address):
            return "limited"
        self._count_wrong(address)
        return "wrong"

    def _count_wrong(self, address: str) -> None:
        wrong = self._wrong.pop(address, deque[float](maxlen=MAX_WRONG_TOKENS))
        while len(self._wrong) >= MAX_ADDRESSES:
            del self._wrong[next(iter(self._wrong))]  # least recently used
        wrong.append(self._clock.monotonic())
        self._wrong[address] = wrong

    def create_session(self) -> str:
        """Create a session and return its id, for a cookie."""
        now_s = self._clock.monotonic()
        live = {name: end_s for name, end_s in self._sessions.items() if end_s > now_s}
        while len(live) >= MAX_SESSIONS:
            del live[min(live, key=lambda name: live[name])]
        session = secrets.token_urlsafe(32)
        self._sessions = {**live, session: now_s + SESSION_S}
        return session

    def is_valid_session(self, session: str) -> bool:
        """Whether the session exists and has not expired."""
        return self._sessions.get(session, 0.0) > self._clock.monotonic()

    def end_session(self, session: str) -> None:
        """End a session."""
        self._sessions.pop(session, None)
