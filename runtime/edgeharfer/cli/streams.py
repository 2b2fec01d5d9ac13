"""Standard input, output and error: closed by the caller, full, or no longer read by anybody."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from typing import Any

from edgeharfer.runtime.errors import SinkError

_NAMES = (("stdin", "r"), ("stdout", "w"), ("stderr", "w"))


def open_closed_streams() -> None:
    """Open what the caller has closed (`>&-`) on the null device.

    Python leaves None in its place, on which libraries fail, and the next file that is opened would take its
    number: what C code says on standard error would then stand in that file.
    """
    for number, (name, mode) in enumerate(_NAMES):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # takes the lowest number that is free
        if getattr(sys, name) is None:
            stream = open(number, mode, encoding="utf-8", closefd=False)  # noqa: SIM115
            setattr(sys, name, stream)
            setattr(sys, f"__{name}__", stream)


class OutputStream(io.TextIOWrapper):
    """Standard output. Raises SinkError where it is full, BrokenPipeError where its reader has gone."""

    def write(self, text: str) -> int:
        with _sink_errors():
            return super().write(text)

    def flush(self) -> None:
        with _sink_errors():
            super().flush()


class ErrorStream(io.TextIOWrapper):
    """Standard error. Where nobody reads it any more, what is written is lost and the work goes on."""

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError):
            super().write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            super().flush()


def wrap_output() -> None:
    """Have standard output say in one line that its disk is full."""
    stream = sys.stdout
    if isinstance(stream, io.TextIOWrapper):
        how: dict[str, Any] = {"encoding": stream.encoding, "errors": stream.errors}
        how["line_buffering"] = stream.line_buffering
        sys.stdout = OutputStream(stream.buffer, **how)


def error_stream(descriptor: int) -> ErrorStream:
    """Standard error on a descriptor."""
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
            f"standard output: cannot be written ({error.strerror}); check free space where it leads"
        ) from error


def drop_output() -> None:
    """Have the null device take what standard output still holds, or Python would fail on it once more."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
