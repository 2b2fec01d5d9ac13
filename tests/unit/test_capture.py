"""The capture thread: what it hands over, what it drops, how it stops, and how it fails."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import pytest

from edgeharfer.runtime import capture as capture_module
from edgeharfer.runtime.capture import Capture, Pace
from edgeharfer.runtime.clock import ManualClock
from edgeharfer.runtime.errors import CameraError, SourceError
from edgeharfer.runtime.source.base import STALE_S, Source
from edgeharfer.runtime.types import Frame
from scripted_live import ScriptedLive

Step = float | Exception | Callable[[], None]


class ScriptedSource(Source):
    """Gives a frame for each number (its pts), raises what is an error, calls what can be called."""

    def __init__(self, script: Sequence[Step], *, live: bool = False) -> None:
        self.name, self.live, self.size = "script", live, (2, 2)
        self.script = list(script)
        self.given = 0
        self.closed = 0

    def read(self) -> Frame | None:
        while self.script:
            step = self.script.pop(0)
            if isinstance(step, Exception):
                raise step
            if callable(step):
                step()
                continue
            self.given += 1
            return Frame(self.given - 1, step, -1.0, np.zeros((2, 2, 3), np.uint8))
        return None

    def close(self) -> None:
        self.closed += 1


class Gate:
    """A place in a script where the source waits, and where a test can wait for it to arrive."""

    def __init__(self) -> None:
        self.reached, self.opened = threading.Event(), threading.Event()

    def __call__(self) -> None:
        self.reached.set()
        assert self.opened.wait(20)


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before


def times(count: int) -> list[float]:
    return [n / 10 for n in range(count)]


def test_a_file_at_full_pace_gives_every_frame() -> None:
    source = ScriptedSource(times(200))
    with Capture(source, pace="fast", clock=ManualClock()) as capture:
        frames = list(capture)
    assert [frame.seq for frame in frames] == list(range(200))
    assert (capture.frames_in, capture.dropped, capture.state, capture.ended) == (200, 0, "ended", True)
    assert all(frame.captured_s == -1.0 for frame in frames)
    assert source.closed == 1


def test_a_file_at_full_pace_is_not_read_far_ahead() -> None:
    source = ScriptedSource(times(50))
    with Capture(source, pace="fast") as capture:
        for taken, _ in enumerate(capture, start=1):
            assert source.given - taken <= 3


def test_live_input_gives_the_newest_and_counts_the_dropped() -> None:
    gate = Gate()
    with Capture(ScriptedSource([*times(5), gate, 9.0], live=True)) as capture:
        assert gate.reached.wait(20)
        newest = capture.next_frame()
        assert newest is not None and newest.seq == 4
        assert (capture.frames_in, capture.dropped, capture.state) == (5, 4, "live")
        gate.opened.set()
        last = capture.next_frame()
        assert last is not None and last.seq == 5


def test_live_input_is_never_held_back_to_its_pts() -> None:
    """A second capture of these times by a file's pace would move the clock by 100 s."""
    clock = ManualClock()
    gate = Gate()
    with Capture(ScriptedSource([0.0, 100.0, gate], live=True), pace="realtime", clock=clock):
        assert gate.reached.wait(20)
        gate.opened.set()
    assert clock.monotonic() == 0.0


def test_a_file_at_real_time_is_handed_over_when_due() -> None:
    clock = ManualClock(1000.0)
    gates = [Gate() for _ in range(3)]
    script = [step for pts, gate in zip((5.0, 5.5, 7.0), gates, strict=True) for step in (pts, gate)]
    stamps = []
    with Capture(ScriptedSource(script), pace="realtime", clock=clock) as capture:
        for gate in gates:
            frame = capture.next_frame()
            assert frame is not None
            stamps.append((frame.pts_s, frame.captured_s))
            gate.opened.set()
    assert np.allclose(stamps, [(5.0, 1000.0), (5.5, 1000.5), (7.0, 1002.0)])
    assert clock.monotonic() == pytest.approx(1002.0)


def test_a_file_at_real_time_drops_for_a_slow_reader() -> None:
    gate = Gate()
    with Capture(ScriptedSource([*times(6), gate]), pace="realtime", clock=ManualClock()) as capture:
        assert gate.reached.wait(20)
        gate.opened.set()
        assert [frame.seq for frame in capture] == [5]
        assert (capture.frames_in, capture.dropped) == (6, 5)


