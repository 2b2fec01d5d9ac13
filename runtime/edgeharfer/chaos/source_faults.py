"""Faults of the source and of the process that reads it."""

from __future__ import annotations

import os
import signal
import sys

from edgeharfer.chaos.fault import FPS, Fault, FaultEnvironment, FaultNotApplicable, demo_pictures
from edgeharfer.chaos.supervised import RecoveryError, RecoveryTimeout, WatchedRun

DETECTION_LIMIT_S = 10.0
"""Maximum time until a state is reported; an idle device takes a fifth to a half of it."""
SLOW_FPS = 3.0
MAX_IN_FLIGHT = 2
"""Results that may follow a change of state: one picture is being processed, another one is queued."""
SETTLING_RESULTS = 10
"""Results after a change until the run counts as stable."""


def drop(env: FaultEnvironment) -> float:
    """Close all connections, then restart the server immediately."""
    with env.run() as run:
        env.server.stop_serving()
        try:
            run.wait_for_state("lost", DETECTION_LIMIT_S)
        finally:
            env.server.serve()
        return run.wait_for_result()


def stall(env: FaultEnvironment) -> float:
    """Keep the connection open but send nothing."""
    with env.run() as run:
        env.server.silent = True
        run.wait_for_state("stalled", DETECTION_LIMIT_S)
        env.server.silent = False
        return run.wait_for_result()


def freeze(env: FaultEnvironment) -> float:
    """Send the same picture repeatedly, which must not lead to results."""
    with env.run() as run:
        env.server.frozen = True
        run.wait_for_state("frozen", DETECTION_LIMIT_S)
        before = run.count("result")
        keep_running(run, max(1.0, 2 * (MAX_IN_FLIGHT + 1) * run.interval_s))
        if run.count("result") > before + MAX_IN_FLIGHT:
            raise RecoveryError("there were results for a frozen frame")
        env.server.frozen = False
        return run.wait_for_result()


def corrupt(env: FaultEnvironment) -> float:
    """Truncate every second picture; return the longest time without a result."""
    original = env.server.picture

    def damaged(number: int) -> bytes:
        data = original(number)
        return data[: -len(data) // 3] if number % 2 else data

    with env.run() as run:
        env.server.picture = damaged
        worst_s = max(run.wait_for_result() for _ in range(2 * SETTLING_RESULTS))
        env.server.picture = original
        worst_s = max(worst_s, run.wait_for_result())
        run.stop()
        if not run.rows[-1]["source"]["bad_pictures"]:
            raise RecoveryError("no damaged frame was counted")
        return worst_s


def resize(env: FaultEnvironment) -> float:
    """Send pictures of other sizes; return the longest time without a result."""
    original = env.server.picture
    with env.run() as run:
        worst_s = 0.0
        for width, height in ((320, 240), (640, 960), (640, 480)):
            pictures = demo_pictures(width, height, SETTLING_RESULTS)
            env.server.picture = lambda number, pictures=pictures: pictures[number % SETTLING_RESULTS]  # type: ignore[misc]
            worst_s = max([worst_s, *(run.wait_for_result() for _ in range(SETTLING_RESULTS))])
            check_boxes(run, width, height)
        env.server.picture = original
        return worst_s


def check_boxes(run: WatchedRun, width: int, height: int) -> None:
    """Check that the faces of the last result are within a picture of the given size.

    Raises:
        RecoveryError: A face is outside.
    """
    for face in run.rows[-1].get("faces", ()):
        left, top, across, down = face["box"]
        inside = -across < left < width and -down < top < height
        if not inside or across > 2 * width or down > 2 * height:
            raise RecoveryError(f"face at {face['box']} is outside the frame of {width}x{height}")


def slow(env: FaultEnvironment) -> float:
    """Send three frames per second, which is not a fault; return the longest time without a result."""
    with env.run() as run:
        env.server.fps = SLOW_FPS
        slowed_s = max(run.wait_for_result() for _ in range(SETTLING_RESULTS))
        env.server.fps = FPS
        if run.count("state"):
            raise RecoveryTimeout("a slow source was reported as faulty")
        return max(slowed_s, run.wait_for_result())


def reader_killed(env: FaultEnvironment) -> float:
    """Kill the process that reads the stream, as a crash in a decoder would."""
    with env.run() as run:
        os.kill(find_reader(run), signal.SIGKILL)
        return run.wait_for_state("lost") + run.wait_for_result()


def reader_hangs(env: FaultEnvironment) -> float:
    """Suspend the process that reads the stream, as a hanging driver would."""
    with env.run() as run:
        stopped = find_reader(run)
        os.kill(stopped, signal.SIGSTOP)
        try:
            return run.wait_for_state("lost") + run.wait_for_result()
        finally:
            if run.reader_pid() == stopped:  # not replaced, so it would outlive the run
                os.kill(stopped, signal.SIGKILL)


def find_reader(run: WatchedRun) -> int:
    """The id of the process that reads the stream.

    Raises:
        FaultNotApplicable: It cannot be found.
    """
    if not sys.platform.startswith("linux"):
        raise FaultNotApplicable("finding the process needs /proc, which only Linux has")
    pid = run.reader_pid()
    if pid is None:
        raise FaultNotApplicable("there is no separate process that reads the stream")
    return pid


def keep_running(run: WatchedRun, seconds: float) -> None:
    """Let the run continue for some time.

    Raises:
        RecoveryError: The run ended.
    """
    clock_s = run.clock.monotonic()
    run.wait_for(lambda: run.clock.monotonic() - clock_s >= seconds, "end of time", 2 * seconds + 1)


SOURCE_FAULTS = (
    Fault("drop", "the source disconnects and returns", 2.0, drop),
    Fault("stall", "the source stops sending", 2.0, stall),
    Fault("freeze", "the source repeats the same frame", 2.0, freeze),
    Fault("corrupt", "every second frame is damaged", 2.0, corrupt),
    Fault("resize", "frames of three other sizes", 2.0, resize),
    Fault("slow", "three frames per second", 2.0, slow),
    Fault("reader-killed", "the reader process is killed", 5.0, reader_killed),
    Fault("reader-hangs", "the reader process hangs", 12.0, reader_hangs),
)
