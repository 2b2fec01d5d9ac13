"""Answers that are not pages: JSON, and refusals in one line."""

from __future__ import annotations

import json
from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import Response


class Refusal(Exception):
    """Why a request is not answered. status: of HTTP. location: where to go instead."""

    def __init__(self, status: int, why: str, location: str = "") -> None:
        super().__init__(why)
        self.status, self.why, self.location = status, why, location


def tell(content: Mapping[str, object], status: int = 200) -> Response:
    """An object as JSON; every number finite."""
    body = json.dumps(content, separators=(",", ":"), allow_nan=False).encode("ascii")
    return Response(body, status, media_type="application/json")


def refuse(refusal: Refusal) -> Response:
    """The refusal as an answer."""
    answer = tell({"error": refusal.why}, refusal.status)
    if refusal.location:
        answer.headers["Location"] = refusal.location
    return answer


async def on_refusal(request: Request, error: Exception) -> Response:
    """For Starlette: a Refusal that was raised."""
    assert isinstance(error, Refusal)
    return refuse(error)
