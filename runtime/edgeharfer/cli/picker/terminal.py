"""The source menu in a terminal: arrow keys, and the preview in coloured half blocks."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import zip_longest
from pathlib import Path
from typing import TextIO

import cv2
import numpy as np

from edgeharfer.cli.picker.keys import BACKSPACE, DOWN, END, ENTER, ESCAPE, HOME, TAB, UP, Keys
from edgeharfer.cli.picker.menu import TITLE, Menu
from edgeharfer.cli.picker.preview import PreviewState
from edgeharfer.runtime.overlay.style import printable
from edgeharfer.runtime.types import Image

POLL_S = 0.1
LIST_COLUMNS, MIN_PICTURE = 38, 24
HINTS = "↑↓ choose   Enter start   O open a file   R refresh   Esc quit"
FILE_HINTS = "Tab complete   Enter open   Esc back"
# ECMA-48 "select graphic rendition", with colours of the terminal's own palette.
_PLAIN, _BOLD, _FAINT, _SELECTED = "\x1b[0m", "\x1b[1m", "\x1b[2m", "\x1b[1;36m"
_STATE_COLORS = {
    PreviewState.WAITING: "\x1b[33m",
    PreviewState.LIVE: "\x1b[32m",
    PreviewState.FAILED: "\x1b[31m",
}
_MOVES = {UP: -1, "k": -1, DOWN: 1, "j": 1, HOME: -999, END: 999}


def ask(menu: Menu, stopping: Callable[[], bool], *, note: str = "") -> str | None:
    """Show the menu and return the chosen source, or None if the user quit or `stopping` returned True.

    Args:
        menu: Choices and preview.
        stopping: Polled; the menu closes when it returns True.
        note: Shown at the bottom.
    """
    picker = TerminalMenu(menu, sys.stderr, color_count(os.environ), note)
    with Keys(sys.stdin.fileno()) as keys, alternate_screen(sys.stderr):
        while not (picker.done or stopping()):
            picker.draw(shutil.get_terminal_size())
            try:
                key = keys.next(POLL_S)
            except EOFError:
                return None
            if key is not None:
                picker.press(key)
    return picker.chosen


class TerminalMenu:
    """Draws the menu and handles its keys.

    Attributes:
        done: Whether the user has chosen a source or quit.
        chosen: The chosen source, or None.
    """

    def __init__(self, menu: Menu, stream: TextIO, colors: int, note: str = "") -> None:
        self._menu, self._stream, self._colors, self._note = menu, stream, colors, note
        self._file: str | None = None  # file name typed so far; None while not asking for one
        self.done = False
        self.chosen: str | None = None

    def press(self, key: str) -> None:
        """Handle a key."""
        if self._file is not None:
            self._type(self._file, key)
        elif key in (ESCAPE, "q", "Q"):
            self.done = True
        elif key in (ENTER, " "):
            self._start()
        elif key in _MOVES:
            self._menu.move(_MOVES[key])
        elif key in ("o", "O"):
            self._file = ""
        elif key in ("r", "R"):
            self._menu.refresh_cameras()

    def draw(self, size: tuple[int, int]) -> None:
        """Write the whole screen of `size` (columns, rows), overwriting each line."""
        lines = self.lines(*size)
        self._stream.write("\x1b[H" + "\r\n".join(f"\x1b[2K{line}" for line in lines))
        self._stream.flush()

    def lines(self, columns: int, rows: int) -> list[str]:
        """Return the `rows` lines of the screen; the last one lists the keys."""
        preview = self._menu.preview
        dot, message = (
            f"{_STATE_COLORS[preview.state]}●{_PLAIN}",
            truncate(printable(preview.message), columns - 5),
        )
        foot = ["", f"  {dot} {message}", "", *self._bottom(columns)]
        room = rows - 1 - len(foot)
        width = min(columns - 4, LIST_COLUMNS)
        left = [f"{_BOLD}{truncate(TITLE, width)}{_PLAIN}", self._faint(self._menu.summary, width), ""]
        left += self._choices(width, room - len(left))
        right: list[str] = []
        picture_columns = columns - LIST_COLUMNS - 4
        if preview.image is not None and self._colors and picture_columns >= MIN_PICTURE and room > 1:
            right = ["", *half_blocks(preview.image, picture_columns, room - 1, self._colors)]
        body = [
            f"  {one}\x1b[{LIST_COLUMNS + 3}G{other}"
            for one, other in zip_longest(left[:room], right, fillvalue="")
        ]
        return ["", *body, *[""] * (room - len(body)), *foot][-rows:]

    def _choices(self, width: int, rows: int) -> Iterator[str]:
        """Yield the lines of as many choices as fit, including the selected one; spaced out if all fit."""
        choices, selected = self._menu.choices, self._menu.index
        spaced = 3 * len(choices) <= rows
        room = max(1, rows // 2)
        first = min(max(0, selected - room // 2), max(0, len(choices) - room))
        for number in range(first, min(first + room, len(choices))):
            choice, mark = choices[number], "▌" if number == selected else " "
            style = _SELECTED if number == selected else ""
            yield f"{style}{mark} {truncate(choice.title, width - 2)}{_PLAIN}"
            yield f"{style}{mark}{_PLAIN} {self._faint(choice.detail, width - 2)}"
            if spaced:
                yield ""

    def _bottom(self, columns: int) -> list[str]:
        if self._file is not None:
            typed = self._file[-(columns - 12) :]
            return [
                f"  {_BOLD}File:{_PLAIN} {typed}\x1b[7m \x1b[0m",
                f"  {self._faint(FILE_HINTS, columns - 4)}",
            ]
        note = [f"  {self._faint(self._note, columns - 4)}"] if self._note else []
        return [*note, f"  {self._faint(HINTS, columns - 4)}"]

    def _faint(self, text: str, width: int) -> str:
        return f"{_FAINT}{truncate(text, width)}{_PLAIN}"

    def _start(self) -> None:
        if self._menu.selected.source:
            self.done, self.chosen = True, self._menu.selected.source
        else:
            self._file = ""

    def _type(self, typed: str, key: str) -> None:
        if key == ESCAPE:
            self._file = None
        elif key == ENTER:
            self._file = None
            if typed.strip():
                self._menu.add_file(strip_quotes(typed))
        elif key == BACKSPACE:
            self._file = typed[:-1]
        elif key == TAB:
            self._file = complete_path(typed)
        elif len(key) == 1:
            self._file = typed + key


@contextmanager
def alternate_screen(stream: TextIO) -> Iterator[None]:
    """Switch to the terminal's alternate screen and hide the cursor inside the block."""
    stream.write("\x1b[?1049h\x1b[?25l\x1b[2J")
    try:
        yield
    finally:
        stream.write("\x1b[0m\x1b[?25h\x1b[?1049l")
        stream.flush()


