"""Watches the processes that run `analysis_stub`."""

from __future__ import annotations

import os
from pathlib import Path

from edgeharfer.runtime.clock import SystemClock


def content_of(path: Path) -> str:
    """The content of a file that a process writes, as soon as it is there."""
    clock = SystemClock()
    while not path.exists() or not (content := path.read_text()):
        clock.sleep(0.01)
    return content


def is_running(pid: int) -> bool:
    """Whether there is a process with this id."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def until_ended(pid: int) -> None:
    """Wait until a process has ended, for a minute at most."""
    clock = SystemClock()
    latest_s = clock.monotonic() + 60
    while is_running(pid):
        assert clock.monotonic() < latest_s, f"process {pid} goes on"
        clock.sleep(0.05)
