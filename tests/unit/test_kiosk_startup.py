"""The start: one process a state folder, and faults that pass are waited out."""

from __future__ import annotations

import errno
import itertools
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("prometheus_client", reason="needs the kiosk extra")
from edgeharfer.kiosk import startup
from edgeharfer.kiosk.metrics import Metrics
from edgeharfer.kiosk.startup import MAX_PAUSE_S, Startup, count_start, state_lock
from edgeharfer.kiosk.systemd import WatchdogPinger
from edgeharfer.runtime.clock import ManualClock
from edgeharfer.runtime.errors import SinkError
from edgeharfer.runtime.lock import FileLock

HOUR_S = 3600.0
HOLD = """
import sys
from pathlib import Path
from edgeharfer.kiosk.startup import state_lock
with state_lock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def failure(cause: Exception) -> SinkError:
    error = SinkError("it does not work")
    error.__cause__ = cause
    return error


class Bench:
    """A start by a clock that is moved by waiting, under a manager that hears what is sent."""

    def __init__(self) -> None:
        self.clock, self.sent, self.tries = ManualClock(), list[tuple[float, str]](), list[float]()
        self.stopping, self.over = False, False
        self.shown = list[str]()
        watchdog = WatchdogPinger(self._send, 10.0, self.clock)
        self.start = Startup(lambda: self.stopping, lambda: self.over, watchdog, self.clock, send=self._send)
        self.start.show = self.shown.append

    def _send(self, message: str) -> None:
        self.sent.append((self.clock.now_s, message))

    def fails_until(self, end_s: float, cause: Exception) -> Callable[[], str]:
        def action() -> str:
            self.tries.append(self.clock.now_s)
            if self.clock.now_s < end_s:
                raise failure(cause)
            return "done"

        return action


@pytest.mark.parametrize(
    "cause",
    [
        OSError(errno.EADDRINUSE, "Address already in use"),
        OSError(errno.ENOSPC, "No space left on device"),
        sqlite3.OperationalError("database or disk is full"),
    ],
)
def test_an_hour_of_a_passing_fault_is_waited_out(cause: Exception, caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench()
    assert bench.start.step(bench.fails_until(HOUR_S, cause)) == "done"
    assert bench.clock.now_s - HOUR_S < MAX_PAUSE_S + 1 < 60
    pauses = [round(later - earlier) for earlier, later in itertools.pairwise(bench.tries)]
    assert pauses[0] < 1 and pauses == sorted(pauses) and len(pauses) < 300
    assert len(caplog.messages) == 2, "one when it begins, one when it has passed"
    assert bench.shown[0] == "it does not work" and bench.shown[-1] == "starting"


def test_systemd_is_asked_for_time_and_told_what_is_waited_for() -> None:
    bench = Bench()
    bench.start.step(bench.fails_until(HOUR_S, OSError(errno.EADDRINUSE, "taken")))
    pings = [time_s for time_s, message in bench.sent if message == "WATCHDOG=1"]
    assert max(later - earlier for earlier, later in itertools.pairwise(pings)) < 5.0
    asked = [
        (time_s, message) for time_s, message in bench.sent if message.startswith("EXTEND_TIMEOUT_USEC=")
    ]
    assert all("\nSTATUS=waiting: it does not work" in message for _, message in asked)
    assert max(later[0] - earlier[0] for earlier, later in itertools.pairwise(asked)) < startup.TIMEOUT_S / 2


@pytest.mark.parametrize("cause", [OSError(errno.EACCES, "Permission denied"), ValueError("wrong")])
def test_what_does_not_pass_is_told_at_once(cause: Exception) -> None:
    bench = Bench()
    with pytest.raises(SinkError, match="does not work"):
        bench.start.step(bench.fails_until(HOUR_S, cause))
    assert bench.tries == [0.0]


def test_a_stop_ends_the_waiting_and_a_duration_fails_with_the_fault() -> None:
    bench = Bench()
    bench.stopping = bench.over = True
    with pytest.raises(KeyboardInterrupt):
        bench.start.step(bench.fails_until(HOUR_S, OSError(errno.ENOSPC, "full")))
    bench.stopping = False
    with pytest.raises(SinkError, match="does not work"):
        bench.start.step(bench.fails_until(HOUR_S, OSError(errno.ENOSPC, "full")))
    assert bench.clock.now_s < 1


def test_a_second_process_is_refused_until_the_first_one_is_killed(tmp_path: Path) -> None:
    state = tmp_path / "state"
    words = [sys.executable, "-c", HOLD, str(state)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(words, env=environment, stdin=-1, stdout=-1, text=True) as first:
        assert first.stdout is not None and first.stdout.readline() == "held\n"
        with pytest.raises(SinkError, match="in use by another kiosk"), state_lock(state):
            pass
        first.send_signal(signal.SIGKILL if sys.platform != "win32" else signal.SIGTERM)
        first.wait(20)
    with state_lock(state):
        pass


def test_a_lock_is_for_one_and_can_be_taken_again(tmp_path: Path) -> None:
    first, second = FileLock(tmp_path / "lock"), FileLock(tmp_path / "lock")
    assert first.acquire() and not second.acquire()
    first.close()
    assert second.acquire()
    second.close()
    with pytest.raises(OSError, match="lock"):
        FileLock(tmp_path / "gone" / "lock").acquire()


def test_a_state_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with (
        pytest.raises(SinkError, match="choose another folder with --state"),
        state_lock(tmp_path / "file" / "state"),
    ):
        pass


def test_a_start_that_cannot_be_counted_is_a_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "starts").mkdir()
    assert count_start(tmp_path) is None
    assert "this start is not counted" in caplog.text

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(startup, "write_durable", full)
    assert count_start(tmp_path / "other") is None
    metrics = Metrics()
    metrics.show_starts(None)
    assert "edgeharfer_starts NaN" in metrics.text().decode()
