"""Who may use the app: the token and the sessions that it opens.

Loopback needs no token, since only programs on this machine can reach it; any other address and any other
name need one.
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
"""Wrong tokens from one client address, and the seconds they count, before more of them get status 429."""
MAX_ADDRESSES = 1000
"""Client addresses whose wrong tokens are remembered."""

Verdict = Literal["right", "wrong", "limited"]


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
    try:
        token.encode()
    except UnicodeEncodeError as error:  # bytes of the environment that are not UTF-8
        raise ConfigError(f"{where}: the token is not UTF-8: make one at random") from error
    if (path is not None or token) and not MIN_TOKEN <= len(token) <= MAX_TOKEN:
        raise ConfigError(f"{where}: a token has {MIN_TOKEN} to {MAX_TOKEN} signs: make one at random")
    return token


def check_bind(settings: Settings) -> None:
    """Raises ConfigError where the app could be reached from elsewhere and no token guards it."""
    if is_exposed(settings) and not settings.token:
        what = settings.host if not is_loopback(settings.host) else settings.names[0]
        raise ConfigError(
            f"{what}: the app is reached from other machines there, so it needs a token: "
            f"give --token-file FILE or {TOKEN_VARIABLE}, or stay on 127.0.0.1"
        )


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
        if wrong is None or len(wrong) < MAX_WRONG_TOKENS:
            return False
        return self._clock.monotonic() - wrong[0] < WRONG_TOKEN_WINDOW_S

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
        wrong = self._wrong.pop(address, deque[float](maxlen=MAX_WRONG_TOKENS))
        while len(self._wrong) >= MAX_ADDRESSES:
            del self._wrong[next(iter(self._wrong))]  # the one that was quiet for longest
        wrong.append(self._clock.monotonic())
        self._wrong[address] = wrong

    def create_session(self) -> str:
        """A new session's name, for a cookie."""
        now_s = self._clock.monotonic()
        live = {name: end_s for name, end_s in self._sessions.items() if end_s > now_s}
        while len(live) >= MAX_SESSIONS:
            del live[min(live, key=lambda name: live[name])]
        session = secrets.token_urlsafe(32)
        self._sessions = {**live, session: now_s + SESSION_S}
        return session

    def is_valid_session(self, session: str) -> bool:
        """Whether a cookie's session is one of ours, and not too old."""
        return self._sessions.get(session, 0.0) > self._clock.monotonic()

    def end_session(self, session: str) -> None:
        """End a session."""
        self._sessions.pop(session, None)
