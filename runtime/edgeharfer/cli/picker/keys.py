"""Keys from a terminal, one at a time, without waiting for Enter."""

from __future__ import annotations

import os
import re
import select
import termios
import tty
from collections import deque
from types import TracebackType
from typing import Self

UP, DOWN, HOME, END = "up", "down", "home", "end"
ENTER, ESCAPE, BACKSPACE, TAB = "enter", "escape", "backspace", "tab"

_CURSOR = {"A": UP, "B": DOWN, "H": HOME, "F": END}
_NAMES = {
    **{f"\x1b{kind}{letter}": name for kind in "[O" for letter, name in _CURSOR.items()},
    **{"\r": ENTER, "\n": ENTER, "\x1b": ESCAPE, "\x7f": BACKSPACE, "\b": BACKSPACE, "\t": TAB},
}
# ECMA-48: control sequences; then what terminals send for cursor keys in application mode; then one sign.
_KEY = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1bO[@-~]|.", re.DOTALL)
_REST_S = 0.05
"""The rest of a sequence follows at once; Escape alone is a key."""


class Keys:
    """Reads keys while the `with` block lasts; Ctrl-C stays a signal."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._waiting: deque[str] = deque()

    def __enter__(self) -> Self:
        self._before = termios.tcgetattr(self._descriptor)
        tty.setcbreak(self._descriptor)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        termios.tcsetattr(self._descriptor, termios.TCSAFLUSH, self._before)

    def next(self, timeout_s: float) -> str | None:
        """A name of above or the sign itself; None where no key came in time. Raises EOFError at the end."""
        if not self._waiting and self._ready(timeout_s):
            self._waiting.extend(_KEY.findall(self._read()))
        while self._waiting:
            key = self._waiting.popleft()
            if key in _NAMES or (len(key) == 1 and key.isprintable()):
                return _NAMES.get(key, key)
        return None

    def _read(self) -> str:
        data = self._some()
        # Escape, or the beginning of more: a sequence, or a sign of several bytes.
        while (data.endswith(b"\x1b") or not _is_whole(data)) and self._ready(_REST_S):
            data += self._some()
        return data.decode("utf-8", "replace")

    def _some(self) -> bytes:
        data = os.read(self._descriptor, 4096)
        if not data:
            raise EOFError
        return data

    def _ready(self, timeout_s: float) -> bool:
        return bool(select.select([self._descriptor], [], [], timeout_s)[0])


def _is_whole(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