def test_a_late_file_does_not_wait_to_catch_up() -> None:
    """A read that took 3 s: the frame that was due meanwhile is handed over at once."""
    clock = ManualClock()
    with Capture(ScriptedSource([0.0, lambda: clock.sleep(3.0), 1.0]), clock=clock) as capture:
        stamps = {frame.seq: frame.captured_s for frame in capture}
    assert stamps[1] == 3.0


def test_nothing_yet_is_not_the_end() -> None:
    gate = Gate()
    with Capture(ScriptedSource([gate, 0.0]), pace="fast") as capture:
        assert capture.next_frame(0.01) is None
        assert (capture.ended, capture.state) == (False, "connecting")
        gate.opened.set()
        assert capture.next_frame(20) is not None
        assert capture.next_frame(20) is None
        assert capture.ended


@pytest.mark.parametrize("error", [SourceError("damaged"), ValueError("a defect")])
def test_an_error_is_raised_where_frames_are_taken_after_those_that_came(error: Exception) -> None:
    source = ScriptedSource([0.0, 0.1, error])
    taken = []
    with Capture(source, pace="fast") as capture:
        with pytest.raises(type(error)) as caught:
            for frame in capture:
                taken.append(frame.seq)
        assert caught.value is error
        assert (taken, capture.state, source.closed) == ([0, 1], "ended", 1)


@pytest.mark.parametrize(("last", "kind"), [([], SourceError), ([CameraError("unplugged")], CameraError)])
def test_live_input_that_ends_is_lost(last: list[Step], kind: type[SourceError]) -> None:
    source = ScriptedSource([0.0, *last], live=True)
    with Capture(source) as capture:
        with pytest.raises(kind):
            list(capture)
        assert capture.state == "lost"
        assert source.closed == 1


def test_stop_ends_the_iteration_and_closes_the_source() -> None:
    source = ScriptedSource(times(10_000))
    with Capture(source, pace="fast") as capture:
        for frame in capture:
            if frame.seq == 5:
                capture.close()
    assert frame.seq == 5
    assert (capture.state, capture.ended, source.closed) == ("ended", True, 1)
    assert capture.next_frame() is None
    capture.close()


def test_stop_wakes_a_reader_that_waits() -> None:
    gate = Gate()
    with Capture(ScriptedSource([gate], live=True)) as capture:
        got: list[Frame | None] = []
        reader = threading.Thread(target=lambda: got.append(capture.next_frame()))
        reader.start()
        assert gate.reached.wait(20)
        threading.Timer(0.05, gate.opened.set).start()
        capture.close()
        reader.join(20)
        assert got == [None]


def test_stop_does_not_wait_for_a_frame_that_is_due_in_an_hour() -> None:
    started = time.perf_counter()
    with Capture(ScriptedSource([0.0, 3600.0]), pace="realtime") as capture:
        assert capture.next_frame(20) is not None
    assert time.perf_counter() - started < 60


def test_a_failure_after_the_stop_is_nobodys() -> None:
    gate = Gate()
    with Capture(ScriptedSource([0.0, gate, SourceError("torn down")], live=True)) as capture:
        assert gate.reached.wait(20)
        threading.Timer(0.05, gate.opened.set).start()
        capture.close()
        assert capture.next_frame() is None
        assert capture.state == "ended"


