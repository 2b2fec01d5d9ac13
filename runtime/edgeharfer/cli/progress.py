"""Progress bars on standard error, shown only if it is a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import click

from edgeharfer.runtime.closing import Closing


@contextmanager
def progress_bar() -> Iterator[Callable[[int, int], None]]:
    """Show a progress bar; yields a callback that takes (done, total)."""
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    with click.progressbar(length=1, file=sys.stderr) as bar:

        def update(done: int, total: int) -> None:
            bar.length = total
            bar.update(done - bar.pos)

        yield update


class ProgressBar(Closing):
    """A progress bar with the remaining time, shown only if standard error is a terminal.

    Results are printed to standard output and errors to standard error, both above the bar.
    """

    def __init__(self) -> None:
        self._shown = sys.stderr.isatty()
        self._bar: Any = None
        self._open: AbstractContextManager[Any] | None = None
        self._rest = 0.0

    def begin(self, total: int) -> None:
        """Show the bar for `total` units of work."""
        if self._shown and total:
            self._open = click.progressbar(
                length=total, file=sys.stderr, item_show_func=lambda label: label or "", width=24
            )
            self._bar = self._open.__enter__()

    def advance(self, more: float, label: str) -> None:
        """Add `more` units; `label` names the current item."""
        if self._bar is not None:
            self._rest += more
            whole = int(self._rest)
            self._rest -= whole
            self._bar.update(whole, label)

    def close(self) -> None:
        """Remove the bar; lines can still be printed."""
        if self._open is not None:
            self._open.__exit__(None, None, None)
            self._open = self._bar = None

    def print_result(self, line: str) -> None:
        self._clear()
        click.echo(line)

    def print_error(self, line: str) -> None:
        self._clear()
        click.echo(f"edgeharfer: {line}", err=True)

    def _clear(self) -> None:
        if self._bar is not None:
            click.echo("\r\x1b[K", nl=False, err=True)  # the bar is redrawn below the line
