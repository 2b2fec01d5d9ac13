"""Calls into ONNX Runtime that are in progress, so that a stop can end one that does not return.

A graph may loop without end, and Python runs no signal handler while its main thread is inside a call. A
thread that learns of the signal otherwise calls `NATIVE_CALLS.stop()`: each call is asked to return, which
ONNX Runtime does between two operators, and KeyboardInterrupt is raised where the call was made.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True, eq=False)
class NativeCall:
    """A call in progress. name: of the model. end: asks it to return. started_s: monotonic time.

    loads: the model is loaded, not run, so there are no results yet.
    """

    name: str
    end: Callable[[], None]
    started_s: float
    is_load: bool = False


class NativeCalls:
    """The calls of this process, in any thread."""

    def __init__(self) -> None:
        self._running: set[NativeCall] = set()
        self._stopped_s: float | None = None

    @contextmanager
    def call(self, name: str, end: Callable[[], None], *, is_load: bool = False) -> Iterator[None]:
        """The block is one call. Raises KeyboardInterrupt where a stop ended it, or came before it."""
        call = NativeCall(name, end, time.monotonic(), is_load)
        self._running.add(call)  # before the look at the stop, so that one of both notices the other
        try:
            if self._stopped_s is not None:
                raise KeyboardInterrupt
            yield
        except Exception as error:
            if self._stopped_s is not None:
                raise KeyboardInterrupt from error
            raise
        finally:
            self._running.discard(call)

    def stop(self) -> None:
        """Ask all calls to return, and let no other begin."""
        if self._stopped_s is None:
            self._stopped_s = time.monotonic()
        for call in tuple(self._running):
            call.end()

    def stuck(self, grace_s: float) -> NativeCall | None:
        """A call that has not returned for so long since it was asked to, or None."""
        stopped_s = self._stopped_s
        if stopped_s is None or time.monotonic() - stopped_s < grace_s:
            return None
        return next((call for call in tuple(self._running) if call.started_s <= stopped_s), None)

    def reset(self) -> None:
        """Let calls begin again."""
        self._stopped_s = None


NATIVE_CALLS = NativeCalls()
"""Of this process: a signal is for all of it."""
