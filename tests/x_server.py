"""An X server that a test has for itself: what is on its screen, keys and clicks for it."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgeharfer.runtime.types import Image
from system_parts import require

PATIENCE_S = 60.0


@dataclass(frozen=True)
class Screen:
    """name: for DISPLAY. folder: where the server keeps its picture."""

    name: str
    folder: Path

    def environment(self, base: Mapping[str, str]) -> dict[str, str]:
        return {**base, "DISPLAY": self.name}

    def picture(self) -> Image:
        """What is shown, BGR, from the file that Xvfb keeps (XWD, X11/XWDFile.h; 32 bits a pixel)."""
        data = (self.folder / "Xvfb_screen0").read_bytes()
        header = np.frombuffer(data, ">u4", 20)
        start, width, height, stride, colors = (int(header[i]) for i in (0, 4, 5, 12, 19))
        rows = np.frombuffer(data, np.uint8, height * stride, start + 12 * colors)
        return rows.reshape(height, stride)[:, : 4 * width].reshape(height, width, 4)[:, :, :3]

    def wait_for(self, shown: Callable[[Image], bool]) -> None:
        """Until the picture is as it should be."""
        end = time.monotonic() + PATIENCE_S
        while not shown(self.picture()):
            assert time.monotonic() < end, "it did not come on the screen"
            time.sleep(0.05)

    def wait_for_focus(self, title: str) -> None:
        """Until the program has given the keyboard to its window of that title.

        Keys that come as soon as a dialog is visible can be lost: it may still have to fill its entry.
        """
        end = time.monotonic() + PATIENCE_S
        while (focused := self._focused_title()) != title:
            assert time.monotonic() < end, f"the keyboard belongs to {focused!r}"
            time.sleep(0.02)

    def _focused_title(self) -> str:
        """Empty where no window has the keyboard, or it was closed just now."""
        done = subprocess.run(
            ["xdotool", "getwindowfocus", "getwindowname"], env=self.environment(os.environ), check=False,
            capture_output=True, text=True, timeout=PATIENCE_S,
        )  # fmt: skip
        return done.stdout.strip()

    def xdotool(self, *words: str) -> str:
        command = ["xdotool", *words]
        done = subprocess.run(
            command, env=self.environment(os.environ), check=True, capture_output=True, text=True,
            timeout=PATIENCE_S,
        )  # fmt: skip
        return done.stdout


@contextmanager
def x_server(folder: Path, size: str) -> Iterator[Screen]:
    """Xvfb with a screen of `size`, such as "800x480", on a display number that it chooses.

    Keys do not repeat (-r): on a busy machine a key that xdotool presses may stay down for a second.
    """
    require("Xvfb", "xdotool")
    reader, writer = os.pipe()
    words = ["-displayfd", str(writer), "-screen", "0", f"{size}x24", "-noreset", "-nolisten", "tcp", "-r"]
    server = subprocess.Popen(
        ["Xvfb", *words, "-fbdir", str(folder)], pass_fds=(writer,), stderr=subprocess.DEVNULL
    )
    os.close(writer)
    with os.fdopen(reader) as numbers:
        number = numbers.readline().strip()
    assert number, "Xvfb did not start"
    try:
        yield Screen(f":{number}", folder)
    finally:
        server.terminate()
        server.wait(PATIENCE_S)
