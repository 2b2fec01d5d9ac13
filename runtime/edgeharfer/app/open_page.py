"""Opens the page of the app in the default browser of a desktop."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from urllib.parse import urlsplit, urlunsplit

from edgeharfer.runtime.child import Child, code_command
from edgeharfer.runtime.http.origins import LOOPBACK

_REMOTE = ("SSH_CONNECTION", "SSH_CLIENT", "SSH_TTY")
_DISPLAYS = ("DISPLAY", "WAYLAND_DISPLAY")
_EVERY_ADDRESS = frozenset({"0.0.0.0", "::"})
_HAS_DESKTOP = ("win32", "darwin")
"""Platforms on which a browser needs no variable for its display."""


def has_desktop(environment: Mapping[str, str] = os.environ, platform: str = sys.platform) -> bool:
    """Whether a browser window would appear in front of the user: a display, and no SSH session."""
    if any(environment.get(name) for name in _REMOTE):
        return False
    return platform in _HAS_DESKTOP or any(environment.get(name) for name in _DISPLAYS)


def local_address(address: str) -> str:
    """The address of the page on this machine, for an app that listens on every address."""
    parts = urlsplit(address)
    if parts.hostname not in _EVERY_ADDRESS:
        return address
    return urlunsplit(parts._replace(netloc=f"{LOOPBACK}:{parts.port}"))


@contextmanager
def browser_process(address: str) -> Iterator[None]:
    """Open an address for the duration of a `with` block, with Python's `webbrowser` in a process of its own.

    The browser itself stays open. A process of its own, because some browsers are waited for until they are
    closed, and text browsers would take the terminal.
    """
    # The browser is not part of edgeharfer, so it does not get the import path of this process.
    command = code_command("import sys, webbrowser; webbrowser.open(sys.argv[1])", local_address(address))
    with Child(
        command, stderr=subprocess.DEVNULL, environment={"PYTHONPATH": os.environ.get("PYTHONPATH", "")}
    ):
        yield