def test_stop_returns_from_a_source_that_hangs(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(capture_module, "_STOP_TIMEOUT_S", 0.05)
    gate = Gate()
    source = ScriptedSource([gate])
    capture = Capture(source)
    capture.start()
    assert gate.reached.wait(20)
    with caplog.at_level(logging.WARNING):
        capture.close()
    assert "does not stop" in caplog.text
    assert source.closed == 0, "closed under a read that is under way"
    monkeypatch.setattr(capture_module, "_STOP_TIMEOUT_S", 20.0)
    gate.opened.set()
    capture.close()
    assert source.closed == 1


def test_the_thread_is_joined_never_daemon() -> None:
    gate = Gate()
    with Capture(ScriptedSource([gate])):
        assert gate.reached.wait(20)
        mine = [thread for thread in threading.enumerate() if thread.name == "capture script"]
        assert [thread.daemon for thread in mine] == [False]
        gate.opened.set()


def test_a_capture_that_never_started_closes_its_source() -> None:
    source = ScriptedSource([0.0])
    Capture(source).close()
    assert source.closed == 1


def test_live_input_that_can_come_back_is_waited_for() -> None:
    clock = ManualClock()
    source = ScriptedLive(["frame", "lost", "away", "frame", "end"], clock)
    with Capture(source, clock=clock) as capture:
        seqs = [frame.seq for frame in capture]
    assert seqs[-1] == 1, "the newest, after the return"
    assert (capture.state, capture.breaks, capture.reconnects) == ("ended", 1, 1)
    assert source.closed == 1


def test_a_stop_ends_the_wait_for_a_source_that_is_away() -> None:
    clock = ManualClock()
    source = ScriptedLive(["frame", "lost", *["away"] * 100_000], clock)
    with Capture(source, clock=clock) as capture:
        while len(source.attempts_s) < 5:
            capture.next_frame(0.01)
        assert capture.state in ("backoff", "connecting")
    assert (capture.state, source.closed) == ("ended", 1)


def test_a_defect_in_live_input_is_raised_where_frames_are_taken() -> None:
    clock = ManualClock()
    source = ScriptedLive(["none", ValueError("a defect")], clock)
    with Capture(source, clock=clock) as capture, pytest.raises(ValueError, match="a defect"):
        list(capture)
    assert source.closed == 1


@pytest.mark.parametrize(("pace", "live", "expected"), [
    ("fast", False, False), ("realtime", False, True), ("fast", True, True),
])  # fmt: skip
def test_whether_frames_come_as_time_passes(pace: Pace, live: bool, expected: bool) -> None:
    capture = Capture(ScriptedSource([], live=live), pace=pace)
    assert capture.in_real_time == expected
    capture.close()


def waiting(clock: ManualClock, frames: int) -> tuple[Capture, Frame]:
    """A capture of live input that ended after these frames, the newest of which was not taken yet."""
    capture = Capture(ScriptedLive([*["frame"] * frames, "end"], clock), clock=clock)
    capture.start()
    capture._thread.join()
    return capture, capture._frames[0]


def test_a_live_frame_that_waited_too_long_is_dropped_and_counted() -> None:
    """As after SIGSTOP: the process went on, and with it the clock."""
    clock = ManualClock()
    capture, newest = waiting(clock, 3)
    clock.now_s = newest.captured_s + STALE_S + 0.1
    assert capture.next_frame(0.01) is None
    assert (capture.frames_in, capture.dropped) == (3, 3)
    assert capture.ended


def test_a_live_frame_that_waited_a_little_is_handed_out() -> None:
    clock = ManualClock()
    capture, newest = waiting(clock, 1)
    clock.now_s = newest.captured_s + STALE_S - 0.1
    assert capture.next_frame(0.01) is newest
    assert (capture.dropped, capture.breaks) == (0, 0)


def test_a_frame_that_was_in_work_while_the_process_stood_still_is_outdated() -> None:
    clock = ManualClock()
    capture, newest = waiting(clock, 1)
    frame = capture.next_frame(0.01)
    assert frame is newest
    assert not capture.outdated(frame)
    clock.sleep(30.0)
    assert capture.outdated(frame)
    capture._frames.append(frame)
    assert capture.next_frame(0.01) is None, "nor one that waited as long"
    assert (capture.dropped, capture.breaks) == (2, 0)
    capture._frames.append(replace(frame, captured_s=clock.monotonic()))
    assert capture.next_frame(0.01) is not None
    assert capture.breaks == 1, "frames went on after some had been missed"


def test_a_frame_that_got_too_old_before_a_newer_one_replaced_it_is_a_gap() -> None:
    """As after SIGSTOP, when the thread that reads is quicker than the one that takes frames."""
    clock = ManualClock()
    capture, newest = waiting(clock, 1)
    clock.sleep(STALE_S + 1)
    capture._stopping = False
    capture._enqueue(replace(newest, seq=1, captured_s=clock.monotonic()))
    frame = capture.next_frame(0.01)
    assert frame is not None and frame.seq == 1
    assert (capture.dropped, capture.breaks) == (1, 1)


def test_a_machine_that_takes_long_for_each_frame_gives_results_all_the_same() -> None:
    clock = ManualClock()
    capture, newest = waiting(clock, 1)
    told = []
    capture._frames.clear()
    for _ in range(4):
        capture._frames.append(replace(newest, captured_s=clock.monotonic()))
        frame = capture.next_frame(0.01)
        assert frame is not None
        clock.sleep(STALE_S + 2)
        told.append(not capture.outdated(frame))
    assert told == [False, False, True, True]


def test_frames_of_a_file_are_never_outdated() -> None:
    with Capture(ScriptedSource(times(3)), pace="fast", clock=ManualClock(1000.0)) as capture:
        for frame in capture:
            assert not capture.outdated(frame)
    assert capture.dropped == 0
