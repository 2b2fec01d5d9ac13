"""Progress of long work, for a display such as that of the command line.

Work reports its steps here, as it logs to `logging`. They reach the display that listens in the same context;
without one, nothing happens.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sized
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Protocol, TypeVar

T = TypeVar("T")


class Advance(Protocol):
    """Reports that a part of a step is done."""

    def __call__(self, amount: float = 1, note: str | None = None, title: str | None = None) -> None:
        """Report progress.

        Args:
            amount: Work done since the last call, in the unit of the step's total.
            note: What to show beside the progress, such as the current loss; None keeps the last one.
            title: What is done now, such as "epoch 2/40"; None keeps the last title.
        """


class Display(Protocol):
    """Shows steps; one begun inside another is shown instead of it until it ends."""

    def begin(self, title: str, total: float | None) -> None:
        """Begin a step; `total` is its amount of work, or None if that is unknown."""

    def advance(self, amount: float = 1, note: str | None = None, title: str | None = None) -> None:
        """Report progress of the innermost step."""

    def end(self) -> None:
        """End the innermost step."""

    def paused(self) -> AbstractContextManager[None]:
        """Remove what is shown inside a `with` block, in which something else is printed."""


_DISPLAY: ContextVar[Display | None] = ContextVar("progress display", default=None)


@contextmanager
def shown_by(display: Display) -> Iterator[None]:
    """Show the steps of this context on a display inside the block."""
    token = _DISPLAY.set(display)
    try:
        yield
    finally:
        _DISPLAY.reset(token)


@contextmanager
def step(title: str, total: float | None = None) -> Iterator[Advance]:
    """Report a step of work.

    Args:
        title: What is done, such as "aligning faces".
        total: Amount of work, in any unit; None if it is unknown.

    Yields:
        Function that reports progress.
    """
    display = _DISPLAY.get()
    if display is None:
        yield _ignore
        return
    display.begin(title, total)
    try:
        yield display.advance
    finally:
        display.end()


def paused() -> AbstractContextManager[None]:
    """Return a context manager in which lines can be printed to the terminal that shows progress."""
    display = _DISPLAY.get()
    return nullcontext() if display is None else display.paused()


def with_progress(items: Iterable[T], title: str, total: float | None = None) -> Iterator[T]:
    """Yield the items and report progress after each one.

    Args:
        items: What is worked on.
        title: What is done, such as "aligning faces".
        total: Number of items; None takes it from `items` if they have a length.
    """
    if total is None and isinstance(items, Sized):
        total = len(items)
    with step(title, total) as advance:
        for item in items:
            yield item
            advance()


def _ignore(amount: float = 1, note: str | None = None, title: str | None = None) -> None:
    pass
