"""How long the server waits for a request body, and what becomes of one that is not JSON."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from edgeharfer.runtime.clock import ManualClock, SystemClock
from edgeharfer.runtime.http.body import Body, BodyDeadline
from edgeharfer.runtime.http.errors import HttpError
from edgeharfer.runtime.http.limits import HttpLimits
from edgeharfer.runtime.http.messages import MAX_JSON_BYTES, Request


def make_pace(clock: ManualClock, deadline_s: float = 1000.0) -> BodyDeadline:
    return BodyDeadline(clock, HttpLimits(stall_s=15.0, min_rate=100.0), deadline_s)


def seconds_until_given_up(pace: BodyDeadline, clock: ManualClock, step_s: float, count: int) -> float:
    """How long a sender of so many bytes a step is waited for."""
    start_s = clock.monotonic()
    while pace.remaining_s > 0 and clock.monotonic() - start_s < 5000:
        pace.start_wait()
        clock.sleep(step_s)
        pace.end_wait(count)
    return clock.monotonic() - start_s


def test_a_sender_that_stands_still_is_given_up() -> None:
    clock = ManualClock(1000.0)
    pace = make_pace(clock)
    pace.start_wait()
    assert pace.remaining_s == 15 and not pace.slow
    clock.sleep(10)
    assert pace.remaining_s == 5 and pace.slow
    clock.sleep(5)
    assert pace.remaining_s == 0


@pytest.mark.parametrize(("step_s", "count", "least_s", "most_s"), [
    (10.0, 1, 15, 20), (0.1, 1, 16, 17), (1.0, 99, 1000, 1001), (14.0, 1400, 1000, 1020),
    (1.0, 1000, 1000, 1001),
])  # fmt: skip
def test_a_sender_may_pause_and_may_not_be_slow(
    step_s: float, count: int, least_s: float, most_s: float
) -> None:
    clock = ManualClock(1000.0)
    assert least_s <= seconds_until_given_up(make_pace(clock), clock, step_s, count) <= most_s


def test_bytes_sent_at_once_earn_no_credit_for_later() -> None:
    clock = ManualClock(1000.0)
    pace = make_pace(clock)
    pace.end_wait(1_000_000)
    assert seconds_until_given_up(pace, clock, 1.0, 1) < 17


def test_time_in_which_the_server_is_busy_does_not_count() -> None:
    clock = ManualClock(1000.0)
    pace = make_pace(clock)
    for _ in range(100):
        pace.start_wait()
        pace.end_wait(1)
        clock.sleep(60)
    assert pace.remaining_s == 15 and not pace.slow


def test_a_body_has_a_deadline_however_fast_it_comes() -> None:
    clock = ManualClock(1000.0)
    pace = make_pace(clock, deadline_s=30.0)
    assert seconds_until_given_up(pace, clock, 1.0, 1_000_000) == 30
    assert HttpLimits().body_s == 10


def read(*parts: bytes, deadline_s: float = 10.0, ends: bool = True) -> Any:
    """What the server makes of a chunked body that comes in these parts."""
    kind = b"Content-Type: application/json; charset=utf-8"
    head = b"POST / HTTP/1.1\r\n%b\r\nTransfer-Encoding: chunked\r\n\r\n" % kind

    async def run() -> Any:
        reader = asyncio.StreamReader()
        for part in filter(None, parts):
            reader.feed_data(b"%x\r\n%b\r\n" % (len(part), part))
        if ends:
            reader.feed_data(b"0\r\n\r\n")
        request = Request.parse(head, "", lambda length, awaited: Body(reader, length))
        return await request.json(BodyDeadline(SystemClock(), HttpLimits(), deadline_s))

    return asyncio.run(run())


def test_a_json_object_is_read() -> None:
    assert read(b'{"token": ', b'"\\ud83d\\ude00 \xc3\xa4"}') == {"token": "\U0001f600 ä"}


@pytest.mark.parametrize("body", [
    b'{"token": "\\ud800"}', b'{"\\udfff": 1}', b'{"a": [{"b": "x\\udc00y"}]}', b'{"a": "\xed\xa0\x80"}',
    b'{"a": "\xff"}', b"\xff\xfe{", b"[]", b'"\\ud800"', b"", b"{",
    b"[" * 10_000, b'{"a": ' + b"1" * 5000 + b"}",
])  # fmt: skip
def test_what_is_no_json_object_in_unicode_is_refused(body: bytes) -> None:
    with pytest.raises(HttpError) as refused:
        read(body)
    assert refused.value.status == 400


def test_too_much_is_refused_and_so_is_what_does_not_come() -> None:
    with pytest.raises(HttpError) as refused:
        read(b" " * MAX_JSON_BYTES, b" ")
    assert refused.value.status == 413
    with pytest.raises(HttpError) as refused:
        read(b"{", deadline_s=0.01, ends=False)
    assert refused.value.status == 408
