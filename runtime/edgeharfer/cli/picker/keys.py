"""Read single keys from a terminal, without waiting for Enter."""

from __future__ import annotations

import os
import re
import select
import termios
import tty
from collections import deque
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Self

UP, DOWN, HOME, END = "up", "down", "home", "end"
ENTER, ESCAPE, BACKSPACE, TAB = "enter", "escape", "backspace", "tab"

_CURSOR = {"A": UP, "B": DOWN, "H": HOME, "F": END}
_NAMES = {
    **{f"\x1b{kind}{letter}": name for kind in "[O" for letter, name in _CURSOR.items()},
    **{"\r": ENTER, "\n": ENTER, "\x1b": ESCAPE, "\x7f": BACKSPACE, "\b": BACKSPACE, "\t": TAB},
}
# ECMA-48 control sequences, cursor keys in application mode, or one character.
_KEY = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1bO[@-~]|.", re.DOTALL)
_SEQUENCE_TIMEOUT_S = 0.05
"""Time in which the rest of an escape sequence arrives; without it Escape is a key of its own."""


class Keys:
    """Reads keys inside a `with` block; Ctrl-C remains a signal."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._pending: deque[str] = deque()

    def __enter__(self) -> Self:
        self._attributes = termios.tcgetattr(self._descriptor)
        tty.setcbreak(self._descriptor)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        termios.tcsetattr(self._descriptor, termios.TCSAFLUSH, self._attributes)

    def next(self, timeout_s: float) -> str | None:
        """Wait for a key.

        Returns:
            The name of a special key or a printable character; None if no key was pressed in time.

        Raises:
            EOFError: The input has ended.
        """
        if not self._pending and self._ready(timeout_s):
            self._pending.extend(_KEY.findall(self._read()))
        while self._pending:
            key = self._pending.popleft()
            if key in _NAMES or (len(key) == 1 and key.isprintable()):
                return _NAMES.get(key, key)
        return None

    def _read(self) -> str:
        data = self._read_chunk()
        # Possibly an incomplete escape sequence or multi-byte character.
        while (data.endswith(b"\x1b") or not _is_complete(data)) and self._ready(_SEQUENCE_TIMEOUT_S):
            data += self._read_chunk()
        return data.decode("utf-8", "replace")

    def _read_chunk(self) -> bytes:
        data = os.read(self._descriptor, 4096)
        if not data:
            raise EOFError
        return data

    def _ready(self, timeout_s: float) -> bool:
        return bool(select.select([self._descriptor], [], [], timeout_s)[0])


def _is_complete(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
