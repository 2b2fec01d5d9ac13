"""`edgeharfer run --pick`: choose a source in a window or in the terminal."""

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

NO_DISPLAY = "no display is available"


def pick_source(
    stopping: Callable[[], bool],
    *,
    fullscreen: bool = False,
    find: Find = find_cameras,
    opener: Opener = open_source,
) -> str | None:
    """Show the menu and return the chosen source, as `open_source` takes it.

    Args:
        stopping: Polled; the menu closes when it returns True.
        fullscreen: Open the window full-screen.
        find: Finds the connected cameras.
        opener: Opens a source for its preview.

    Returns:
        The source, or None if the user quit or `stopping` returned True.

    Raises:
        ConfigError: There is neither a display nor a terminal.
    """
    unavailable = window_unavailable_reason()
    if unavailable and not _has_terminal():
        raise ConfigError(f"--pick needs a display or a terminal ({unavailable}); use --source instead")
    with _quiet_log(), closing(Menu(find, opener)) as menu:
        if not unavailable:
            from edgeharfer.cli.picker.window import ask

            return ask(menu, stopping, fullscreen=fullscreen)
        from edgeharfer.cli.picker.terminal import ask as ask_in_terminal

        return ask_in_terminal(menu, stopping, note="" if unavailable == NO_DISPLAY else unavailable)


def window_unavailable_reason() -> str:
    """Return why the menu cannot open a window and how to fix it, or ""."""
    if not display_available():
        return NO_DISPLAY
    try:
        import_module("tkinter")
    except ImportError:
        return "a window needs Tk (Debian, Ubuntu, JetPack: sudo apt install python3-tk)"
    return ""


def _has_terminal() -> bool:
    """Check standard input and standard error, as standard output may be a pipe for results."""
    try:
        import_module("termios")
    except ImportError:  # Windows, where a display is always available
        return False
    return sys.stdin.isatty() and sys.stderr.isatty()


@contextmanager
def _quiet_log() -> Iterator[None]:
    """Suppress log output, which would break the menu; source errors are shown in the preview."""
    log, handler = logging.getLogger("edgeharfer"), logging.NullHandler()
    propagate = log.propagate
    log.addHandler(handler)
    log.propagate = False
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.propagate = propagate
