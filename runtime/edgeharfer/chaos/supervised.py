"""`edgeharfer run` in a child process, observed through the events that it writes."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeharfer.runtime.child import Child, code_command
from edgeharfer.runtime.clock import SystemClock
from edgeharfer.runtime.closing import Closing

if TYPE_CHECKING:
    from typing_extensions import Self

START_S = 90.0
"""Maximum start-up time on a slow machine, for imports and models."""
END_S = 30.0
_POLL_S = 0.01
_SETTLING_RESULTS = 5
_READER = b"edgeharfer.runtime.source.reader"
COMMAND = "from edgeharfer.cli import main; main()"


class RecoveryError(Exception):
    """The run did not behave as required; the message says how."""


class RecoveryTimeout(RecoveryError):
    """An expected event did not occur in time, which load on the machine can cause too."""


class WatchedRun(Closing):
    """A running `edgeharfer run`. The context manager starts it, waits for its first results and ends it.

    Args:
        source: Source of the run.
        events: File that it writes its events to.
        options: Further options of `run`.
        prelude: Python code that the process executes first.
        wrapper: Command prefix that starts it in a mount namespace of its own.

    Attributes:
        rows: The events read so far.
        first_s: Seconds from the start to the first result.
        interval_s: Longest time between two results without a fault.
    """

    def __init__(
        self,
        source: str,
        events: Path,
        options: Sequence[str] = (),
        *,
        prelude: str = "",
        wrapper: Sequence[str] = (),
    ) -> None:
        self.events, self.rows = events, list[dict[str, Any]]()
        self.clock = SystemClock()
        self.first_s = self.interval_s = 0.0
        self._read_bytes = 0
        self._errors = events.with_suffix(".err")
        words = code_command(prelude + COMMAND, "run", "--view", "none", "--source", source)
        self._private_mount = bool(wrapper)
        self._command = [*wrapper, *words, "--events", str(events), *options]
        self._child: Child | None = None

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The process.

        Raises:
            RuntimeError: It has not been started.
        """
        if self._child is None:
            raise RuntimeError("the run has not been started")
        return self._child.process

    @property
    def last_line(self) -> str:
        """The last line of its standard error."""
        return (self.stderr.strip().splitlines() or ["no output"])[-1]

    @property
    def stderr(self) -> str:
        """Its standard error so far."""
        return self._errors.read_text("utf-8", "replace")

    def visible_path(self, path: Path) -> Path:
        """The path under which this process sees a path of the run, while it runs."""
        if not self._private_mount:
            return path
        return Path(f"/proc/{self.process.pid}/root") / path.relative_to("/")

    def start(self) -> None:
        """Start the process and wait for its first results.

        Raises:
            RecoveryError: It ended or had no results in time.
        """
        if not self._private_mount:
            self.read_events()
        self._launch()
        self.first_s = self.wait_for_result("first result", START_S)
        self.interval_s = max(self.wait_for_result() for _ in range(_SETTLING_RESULTS))

    def run_to_exit(self) -> tuple[float, int]:
        """Start a run that is expected to fail and wait for its end.

        Returns:
            The seconds until it ended, and its exit code.

        Raises:
            RecoveryTimeout: It did not end in time.
        """
        start_s = self.clock.monotonic()
        self._launch()
        try:
            code = self.process.wait(START_S)
        except subprocess.TimeoutExpired:
            self.close()
            raise RecoveryTimeout(f"still running after {START_S:g} s") from None
        return self.clock.monotonic() - start_s, code

    def read_events(self) -> list[dict[str, Any]]:
        """Read the new complete lines of the events and return all of them."""
        events = self.visible_path(self.events)
        if events.exists():
            with events.open("rb") as file:
                file.seek(self._read_bytes)
                complete, newline, _ = file.read().rpartition(b"\n")
            self._read_bytes += len(complete) + len(newline)
            self.rows += [json.loads(line) for line in complete.splitlines()]
        return self.rows

    def count(self, kind: str, state: str | None = None) -> int:
        """Number of events of a kind and state."""
        return sum(row["kind"] == kind and row.get("state") == state for row in self.read_events())

    def wait_for(self, condition: Callable[[], bool], what: str, timeout_s: float) -> float:
        """Wait until a condition holds and return the seconds that it took.

        Raises:
            RecoveryError: The run ended.
            RecoveryTimeout: The condition did not hold within `timeout_s`; `what` names it.
        """
        start_s = self.clock.monotonic()
        while not condition():
            code = self.process.poll()
            if code is not None and not condition():
                raise RecoveryError(f"the run ended with exit code {code}: {self.last_line}")
            if self.clock.monotonic() - start_s > timeout_s:
                raise RecoveryTimeout(f"no {what} within {timeout_s:g} s")
            self.clock.sleep(_POLL_S)
        return self.clock.monotonic() - start_s

    def wait_for_result(self, what: str = "result", timeout_s: float = END_S) -> float:
        """Wait for the next result, as `wait_for` does."""
        before = self.count("result")
        return self.wait_for(lambda: self.count("result") > before, what, timeout_s)

    def wait_for_state(self, state: str, timeout_s: float = END_S) -> float:
        """Wait until the source is reported in a state again, as `wait_for` does.

        The log is read as well as the events, since on a busy machine the events may miss a state that
        lasted for a fraction of a second.
        """
        before = self._state_count(state)
        return self.wait_for(lambda: self._state_count(state) != before, f"state {state!r}", timeout_s)

    def _state_count(self, state: str) -> tuple[int, int]:
        return self.count("state", state), self.stderr.count(f": {state}: ")

    def reader_pid(self) -> int | None:
        """Id of the process that reads the source; None if there is none."""
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                parent = int((folder / "stat").read_text("ascii", "replace").rpartition(")")[2].split()[1])
                if parent == self.process.pid and _READER in (folder / "cmdline").read_bytes():
                    return int(folder.name)
            except OSError:  # the process has just ended
                continue
        return None

    def stop(self) -> float:
        """Send SIGTERM and return the seconds until the process has ended.

        Raises:
            RecoveryError: It did not end in time, or with an exit code other than 0.
        """
        start_s = self.clock.monotonic()
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(END_S)
        except subprocess.TimeoutExpired:
            raise RecoveryTimeout(f"still running {END_S:g} s after SIGTERM") from None
        if code != 0:
            raise RecoveryError(f"exit code {code} after SIGTERM: {self.last_line}")
        stopped_s = self.clock.monotonic() - start_s
        self.read_events()
        return stopped_s

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def close(self) -> None:
        if self._child is not None:
            self._child.close()

    def _launch(self) -> None:
        with self._errors.open("wb") as errors:
            self._child = Child(self._command, stdout=None, stderr=errors, own_session=False)
