"""Robust standard streams: closed by the caller, on a full disk, or with a reader that has gone."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator

from edgeharfer.runtime.errors import SinkError

_NAMES = (("stdin", "r"), ("stdout", "w"), ("stderr", "w"))


def open_closed_streams() -> None:
    """Open standard streams that the caller closed (`>&-`) on the null device.

    Python sets a closed stream to None, which libraries do not expect, and the next opened file would get
    its descriptor: messages that C code writes to standard error would then end up in that file.
    """
    for number, (name, mode) in enumerate(_NAMES):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # gets the lowest free descriptor
        if getattr(sys, name) is None:
            stream = open(number, mode, encoding="utf-8", closefd=False)  # noqa: SIM115
            setattr(sys, name, stream)
            setattr(sys, f"__{name}__", stream)


class OutputStream(io.TextIOWrapper):
    """Standard output that raises SinkError on a full disk and BrokenPipeError without a reader."""

    def write(self, text: str) -> int:
        with _sink_errors():
            return super().write(text)

    def flush(self) -> None:
        with _sink_errors():
            super().flush()


class ErrorStream(io.TextIOWrapper):
    """Standard error that discards what it cannot write, so that the program continues without a reader."""

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError):
            super().write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            super().flush()


def wrap_output() -> None:
    """Replace `sys.stdout` by an OutputStream, which reports a full disk in one line."""
    stream = sys.stdout
    if isinstance(stream, io.TextIOWrapper):
        sys.stdout = OutputStream(
            stream.buffer,
            encoding=stream.encoding,
            errors=stream.errors,
            line_buffering=stream.line_buffering,
        )


def error_stream(descriptor: int) -> ErrorStream:
    """Return an ErrorStream that writes to the descriptor."""
    file = open(descriptor, "wb")  # noqa: SIM115
    return ErrorStream(file, encoding="utf-8", errors="backslashreplace", line_buffering=True)


@contextlib.contextmanager
def _sink_errors() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise SinkError(
            f"standard output: cannot be written ({error.strerror}); check the free space of its disk"
        ) from error


def drop_output() -> None:
    """Send buffered standard output to the null device, so that the flush at exit cannot fail."""
    with contextlib.suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)
