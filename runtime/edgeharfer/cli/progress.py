"""Progress with the time left, on standard error and only if it is a terminal."""

from __future__ import annotations

import logging
import os
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass

import click

from edgeharfer.runtime import progress
from edgeharfer.runtime.clock import Clock, SystemClock
from edgeharfer.runtime.closing import Closing

FIRST_S = 0.3
"""Time after which a step is shown; shorter ones do not flicker."""
EVERY_S = 0.1
"""Shortest time between two updates of the line."""
TICK_S = 0.5
"""Longest time between two updates of the line, so that the elapsed time runs on."""


@dataclass
class Step:
    """A step of work on display.

    Attributes:
        title: What is done.
        total: Amount of work; None if it is unknown.
        started_s: When it began.
        done: Amount of work that is done.
        note: What is shown beside the progress.
    """

    title: str
    total: float | None
    started_s: float
    done: float = 0.0
    note: str = ""

    def line(self, now_s: float, columns: int) -> str:
        """The step in one line of fewer than `columns` characters."""
        elapsed_s = now_s - self.started_s
        if not self.total:
            parts = [self.title, duration(elapsed_s), self.note]
        else:
            share = min(1.0, self.done / self.total)
            left = duration(elapsed_s * (1 - share) / share) if share else "-:--"
            parts = [self.title, f"{_bar(share, columns)} {share:4.0%}".strip(), f"{left} left", self.note]
        line = "  ".join(part for part in parts if part)
        return line if len(line) < columns else line[: columns - 2] + "…"


def duration(seconds: float) -> str:
    """Format a duration such as 0:07, 12:31 or 1:02:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _bar(share: float, columns: int) -> str:
    width = 24 if columns >= 100 else 12 if columns >= 60 else 0
    return f"[{'#' * int(share * width):-<{width}}]" if width else ""


class ProgressDisplay(Closing):
    """Shows the innermost step in the last line of the terminal, and removes it at its end.

    A thread updates the line while nothing is reported. It is started by the first step.

    Args:
        clock: Monotonic clock.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._steps: list[Step] = []
        self._lock = threading.RLock()
        self._shown = ""
        self._drawn_s = 0.0
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    def begin(self, title: str, total: float | None) -> None:
        with self._lock:
            self._steps.append(Step(title, total, self._clock.monotonic()))
        if self._thread is None and sys.stderr.isatty():
            self._thread = threading.Thread(target=self._tick, name="progress", daemon=False)
            self._thread.start()

    def advance(self, amount: float = 1, note: str | None = None, title: str | None = None) -> None:
        with self._lock:
            if not self._steps:
                return
            current = self._steps[-1]
            current.done += amount
            current.note = current.note if note is None else note
            current.title = current.title if title is None else title
            if self._thread is not None and self._clock.monotonic() - self._drawn_s >= EVERY_S:
                self._draw()

    def end(self) -> None:
        with self._lock:
            self._steps.pop()
            self._clear()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Remove the line inside the block, so that something else can be printed."""
        with self._lock:
            self._clear()
            yield

    def close(self) -> None:
        self._closed.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self._steps.clear()
        self._clear()

    def _tick(self) -> None:
        while not self._closed.wait(TICK_S):
            with self._lock:
                self._draw()

    def _draw(self) -> None:
        now_s = self._clock.monotonic()
        if not self._steps or now_s - self._steps[0].started_s < FIRST_S or not sys.stderr.isatty():
            return
        line = self._steps[-1].line(now_s, terminal_columns())
        self._write(f"\r{line:{len(self._shown)}}")
        self._shown, self._drawn_s = line, now_s

    def _clear(self) -> None:
        if self._shown:
            self._write(f"\r{' ' * len(self._shown)}\r")
            self._shown = ""

    def _write(self, text: str) -> None:
        sys.stderr.write(text)
        sys.stderr.flush()


def terminal_columns() -> int:
    """Width of the terminal on standard error, in characters."""
    try:
        columns = os.get_terminal_size(sys.stderr.fileno()).columns
    except (OSError, ValueError):
        columns = 0
    return columns or shutil.get_terminal_size().columns


class _LineHandler(logging.Handler):
    """Prints log records above the progress.

    Args:
        handler: Prints them.
        display: Shows the progress.
    """

    def __init__(self, handler: logging.Handler, display: ProgressDisplay) -> None:
        super().__init__(handler.level)
        self._handler, self._display = handler, display

    def emit(self, record: logging.LogRecord) -> None:
        with self._display.paused():
            self._handler.emit(record)


@contextmanager
def progress_shown() -> Iterator[None]:
    """Show the steps that are reported inside the block; log records are printed above them."""
    last_resort = logging.lastResort
    with ProgressDisplay() as display, progress.shown_by(display):
        if last_resort is not None:
            logging.lastResort = _LineHandler(last_resort, display)
        try:
            yield
        finally:
            logging.lastResort = last_resort


def echo(line: str, *, err: bool = False) -> None:
    """Print a line above the progress: a result to standard output, or a message to standard error."""
    with progress.paused():
        click.echo(line, err=err)


@contextmanager
def progress_bar(title: str) -> Iterator[Callable[[int, int], None]]:
    """Report a step whose total is known later.

    Args:
        title: What is done.

    Yields:
        Callback that takes (done, total).
    """
    advance: progress.Advance | None = None
    before = 0
    with ExitStack() as stack:

        def update(done: int, total: int) -> None:
            nonlocal advance, before
            advance = advance or stack.enter_context(progress.step(title, total))
            advance(done - before)
            before = done

        yield update


class BatchProgress(Closing):
    """Progress of a batch of inputs, with lines for results and errors above it."""

    def __init__(self) -> None:
        self._step: AbstractContextManager[progress.Advance] | None = None
        self._advance: progress.Advance | None = None

    def begin(self, total: int) -> None:
        """Show the progress over `total` units of work."""
        if total:
            self._step = progress.step("analysing", total)
            self._advance = self._step.__enter__()

    def advance(self, more: float, label: str) -> None:
        """Add `more` units; `label` names the current input."""
        if self._advance is not None:
            self._advance(more, label)

    def close(self) -> None:
        """Remove the progress; lines can still be printed."""
        if self._step is not None:
            self._step.__exit__(None, None, None)
            self._step = self._advance = None

    def print_result(self, line: str) -> None:
        echo(line)

    def print_error(self, line: str) -> None:
        echo(f"edgeharfer: {line}", err=True)
