"""Registry of running ONNX Runtime calls, so that a stop can cancel one that does not return.

A graph may loop forever, and Python runs no signal handler while its main thread is inside a native call. A
thread that receives the signal in another way calls `NATIVE_CALLS.stop()`. It asks each call to return, which
ONNX Runtime does between two operators, and the caller then gets a KeyboardInterrupt.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType


@dataclass(eq=False, slots=True)
class NativeCall:
    """A call in progress, which the `with` block of `NativeCalls.call` registers.

    Attributes:
        calls: The registry.
        name: Name of the model.
        cancel: Asks the call to return.
        started_s: Start of the call, monotonic time.
        thread: Identifier of the thread that makes the call.
        is_load: The model is being loaded, not run, so there are no results yet.
    """

    calls: NativeCalls
    name: str
    cancel: Callable[[], None]
    started_s: float
    thread: int
    is_load: bool = False

    def __enter__(self) -> None:
        # Registered before the check, so that either `stop` or this call sees the other.
        self.calls._running.add(self)
        if self.calls._stopped_s is not None:
            self.calls._running.discard(self)
            raise KeyboardInterrupt

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.calls._running.discard(self)
        if isinstance(error, Exception) and self.calls._stopped_s is not None:
            raise KeyboardInterrupt from error


class NativeCalls:
    """The ONNX Runtime calls of this process, in all threads."""

    def __init__(self) -> None:
        self._running: set[NativeCall] = set()
        self._stopped_s: float | None = None

    def call(self, name: str, cancel: Callable[[], None], *, is_load: bool = False) -> NativeCall:
        """Register a `with` block as one call.

        Args:
            name: Name of the model.
            cancel: Asks the call to return; may be called from another thread.
            is_load: The call loads the model.

        Raises:
            KeyboardInterrupt: The call was cancelled, or `stop` was called before it started.
        """
        return NativeCall(self, name, cancel, time.monotonic(), threading.get_ident(), is_load)

    def stop(self) -> None:
        """Cancel all calls and refuse new ones."""
        if self._stopped_s is None:
            self._stopped_s = time.monotonic()
        for call in tuple(self._running):
            call.cancel()

    def cancel_in(self, thread: int) -> bool:
        """Cancel the calls of one thread, which then fail; return whether there were any."""
        calls = [call for call in tuple(self._running) if call.thread == thread]
        for call in calls:
            call.cancel()
        return bool(calls)

    def stuck(self, grace_s: float) -> NativeCall | None:
        """Return a call that has not returned within `grace_s` seconds after `stop`, or None."""
        stopped_s = self._stopped_s
        if stopped_s is None or time.monotonic() - stopped_s < grace_s:
            return None
        return next((call for call in tuple(self._running) if call.started_s <= stopped_s), None)

    def reset(self) -> None:
        """Allow calls again."""
        self._stopped_s = None


NATIVE_CALLS = NativeCalls()
"""The registry of this process; a signal stops all of its calls."""
