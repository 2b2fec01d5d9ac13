"""What every request passes before the app sees it: names, origins, the token, headers of the answer."""

from __future__ import annotations

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edgeharfer.app.access import (
    COOKIE,
    GUESS_WINDOW_S,
    Authenticator,
    Verdict,
    client_address,
    host_allowed,
    origin_allowed,
)
from edgeharfer.app.answers import Refusal, refuse
from edgeharfer.app.settings import Settings

CONTENT_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; media-src blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": CONTENT_POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=(), interest-cohort=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
OPEN_PATHS = frozenset({"/login", "/api/login", "/app.css", "/login.js", "/icon.svg", "/healthz"})
"""What the page that asks for the token is made of, and the word that the app is there."""
_READING = frozenset({"GET", "HEAD"})


class Guard:
    """An ASGI layer around the app."""

    def __init__(self, app: ASGIApp, settings: Settings, authenticator: Authenticator) -> None:
        self._app, self._settings, self._authenticator = app, settings, authenticator

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":  # there are no web sockets here
            return
        refusal = self._refusal(scope)
        app = self._app if refusal is None else refuse(refusal)
        await app(scope, receive, _with_headers(send))

    def _refusal(self, scope: Scope) -> Refusal | None:
        headers, path, method = Headers(scope=scope), str(scope["path"]), str(scope["method"])
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not host_allowed(hosts[0], self._settings):
            return Refusal(421, "this is not a name of the app; start it with --name for a proxy's")
        if not self._comes_from_here(headers, hosts[0], path, method):
            return Refusal(403, "asked for by a page of another site")
        if not self._authenticator.required or path in OPEN_PATHS:
            return None
        verdict = self._verdict(headers, client_of(scope))
        if verdict == "right":
            return None
        if verdict == "limited":
            return too_many_guesses()
        if path == "/" and method in _READING:
            return Refusal(303, "the token is asked for", {"Location": "/login"})
        return Refusal(401, "the token is missing, wrong or too old; open the page again")

    def _comes_from_here(self, headers: Headers, host: str, path: str, method: str) -> bool:
        """Browsers tell which page asks. A link from elsewhere may open the page, and do nothing more."""
        origins, site = headers.getlist("origin"), headers.get("sec-fetch-site", "none")
        if any(not origin_allowed(origin, host) for origin in origins) or len(origins) > 1:
            return False
        if site in ("none", "same-origin"):
            return True
        opens = method == "GET" and path in ("/", "/login")
        return opens and headers.get("sec-fetch-mode") == "navigate"

    def _verdict(self, headers: Headers, address: str) -> Verdict:
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if token:
            bearer = token.encode("latin-1").strip()  # the bytes as they were sent
            return self._authenticator.check(bearer, address) if scheme.lower() == "bearer" else "wrong"
        session = cookie_parser(headers.get("cookie", "")).get(COOKIE, "")
        return "right" if self._authenticator.knows_session(session) else "wrong"


def client_of(scope: Scope) -> str:
    """The client address of a request, as limits count it."""
    return client_address(scope["client"][0] if scope.get("client") else None)


def too_many_guesses() -> Refusal:
    """For wrong tokens beyond the limit."""
    why = "too many wrong tokens from this address; wait a minute, or use the right one"
    return Refusal(429, why, {"Retry-After": f"{GUESS_WINDOW_S:.0f}"})


def _with_headers(send: Send) -> Send:
    async def told(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
        await send(message)

    return told
