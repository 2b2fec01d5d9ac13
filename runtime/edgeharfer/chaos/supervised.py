"""`edgeharfer run` in a process of its own, watched by the events that it writes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

from edgeharfer.runtime.child import Child
from edgeharfer.runtime.clock import SystemClock
from edgeharfer.runtime.closing import Closing

START_S = 90.0
"""For imports and models, on the slowest of machines."""
END_S = 30.0
_POLL_S = 0.01
_SETTLING_RESULTS = 5
_READER = b"edgeharfer.runtime.source.reader"
COMMAND = "from edgeharfer.cli import main; main()"


class RecoveryError(Exception):
    """The product did not do what it must; the message says what."""


class RecoveryTimeout(RecoveryError):
    """What was waited for did not come in time, which a busy machine alone can cause."""


class WatchedRun(Closing):
    """The product at work. Entering starts it and waits for its first results; leaving ends it.

    source: what `run` is to watch. options: more of its options. events: where it writes them.
    prelude: Python that the process executes before the product. wrapper: a command that starts it in a
    file system of its own, which others see through its root.
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
        self.first_s = 0.0  # from its start to its first result
        self.interval_s = 0.0  # the longest between two results while nothing was wrong
        self._read_bytes = 0
        self._errors = events.with_suffix(".err")
        words = [sys.executable, "-P", "-c", prelude + COMMAND, "run", "--view", "none", "--source", source]
        self._private_mount = bool(wrapper)
        self._command = [*wrapper, *words, "--events", str(events), *options]
        self._child: Child | None = None

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The running one."""
        if self._child is None:
            raise RuntimeError("the run has not been started")
        return self._child.process

    @property
    def last_line(self) -> str:
        """The last of its complaints."""
        return (self.stderr.strip().splitlines() or ["it said nothing"])[-1]

    @property
    def stderr(self) -> str:
        """What it has written to standard error."""
        return self._errors.read_text("utf-8", "replace")

    def visible_path(self, path: Path) -> Path:
        """Where a path of the run is found from here, while it runs."""
        if not self._private_mount:
            return path
        return Path(f"/proc/{self.process.pid}/root") / path.relative_to("/")

    def start(self) -> None:
        """Start it, and wait for its first result. Raises RecoveryError."""
        if not self._private_mount:
            self.read_events()
        self._launch()
        self.first_s = self.wait_for_result("a first result", START_S)
        # what has come in meanwhile is old
        self.interval_s = max(self.wait_for_result() for _ in range(_SETTLING_RESULTS))

    def run_to_exit(self) -> tuple[float, int]:
        """Start what cannot work; the seconds until it has ended, and its exit code. Raises RecoveryError."""
        start_s = self.clock.monotonic()
        self._launch()
        try:
            code = self.process.wait(START_S)
        except subprocess.TimeoutExpired:
            self.close()
            raise RecoveryTimeout(f"still there after {START_S:g} s") from None
        return self.clock.monotonic() - start_s, code

    def read_events(self) -> list[dict[str, Any]]:
        """All whole lines so far; those that are new are read."""
        events = self.visible_path(self.events)
        if events.exists():
            with events.open("rb") as file:
                file.seek(self._read_bytes)
                whole, newline, _ = file.read().rpartition(b"\n")
            self._read_bytes += len(whole) + len(newline)
            self.rows += [json.loads(line) for line in whole.splitlines()]
        return self.rows

    def count(self, kind: str, state: str | None = None) -> int:
        """How many lines of that kind there are."""
        return sum(row["kind"] == kind and row.get("state") == state for row in self.read_events())

    def wait_for(self, condition: Callable[[], bool], what: str, timeout_s: float) -> float:
        """The seconds until the condition holds. Raises RecoveryError."""
        start_s = self.clock.monotonic()
        while not condition():
            code = self.process.poll()
            if code is not None and not condition():
                raise RecoveryError(f"the run ended with exit code {code}: {self.last_line}")
            if self.clock.monotonic() - start_s > timeout_s:
                raise RecoveryTimeout(f"no {what.removeprefix('a ')} within {timeout_s:g} s")
            self.clock.sleep(_POLL_S)
        return self.clock.monotonic() - start_s

    def wait_for_result(self, what: str = "a result", timeout_s: float = END_S) -> float:
        """The seconds until the next result. Raises RecoveryError."""
        before = self.count("result")
        return self.wait_for(lambda: self.count("result") > before, what, timeout_s)

    def wait_for_state(self, state: str, timeout_s: float = END_S) -> float:
        """The seconds until the source is said to be in that state once more. Raises RecoveryError.

        The log counts as well as the events: it holds each state, where the events of a busy machine may lack
        one that lasted for a fraction of a second.
        """
        before = self._state_count(state)
        return self.wait_for(lambda: self._state_count(state) != before, f"state {state!r}", timeout_s)

    def _state_count(self, state: str) -> tuple[int, int]:
        return self.count("state", state), self.stderr.count(f": {state}: ")

    def reader_pid(self) -> int | None:
        """The process that reads the source, None where there is none."""
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                parent = int((folder / "stat").read_text("ascii", "replace").rpartition(")")[2].split()[1])
                if parent == self.process.pid and _READER in (folder / "cmdline").read_bytes():
                    return int(folder.name)
            except OSError:  # it has just ended
                continue
        return None

    def stop(self) -> float:
        """Tell it to end by SIGTERM; the seconds until it has ended well. Raises RecoveryError."""
        start_s = self.clock.monotonic()
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(END_S)
        except subprocess.TimeoutExpired:
            raise RecoveryTimeout(f"still there {END_S:g} s after SIGTERM") from None
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
