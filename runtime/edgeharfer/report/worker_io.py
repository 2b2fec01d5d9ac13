"""Standard input and output of worker processes: one JSON object per line in both directions."""

from __future__ import annotations

import contextlib
import json
import os
import select
import sys
from collections.abc import Callable, Iterator
from typing import IO, Any

PROGRESS_STEP = 0.01


class MessageWriter:
    """Writes messages to the parent process."""

    def __init__(self, out: IO[str]) -> None:
        self._out = out
        self._reported = -1.0

    def begin(self) -> None:
        """Start the progress of another input."""
        self._reported = -1.0

    def report(self, share: float) -> None:
        """Report the share that is done, 0 to 1, in steps of `PROGRESS_STEP`."""
        if share - self._reported >= PROGRESS_STEP:
            self._reported = share
            self.send({"share": round(share, 3)})

    def send(self, message: dict[str, Any]) -> None:
        """Write one message."""
        self._out.write(json.dumps(message) + "\n")
        self._out.flush()


@contextlib.contextmanager
def redirected_output() -> Iterator[IO[str]]:
    """Reserve standard output for messages; what libraries print is discarded."""
    stdout = os.dup(1)
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, 1)
    os.close(devnull)
    with os.fdopen(stdout, "w", encoding="ascii") as out:
        yield out


def serve_parent(serve: Callable[[int, MessageWriter], None]) -> None:
    """Serve the parent process.

    Args:
        serve: Reads requests from a descriptor and writes messages.
    """
    with redirected_output() as out:
        serve(sys.stdin.fileno(), MessageWriter(out))


def input_ended() -> bool:
    """Whether the parent has closed standard input; it sends nothing while a request is processed."""
    return os.name == "posix" and bool(select.select([sys.stdin.fileno()], [], [], 0)[0])


def read_line(descriptor: int) -> bytes:
    """Read the only line of a descriptor; empty if it ends before the newline."""
    return next(read_lines(descriptor), b"")


def read_lines(descriptor: int) -> Iterator[bytes]:
    """Read lines; one that is not ended is dropped."""
    rest = b""
    while more := os.read(descriptor, 1 << 16):
        *lines, rest = (rest + more).split(b"\n")
        yield from lines
