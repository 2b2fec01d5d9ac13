"""Request bodies as they arrive, from senders who may be slow, lie, or stop."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

from starlette.requests import ClientDisconnect, Request

from edgeharfer.app.access import is_unicode
from edgeharfer.app.answers import Refusal
from edgeharfer.app.settings import Limits
from edgeharfer.runtime.clock import Clock

MOST_ORDER_BYTES = 16 * 1024
SLOW_SHARE = 0.2
"""A sender that has used up this share of its allowance is slow: another upload may take its place."""


class Pace:
    """How much longer the server waits for a body.

    A sender begins with an allowance of `stall_s`. Waiting for it uses the allowance up, and each byte earns
    1 / `least_rate` seconds of it back, never beyond `stall_s`. So it may pause, and may not be slower than
    `least_rate` for long. All waits together end at `deadline_s`. Time in which the server does
    other things does not count.
    """

    def __init__(self, clock: Clock, *, stall_s: float, least_rate: float, deadline_s: float) -> None:
        self._clock = clock
        self._stall_s, self._least_rate = stall_s, least_rate
        self._allowance_s, self._deadline_s = stall_s, deadline_s
        self._since_s: float | None = None

    @property
    def left_s(self) -> float:
        """Seconds until the server gives up."""
        return min(self._allowance_s, self._deadline_s) - self._waited_s

    @property
    def slow(self) -> bool:
        """Whether the sender has been slower than the least rate for a while."""
        return self._allowance_s - self._waited_s < (1 - SLOW_SHARE) * self._stall_s

    def wait(self) -> None:
        """The server begins to wait for bytes."""
        self._since_s = self._clock.monotonic()

    def received(self, count: int) -> None:
        """The wait is over: so many bytes have come."""
        waited_s, self._since_s = self._waited_s, None
        self._deadline_s -= waited_s
        self._allowance_s = min(self._stall_s, self._allowance_s - waited_s + count / self._least_rate)

    @property
    def _waited_s(self) -> float:
        return 0.0 if self._since_s is None else self._clock.monotonic() - self._since_s


def order_pace(limits: Limits, clock: Clock) -> Pace:
    """For the body of a request that is not an upload."""
    return Pace(clock, stall_s=limits.stall_s, least_rate=limits.least_rate, deadline_s=limits.body_s)


def upload_pace(limits: Limits, clock: Clock) -> Pace:
    """For an upload."""
    return Pace(clock, stall_s=limits.stall_s, least_rate=limits.least_rate, deadline_s=limits.upload_s)


async def chunks(request: Request, pace: Pace) -> AsyncIterator[bytes]:
    """The body piece by piece.

    Raises:
        Refusal: It stops coming, comes too slowly, or the sender has left.
    """
    stream = request.stream()
    while pace.left_s > 0:
        pace.wait()
        try:
            async with asyncio.timeout(pace.left_s):
                chunk = await anext(stream)
        except StopAsyncIteration:
            return
        except TimeoutError:
            break
        except ClientDisconnect as error:
            raise Refusal(400, "the request was not sent to its end") from error
        pace.received(len(chunk))
        if chunk:
            yield chunk
    raise Refusal(408, "the request stopped coming, or came too slowly", {"Connection": "close"})


async def read_object(request: Request, pace: Pace) -> Mapping[str, Any]:
    """The JSON object in a request.

    Raises:
        Refusal: It is anything else (a form of another site, for one), too large, or too slow.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise Refusal(415, "send a JSON object")
    body = b""
    async for chunk in chunks(request, pace):
        body += chunk
        if len(body) > MOST_ORDER_BYTES:
            raise Refusal(413, "too much to read")
    return _parse(body)


def _parse(body: bytes) -> Mapping[str, Any]:
    try:
        content = json.loads(body)
        whole = is_unicode(json.dumps(content, ensure_ascii=False))
    except (ValueError, RecursionError) as error:
        raise Refusal(400, "not a JSON object") from error
    if not isinstance(content, dict) or not whole:
        raise Refusal(400, "not a JSON object in Unicode")
    return content
