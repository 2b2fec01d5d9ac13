"""Basic (RFC 7617) and Digest (RFC 7616) authentication for HTTP and RTSP."""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from collections.abc import Iterable

_HASHES = {"md5": hashlib.md5, "sha-256": hashlib.sha256}
_PARAMETER = re.compile(r'([a-z-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,]*))', re.IGNORECASE)


class Login:
    """A user name and password; `authorize` responds to the last challenge of the server."""

    def __init__(self, user: str, password: str) -> None:
        self._user, self._password = user, password
        self._challenge: dict[str, str] | None = None
        self._count = 0

    def accept_challenge(self, fields: Iterable[str]) -> bool:
        """Accept the WWW-Authenticate fields of a 401 response.

        Digest is preferred to Basic, which sends the password in plain text.

        Returns:
            False if no supported scheme is offered or the credentials were already rejected.
        """
        before, found = self._challenge, [_parse(field) for field in fields]
        usable = [one for one in found if one["scheme"] == "digest" and _hash_name(one) in _HASHES]
        usable += [one for one in found if one["scheme"] == "basic"]
        if not usable:
            return False
        tried = before is not None and before.get("nonce") == usable[0].get("nonce")
        if tried and not _is_stale(usable[0]):
            return False  # wrong password
        self._challenge, self._count = usable[0], 0
        return True

    def authorize(self, method: str, uri: str) -> str | None:
        """Return the value of the Authorization field, None before the first challenge."""
        if self._challenge is None:
            return None
        if self._challenge["scheme"] == "basic":
            pair = f"{self._user}:{self._password}".encode()
            return f"Basic {base64.b64encode(pair).decode('ascii')}"
        return self._digest(self._challenge, method, uri)

    def _digest(self, challenge: dict[str, str], method: str, uri: str) -> str:
        def digest(*parts: str) -> str:
            return _HASHES[_hash_name(challenge)](":".join(parts).encode()).hexdigest()

        realm, nonce = challenge.get("realm", ""), challenge.get("nonce", "")
        ha1, ha2 = digest(self._user, realm, self._password), digest(method, uri)
        fields = {"username": self._user, "realm": realm, "nonce": nonce, "uri": uri}
        plain = ""
        if "auth" in re.split(r"[\s,]+", challenge.get("qop", "")):
            self._count += 1
            count, cnonce = f"{self._count:08x}", secrets.token_hex(8)
            fields |= {"response": digest(ha1, nonce, count, cnonce, "auth", ha2), "cnonce": cnonce}
            plain = f", qop=auth, nc={count}"
        else:
            fields["response"] = digest(ha1, nonce, ha2)
        if "opaque" in challenge:
            fields["opaque"] = challenge["opaque"]
        if "algorithm" in challenge:
            plain += f", algorithm={challenge['algorithm']}"
        return "Digest " + ", ".join(f'{key}="{_quoted(value)}"' for key, value in fields.items()) + plain


def _parse(field: str) -> dict[str, str]:
    scheme, _, rest = field.strip().partition(" ")
    values = {key.lower(): quoted or plain for key, quoted, plain in _PARAMETER.findall(rest)}
    return values | {"scheme": scheme.lower()}


def _hash_name(challenge: dict[str, str]) -> str:
    return challenge.get("algorithm", "MD5").lower()


def _is_stale(challenge: dict[str, str]) -> bool:
    return challenge.get("stale", "").lower() == "true"


def _quoted(value: str) -> str:
    """Escape a value for a quoted string, so that a server cannot inject header fields."""
    return re.sub(r"[\x00-\x1f\x7f]", "", value).replace("\\", "\\\\").replace('"', '\\"')
