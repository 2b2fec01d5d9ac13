"""`edgeharfer run --pick`: what shall be watched, asked in a window or in the terminal."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from importlib import import_module

from edgeharfer.cli.picker.menu import Find, Menu
from edgeharfer.cli.picker.preview import Opener
from edgeharfer.runtime.errors import ConfigError
from edgeharfer.runtime.sinks.display import display_available
from edgeharfer.runtime.source import open_source
from edgeharfer.runtime.source.cameras import find_cameras

NO_DISPLAY = "no display answers"


def pick_source(
    stopping: Callable[[], bool],
    *,
    fullscreen: bool = False,
    find: Find = find_cameras,
    opener: Opener = open_source,
) -> str | None:
    """What the person chose, as `open_source` takes it; None where they left or a stop came.

    Raises ConfigError where there is nothing to ask on.
    """
    lack = window_lack()
    if lack and not _has_terminal():
        raise ConfigError(f"--pick has nothing to ask on: {lack}, and this is no terminal; give --source")
    with _quiet_log(), closing(Menu(find, opener)) as menu:
        if not lack:
            from edgeharfer.cli.picker.window import ask

            return ask(menu, stopping, fullscreen=fullscreen)
        from edgeharfer.cli.picker.terminal import ask as ask_in_terminal

        return ask_in_terminal(menu, stopping, note="" if lack == NO_DISPLAY else lack)


def window_lack() -> str:
    """Why the picker cannot be a window, with what to do about it; "" where it can."""
    if not display_available():
        return NO_DISPLAY
    try:
        import_module("tkinter")
    except ImportError:
        return "a window needs Tk (Debian, Ubuntu, JetPack: sudo apt install python3-tk)"
    return ""


def _has_terminal() -> bool:
    """Keys come from standard input and the menu goes to standard error: results may be piped on."""
    try:
        import_module("termios")
    except ImportError:  # Windows, which always has its own windows
        return False
    return sys.stdin.isatty() and sys.stderr.isatty()


@contextmanager
def _quiet_log() -> Iterator[None]:
    """What is wrong with a source stands beside its picture; a line in the midst of a menu would break it."""
    log, handler = logging.getLogger("edgeharfer"), logging.NullHandler()
    before = log.propagate
    log.addHandler(handler)
    log.propagate = False
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.propagate = before