def color_count(environment: Mapping[str, str]) -> int:
    """Number of colours of the terminal: 2**24, 256, or 0 if it has fewer or NO_COLOR is set."""
    if environment.get("NO_COLOR"):
        return 0
    if environment.get("COLORTERM", "") in ("truecolor", "24bit"):
        return 1 << 24
    return 256 if "256color" in environment.get("TERM", "") else 0


def half_blocks(image: Image, columns: int, rows: int, colors: int) -> list[str]:
    """Render a BGR image as lines of half blocks, two pixels per cell, as large as fits."""
    height, width = image.shape[:2]
    scale = min(columns / width, 2 * rows / height)
    size = max(1, round(width * scale)), 2 * max(1, round(height * scale / 2))
    rgb = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)[:, :, ::-1]
    paint = _true_color if colors > 256 else _cube_color
    return [
        "".join(f"\x1b[38;{paint(top)};48;{paint(low)}m▀" for top, low in zip(upper, lower, strict=True))
        + _PLAIN
        for upper, lower in zip(rgb[::2].tolist(), rgb[1::2].tolist(), strict=True)
    ]


def _true_color(rgb: Sequence[int]) -> str:
    return "2;{};{};{}".format(*rgb)


def _cube_color(rgb: Sequence[int]) -> str:
    """Nearest colour of xterm's 6x6x6 cube, with levels 0, 95, 135, 175, 215, 255."""
    red, green, blue = (0 if value < 48 else 1 if value < 115 else (value - 35) // 40 for value in rgb)
    return f"5;{16 + 36 * red + 6 * green + blue}"


def truncate(text: str, width: int) -> str:
    """Shorten the text to `width` characters, ending in "…"."""
    return text if len(text) <= width else text[: max(0, width - 1)] + "…"


def strip_quotes(typed: str) -> str:
    """Remove the quotes that terminals add to a dropped path."""
    text = typed.strip()
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"" else text


def complete_path(typed: str) -> str:
    """Complete a typed path to the longest common prefix of the matching names."""
    folder, slash, start = typed.rpartition("/")
    try:
        found = [path for path in Path(folder + slash).expanduser().iterdir() if path.name.startswith(start)]
    except OSError:  # no such folder, or no permission
        return typed
    shown = [path for path in found if start or not path.name.startswith(".")]
    names = [path.name + "/" * path.is_dir() for path in shown]
    return folder + slash + os.path.commonprefix(names) if names else typed  # noqa: RUF071 - of names, not paths
