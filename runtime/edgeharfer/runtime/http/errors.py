"""The exception for error responses."""

from __future__ import annotations

from collections.abc import Mapping


class HttpError(Exception):
    """An error response, raised by a handler.

    Attributes:
        status: HTTP status code.
        message: One-line explanation for the client.
        headers: Additional header fields.
    """

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.headers = status, message, dict(headers or {})
