"""Faults of the source and of the process that reads it."""

from __future__ import annotations

import os
import signal
import sys

from edgeharfer.chaos.fault import FPS, Fault, FaultEnvironment, FaultNotApplicable, demo_pictures
from edgeharfer.chaos.supervised import RecoveryError, RecoveryTimeout, WatchedRun

DETECTION_LIMIT_S = 10.0
"""Within which a state must be told; a device that is not busy takes a fifth to a half of it."""
SLOW_FPS = 3.0
MAX_IN_FLIGHT = 2
"""Results that may still follow a change of state: one picture is being processed, another one is queued."""
SETTLING_RESULTS = 10
"""Results after a change until it counts as lived through."""


def drop(env: FaultEnvironment) -> float:
    """All connections shut, then the server is back at once."""
    with env.run() as run:
        env.server.stop_serving()
        try:
            run.wait_for_state("lost", DETECTION_LIMIT_S)
        finally:
            env.server.serve()
        return run.wait_for_result()


def stall(env: FaultEnvironment) -> float:
    """The connection stays, and nothing comes."""
    with env.run() as run:
        env.server.silent = True
        run.wait_for_state("stalled", DETECTION_LIMIT_S)
        env.server.silent = False
        return run.wait_for_result()


def freeze(env: FaultEnvironment) -> float:
    """The same picture again and again, of which no results may tell."""
    with env.run() as run:
        env.server.frozen = True
        run.wait_for_state("frozen", DETECTION_LIMIT_S)
        before = run.count("result")
        keep_running(run, max(1.0, 2 * (MAX_IN_FLIGHT + 1) * run.interval_s))
        if run.count("result") > before + MAX_IN_FLIGHT:
            raise RecoveryError("results came of a frozen picture")
        env.server.frozen = False
        return run.wait_for_result()


def corrupt(env: FaultEnvironment) -> float:
    """Every second picture is cut off; the longest time without a result counts."""
    whole = env.server.picture
    with env.run() as run:
        env.server.picture = lambda number: whole(number)[: -len(whole(number)) // 3 if number % 2 else None]
        worst_s = max(run.wait_for_result() for _ in range(2 * SETTLING_RESULTS))
        env.server.picture = whole
        worst_s = max(worst_s, run.wait_for_result())
        run.stop()
        if not run.rows[-1]["source"]["bad_pictures"]:
            raise RecoveryError("no damaged picture was counted")
        return worst_s


def resize(env: FaultEnvironment) -> float:
    """Pictures of half the size and twice as high; the longest time without a result counts."""
    whole = env.server.picture
    with env.run() as run:
        worst_s = 0.0
        for width, height in ((320, 240), (640, 960), (640, 480)):
            pictures = demo_pictures(width, height, SETTLING_RESULTS)
            env.server.picture = lambda number, pictures=pictures: pictures[number % SETTLING_RESULTS]  # type: ignore[misc]
            worst_s = max([worst_s, *(run.wait_for_result() for _ in range(SETTLING_RESULTS))])
            check_boxes(run, width, height)
        env.server.picture = whole
        return worst_s


def check_boxes(run: WatchedRun, width: int, height: int) -> None:
    """Raise RecoveryError where a face of the last result is not within a picture of that size."""
    for face in run.rows[-1].get("faces", ()):
        left, top, across, down = face["box"]
        inside = -across < left < width and -down < top < height
        if not inside or across > 2 * width or down > 2 * height:
            raise RecoveryError(f"a face at {face['box']} of a picture of {width}x{height}")


def slow(env: FaultEnvironment) -> float:
    """Three pictures a second, which is no trouble; then the longest time without a result counts."""
    with env.run() as run:
        env.server.fps = SLOW_FPS
        slowed_s = max(run.wait_for_result() for _ in range(SETTLING_RESULTS))
        env.server.fps = FPS
        if run.count("state"):
            raise RecoveryTimeout("a slow source was taken for one in trouble")
        return max(slowed_s, run.wait_for_result())


def reader_killed(env: FaultEnvironment) -> float:
    """The process that reads the stream is killed, as a crash in a decoder does."""
    with env.run() as run:
        os.kill(find_reader(run), signal.SIGKILL)
        return run.wait_for_state("lost") + run.wait_for_result()


def reader_hangs(env: FaultEnvironment) -> float:
    """The process that reads the stream is stopped, as a driver that never returns does."""
    with env.run() as run:
        stopped = find_reader(run)
        os.kill(stopped, signal.SIGSTOP)
        try:
            return run.wait_for_state("lost") + run.wait_for_result()
        finally:
            if run.reader_pid() == stopped:  # it was not replaced, and would outlive the run
                os.kill(stopped, signal.SIGKILL)


def find_reader(run: WatchedRun) -> int:
    """The process that reads the stream. Raises FaultNotApplicable where it cannot be found."""
    if not sys.platform.startswith("linux"):
        raise FaultNotApplicable("processes are found in /proc, which is Linux's")
    pid = run.reader_pid()
    if pid is None:
        raise FaultNotApplicable("no process reads the stream here")
    return pid


def keep_running(run: WatchedRun, seconds: float) -> None:
    """Let the run go on for so long. Raises RecoveryError where it ends."""
    clock_s = run.clock.monotonic()
    run.wait_for(lambda: run.clock.monotonic() - clock_s >= seconds, "end of time", 2 * seconds + 1)


SOURCE_FAULTS = (
    Fault("drop", "the source drops and returns", 2.0, drop),
    Fault("stall", "the source falls silent", 2.0, stall),
    Fault("freeze", "the same picture again and again", 2.0, freeze),
    Fault("corrupt", "every second picture is damaged", 2.0, corrupt),
    Fault("resize", "pictures of three other sizes", 2.0, resize),
    Fault("slow", "three pictures a second", 2.0, slow),
    Fault("reader-killed", "the reader process is killed", 5.0, reader_killed),
    Fault("reader-hangs", "the reader process hangs", 12.0, reader_hangs),
)
