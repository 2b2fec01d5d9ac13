"""Worker processes as their parent sees them."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from subprocess import PIPE
from typing import Any

from edgeharfer.report.outcome import Outcome, failed, stopped
from edgeharfer.report.task import ReportTask
from edgeharfer.runtime import errors
from edgeharfer.runtime.child import Child, child_command, signal_name
from edgeharfer.runtime.clock import Clock, SystemClock
from edgeharfer.runtime.closing import Closing
from edgeharfer.runtime.errors import EdgeharferError

MAX_ATTEMPTS = 3
"""Number of worker processes that may crash on an input before it is given up."""
STOP_TIMEOUT_S = 10.0
"""Maximum wait for a process that was asked to stop; it stops before the next frame."""
_MODULE = "edgeharfer.report.worker"


class WorkerProcess(Closing):
    """Analyses inputs in a child process, which is started again after a crash.

    Args:
        settings: Settings of the analysis, as `AnalysisSettings.to_json` writes them.
        module: Module that the process runs.
        clock: Measures the time since it was asked to stop.

    Attributes:
        settings: As given.
    """

    def __init__(self, settings: str, module: str = _MODULE, clock: Clock | None = None) -> None:
        self.settings, self._module, self._clock = settings, module, clock or SystemClock()
        self._child: Child | None = None
        self._stopped_s: float | None = None

    @property
    def pid(self) -> int | None:
        """The process; None if there is none."""
        child = self._child
        return None if child is None else child.process.pid

    def analyze(self, task: ReportTask, progress: Callable[[float], None]) -> Outcome:
        """Analyse an input; a process that crashes is replaced, `MAX_ATTEMPTS` times at most.

        Args:
            task: The input and its folder.
            progress: Called with the share of the input that has been analysed, 0 to 1.

        Returns:
            The outcome; one that is stopped if this worker was stopped in the meantime.

        Raises:
            EdgeharferError: The models cannot be loaded, or the report cannot be written.
        """
        crash = ""
        for attempt in range(1, MAX_ATTEMPTS + 1):
            if self._stopped_s is not None:
                return stopped(task)
            answer = self._ask(task, progress)
            if answer is not None:
                return Outcome.from_dict({**answer, "attempts": attempt})
            crash = self._ended()
        if self._stopped_s is not None:
            return stopped(task)
        message = f"{task.input.spec}: {MAX_ATTEMPTS} worker processes crashed on it ({crash})"
        return failed(task, message, MAX_ATTEMPTS)

    def stop(self) -> None:
        """Ask the process to stop; a running `analyze` then returns. May be called from another thread.

        Call it again while waiting: it kills the process `STOP_TIMEOUT_S` after the first call.
        """
        now_s = self._clock.monotonic()
        if self._stopped_s is None:
            self._stopped_s = now_s
        if (child := self._child) is not None:
            close_input(child)
            if now_s - self._stopped_s > STOP_TIMEOUT_S:
                child.process.kill()

    def close(self) -> None:
        """End the process and wait for it. `analyze` must not be running."""
        self.stop()
        if self._child is not None:
            self._child.close()
            self._child = None

    def _ask(self, task: ReportTask, progress: Callable[[float], None]) -> dict[str, Any] | None:
        """The outcome's values; None if the process ended without one."""
        try:
            child = self._running()
            assert child.process.stdin is not None and child.process.stdout is not None
            send_line(child, json.dumps(task.to_dict()))
            for line in child.process.stdout:
                message = json.loads(line)
                if "share" in message:
                    progress(message["share"])
                elif "error" in message:
                    raise reported_error(*message["error"])
                else:
                    outcome: dict[str, Any] = message["outcome"]
                    return outcome
        except (BrokenPipeError, ValueError):  # it ended while writing or being written to
            return None
        return None

    def _running(self) -> Child:
        if self._child is None:
            self._child = Child(child_command(self._module), stdin=PIPE, stdout=PIPE, grace_s=STOP_TIMEOUT_S)
            if self._stopped_s is not None:
                close_input(self._child)
            send_line(self._child, self.settings)
        return self._child

    def _ended(self) -> str:
        """Why the process ended, such as "SIGSEGV"."""
        child, self._child = self._child, None
        if child is None:
            return "cannot be started"
        code = child.process.wait()
        child.close()
        return signal_name(code) or f"exit code {code}"


def reported_error(name: str, text: str) -> EdgeharferError:
    """The error that a process reported, from its class and its message."""
    error = EdgeharferError(text)
    kind = getattr(errors, name, EdgeharferError)
    error.exit_code = kind.exit_code
    return error


def close_input(child: Child) -> None:
    """Close the standard input of a process, which asks it to stop."""
    assert child.process.stdin is not None
    with contextlib.suppress(OSError):  # it ended before it read everything
        child.process.stdin.close()


def send_line(child: Child, line: str) -> None:
    """Write a line to a process.

    Raises:
        BrokenPipeError: The process has ended.
        ValueError: Its standard input was closed.
    """
    assert child.process.stdin is not None
    child.process.stdin.write(line.encode("utf-8") + b"\n")
    child.process.stdin.flush()
