"""What an upload declares, and how a refused one is answered."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from edgeharfer.app.answers import Refusal, refuse

KIND = "application/octet-stream"
"""No form of another site can send that, so a browser asks first, and is told no."""
LINGER_S, LINGER_BYTES = 1.0, 4 << 20
"""A sender who is refused is listened to for a little longer, or he would not hear why."""


def declared_size(request: Request) -> int | None:
    """What the sender says; None where he does not. Raises Refusal for another type or nonsense."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != KIND:
        raise Refusal(415, f"send the bytes of the file as {KIND}")
    length = request.headers.get("content-length")
    if length is None:
        return None
    if not length.isdecimal():
        raise Refusal(400, "a Content-Length that is no number")
    if int(length) == 0:
        raise Refusal(400, "the file is empty")
    return int(length)


async def refuse_body(request: Request, refusal: Refusal) -> Response:
    """The refusal of an upload that is still coming."""
    answer = refuse(refusal)
    body = bytes(answer.body)

    async def told() -> AsyncIterator[bytes]:
        yield body
        if "expect" not in request.headers:  # such a sender has sent nothing yet
            await _linger(request)

    headers = {"Content-Length": str(len(body)), "Connection": "close"}
    return StreamingResponse(told(), refusal.status, headers, answer.media_type)


async def _linger(request: Request) -> None:
    left = LINGER_BYTES
    try:
        async with asyncio.timeout(LINGER_S):
            while left > 0:
                message = await request.receive()
                if message["type"] != "http.request" or not message.get("more_body", False):
                    return
                left -= len(message.get("body", b""))
    except TimeoutError:
        return
