"""What state a live source is in, by a clock that the test holds: no test here waits for anything."""

from __future__ import annotations

import logging
from itertools import pairwise

import numpy as np
import pytest

from edgeharfer.runtime.clock import ManualClock
from edgeharfer.runtime.source.supervisor import SourceState, SourceTimeouts, Supervisor
from edgeharfer.runtime.types import Frame
from scripted_live import STEP_S, ScriptedLive, Step

SECOND = 10  # steps


class Watched:
    """A supervisor of a script, and what it gave and was at each moment."""

    def __init__(self, *script: Step) -> None:
        self.clock = ManualClock(100.0)
        self.source = ScriptedLive(script, self.clock)
        self.supervisor = Supervisor(self.source, self.clock)
        self.frames: list[Frame] = []
        self.states: list[tuple[float, SourceState]] = []

    def run(self, seconds: float) -> None:
        end_s = self.clock.monotonic() + seconds
        while self.clock.monotonic() < end_s:
            frame = self.supervisor.next(STEP_S)
            if frame is not None:
                self.frames.append(frame)
            if not self.states or self.states[-1][1] is not self.supervisor.state:
                self.states.append((round(self.clock.monotonic() - 100.0, 2), self.supervisor.state))

    @property
    def passed(self) -> list[SourceState]:
        return [state for _, state in self.states]


def test_frames_make_it_live() -> None:
    watched = Watched("none", "none", "frame", "frame")
    assert watched.supervisor.state is SourceState.CONNECTING
    watched.run(0.4)
    assert watched.passed == [SourceState.CONNECTING, SourceState.LIVE]
    assert [(frame.seq, round(frame.pts_s, 2)) for frame in watched.frames] == [(0, 0.0), (1, 0.1)]
    assert (watched.supervisor.breaks, watched.supervisor.reconnects) == (0, 0)


def test_silence_is_a_stall_within_2_s_and_ends_with_the_next_frame() -> None:
    watched = Watched("frame", *["none"] * 3 * SECOND, "frame")
    watched.run(4)
    assert watched.passed[:3] == [SourceState.LIVE, SourceState.STALLED, SourceState.LIVE]
    assert watched.states[1][0] < 0.1 + 2
    assert watched.supervisor.breaks == 1
    assert watched.source.attempts_s == [], "the connection stands"


def test_a_slow_source_is_not_stalled_between_its_frames() -> None:
    watched = Watched(*["frame", *["none"] * 2 * SECOND] * 20)
    watched.run(40)
    assert watched.passed == [SourceState.LIVE, SourceState.STALLED, SourceState.LIVE], (
        "before its pace is known"
    )
    assert len(watched.frames) == pytest.approx(20, abs=1)


def test_a_long_silence_is_a_loss() -> None:
    watched = Watched("frame", *["none"] * 20 * SECOND)
    watched.run(6.5)
    assert watched.passed[:3] == [SourceState.LIVE, SourceState.STALLED, SourceState.LOST]
    assert len(watched.source.attempts_s) == 1


def test_the_same_picture_is_frozen_within_5_s_and_not_handed_on() -> None:
    watched = Watched("frame", *["same"] * 8 * SECOND, "frame", "frame")
    watched.run(8.4)
    assert watched.passed == [SourceState.LIVE, SourceState.FROZEN, SourceState.LIVE]
    assert watched.states[1][0] < 0.1 + 5
    levels = [int(frame.bgr[0, 0, 0]) for frame in watched.frames]
    assert levels[-2:] == [2, 3], "live at once when something changes"
    assert len(levels) == pytest.approx(4 * SECOND + 2, abs=2), "nothing was handed on meanwhile"
    assert watched.supervisor.breaks == 1


def test_a_frozen_source_that_falls_silent_is_lost_as_any_other() -> None:
    watched = Watched("frame", *["same"] * 5 * SECOND, *["none"] * 9 * SECOND)
    watched.run(12)
    assert watched.passed[:4] == [SourceState.LIVE, SourceState.FROZEN, SourceState.STALLED, SourceState.LOST]


