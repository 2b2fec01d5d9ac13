"""Login to a camera over HTTP or RTSP: Basic (RFC 7617) and Digest (RFC 7616) authentication."""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from collections.abc import Iterable

_HASHES = {"md5": hashlib.md5, "sha-256": hashlib.sha256}
_PARAMETER = re.compile(r'([a-z-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,]*))', re.IGNORECASE)


class Login:
    """A user and password. `authorize` answers what a server has asked for last."""

    def __init__(self, user: str, password: str) -> None:
        self._user, self._password = user, password
        self._challenge: dict[str, str] | None = None
        self._count = 0

    def challenge(self, fields: Iterable[str]) -> bool:
        """Take the WWW-Authenticate fields of a 401; False where there is nothing new to try.

        Digest goes before Basic, which would show the password to everybody on the way.
        """
        before, found = self._challenge, [_parse(field) for field in fields]
        usable = [one for one in found if one["scheme"] == "digest" and _hash_name(one) in _HASHES]
        usable += [one for one in found if one["scheme"] == "basic"]
        if not usable:
            return False
        tried = before is not None and before.get("nonce") == usable[0].get("nonce")
        if tried and not _is_stale(usable[0]):
            return False  # the password is wrong
        self._challenge, self._count = usable[0], 0
        return True

    def authorize(self, method: str, uri: str) -> str | None:
        """The value of the Authorization field, None before the server has asked."""
        if self._challenge is None:
            return None
        if self._challenge["scheme"] == "basic":
            pair = f"{self._user}:{self._password}".encode()
            return f"Basic {base64.b64encode(pair).decode('ascii')}"
        return self._digest(self._challenge, method, uri)

    def _digest(self, asked: dict[str, str], method: str, uri: str) -> str:
        def digest(*parts: str) -> str:
            return _HASHES[_hash_name(asked)](":".join(parts).encode()).hexdigest()

        realm, nonce = asked.get("realm", ""), asked.get("nonce", "")
        secret, request = digest(self._user, realm, self._password), digest(method, uri)
        fields = {"username": self._user, "realm": realm, "nonce": nonce, "uri": uri}
        plain = ""
        if "auth" in re.split(r"[\s,]+", asked.get("qop", "")):
            self._count += 1
            count, own = f"{self._count:08x}", secrets.token_hex(8)
            fields |= {"response": digest(secret, nonce, count, own, "auth", request), "cnonce": own}
            plain = f", qop=auth, nc={count}"
        else:
            fields["response"] = digest(secret, nonce, request)
        if "opaque" in asked:
            fields["opaque"] = asked["opaque"]
        if "algorithm" in asked:
            plain += f", algorithm={asked['algorithm']}"
        return "Digest " + ", ".join(f'{key}="{_quoted(value)}"' for key, value in fields.items()) + plain


def _parse(field: str) -> dict[str, str]:
    scheme, _, rest = field.strip().partition(" ")
    values = {key.lower(): quoted or plain for key, quoted, plain in _PARAMETER.findall(rest)}
    return values | {"scheme": scheme.lower()}


def _hash_name(asked: dict[str, str]) -> str:
    return asked.get("algorithm", "MD5").lower()


def _is_stale(asked: dict[str, str]) -> bool:
    return asked.get("stale", "").lower() == "true"


def _quoted(value: str) -> str:
    """For a quoted string; a server cannot end the field with what it sends."""
    return re.sub(r"[\x00-\x1f\x7f]", "", value).replace("\\", "\\\\").replace('"', '\\"')
