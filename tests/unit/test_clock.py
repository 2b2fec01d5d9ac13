"""The wall clock that is set: noticed once, told in the log and in the events."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from edgeharfer.runtime.clock import ClockJump, ClockJumpDetector, ManualClock
from edgeharfer.runtime.result import Result
from edgeharfer.runtime.sinks.events import EventsSink
from edgeharfer.runtime.stats import Status
from edgeharfer.runtime.types import Frame

YEARS_S = 10 * 365.25 * 86_400
FRAME = Frame(0, 0.0, 0.0, np.zeros((4, 4, 3), np.uint8))


@pytest.mark.parametrize("jump_s", [3600.0, -3600.0, YEARS_S, -YEARS_S, 1.5])
def test_a_jump_is_told_once_with_both_times(jump_s: float) -> None:
    clock = ManualClock(1.8e9)
    watch = ClockJumpDetector(clock)
    clock.sleep(5.0)
    assert watch.check() is None
    clock.offset_s = jump_s
    jump = watch.check()
    assert jump is not None
    assert (jump.was_s, jump.is_s) == pytest.approx((1.8e9 + 5.0, 1.8e9 + 5.0 + jump_s))
    assert str(jump).startswith(f"the wall clock jumped by {jump_s:+.1f} s, from 2027-01-15T08:00:05Z to ")
    clock.sleep(5.0)
    assert watch.check() is None
    assert watch.last is jump


def test_what_a_time_server_does_is_no_jump_until_it_adds_up() -> None:
    clock = ManualClock(1.8e9)
    watch = ClockJumpDetector(clock)
    for _ in range(9):
        clock.offset_s += 0.1
        assert watch.check() is None
    clock.offset_s += 0.2
    assert watch.check() is not None


def test_the_first_moment_of_all_can_be_told() -> None:
    assert "to 1970-01-01T00:00:00Z" in str(ClockJump(1.8e9, 0.0))


def test_a_jump_is_a_line_of_the_events_once(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    first, second = ClockJump(1.8e9, 1.8e9 + 3600), ClockJump(1.9e9, 0.0)
    with EventsSink(path) as sink:
        sink.write(FRAME, Result(0, 0.0, 0.0), Status())
        sink.refresh(Status(elapsed_s=2.0, clock_jump=first))
        sink.write(FRAME, Result(1, 0.0, 0.0), Status(clock_jump=first))
        sink.write(FRAME, Result(2, 0.0, 0.0), Status(elapsed_s=3.456, clock_jump=second))
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [row["kind"] for row in rows] == ["result", "clock", "result", "clock", "result"]
    assert rows[1] == {"kind": "clock", "was_s": 1.8e9, "is_s": 1.8e9 + 3600, "elapsed_s": 2.0}
    assert rows[3] == {"kind": "clock", "was_s": 1.9e9, "is_s": 0.0, "elapsed_s": 3.46}
