"""Why a request is refused."""

from __future__ import annotations

from collections.abc import Mapping


class HttpError(Exception):
    """Raised in a handler, it is the response: status, one line that says why, and header fields."""

    def __init__(self, status: int, why: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(why)
        self.status, self.why, self.headers = status, why, dict(headers or {})