def test_a_new_connection_that_shows_the_frozen_picture_is_still_frozen() -> None:
    watched = Watched("frame", *["same"] * 5 * SECOND, "lost", "same", "same", "frame")
    watched.run(6)
    assert watched.passed[-2:] == [SourceState.FROZEN, SourceState.LIVE]
    assert SourceState.LIVE not in watched.passed[1:-1]


def test_a_loss_is_followed_by_a_new_connection_and_frames_go_on() -> None:
    watched = Watched("frame", "frame", "lost", "none", "frame", "frame")
    watched.run(2)
    assert watched.passed == [SourceState.LIVE, SourceState.LOST, SourceState.CONNECTING, SourceState.LIVE]
    assert [frame.seq for frame in watched.frames] == [0, 1, 2, 3], "numbered on, not anew"
    times = [frame.pts_s for frame in watched.frames]
    assert times == sorted(times)
    assert times[2] - times[1] == pytest.approx(0.1 + 0.25 + 0.2, abs=0.11), "the gap is in the times"
    assert (watched.supervisor.breaks, watched.supervisor.reconnects) == (1, 1)


def test_attempts_come_ever_more_slowly_and_never_further_apart_than_5_s() -> None:
    watched = Watched("frame", "lost", *["away"] * 1000)
    watched.run(600)
    apart = [after - before for before, after in pairwise(watched.source.attempts_s)]
    assert apart[:4] == pytest.approx([0.5, 1.0, 2.0, 4.0], abs=0.11)
    assert apart[4:] == pytest.approx([5.0] * len(apart[4:]), abs=0.11)
    assert watched.passed == [SourceState.LIVE, SourceState.LOST, SourceState.BACKOFF]


def test_ten_minutes_of_absence_are_one_line_and_the_return_another(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        watched = Watched("frame", "lost", *["away"] * 124, *["frame"] * 1000)
        watched.run(620)
    assert watched.supervisor.state is SourceState.LIVE
    lines = [record.getMessage() for record in caplog.records]
    assert lines[0] == "script: lost: the cable is out"
    assert lines[1].startswith("script: live again after 6")
    assert len(lines) == 2


def test_the_pause_is_short_again_after_a_success() -> None:
    watched = Watched("frame", "lost", *["away"] * 6, "frame", "lost", "frame")
    watched.run(40)
    assert watched.source.attempts_s[7] - watched.source.attempts_s[6] == pytest.approx(0.45, abs=0.2)


def test_a_connection_that_never_answers_is_given_up() -> None:
    timeouts = SourceTimeouts()
    watched = Watched("frame", "lost", *["none"] * 1000)
    watched.run(1 + timeouts.connect + timeouts.connect)
    assert len(watched.source.attempts_s) == 2
    assert watched.source.attempts_s[1] - watched.source.attempts_s[0] == pytest.approx(
        timeouts.connect + 2 * timeouts.first_pause, abs=0.3
    )


def test_the_end_is_told() -> None:
    watched = Watched("frame", "end")
    watched.run(0.2)
    assert watched.supervisor.ended


def test_a_defect_is_not_taken_for_a_loss() -> None:
    watched = Watched("frame", ValueError("a defect"))
    with pytest.raises(ValueError, match="a defect"):
        watched.run(1)


def test_a_change_of_size_is_no_freeze() -> None:
    clock = ManualClock()
    source = ScriptedLive([], clock)
    supervisor = Supervisor(source, clock)
    pictures = [np.zeros((4, 4, 3), np.uint8), np.zeros((8, 4, 3), np.uint8)]
    for step in range(100):
        clock.sleep(0.1)
        frame = Frame(step, 0.0, clock.monotonic(), pictures[step % 2])
        assert supervisor._on_frame(frame) is not None
