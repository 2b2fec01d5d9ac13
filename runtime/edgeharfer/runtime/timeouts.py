"""Time limits in asyncio: `asyncio.timeout` of Python 3.11, and the same for Python 3.10."""

from __future__ import annotations

import asyncio
import sys

__all__ = ["Timeout", "timeout"]

if sys.version_info >= (3, 11):
    from asyncio import Timeout, timeout
else:
    from types import TracebackType

    class Timeout:
        """An asynchronous context manager that cancels its block at a deadline and raises TimeoutError.

        Args:
            when: Deadline in the time of the event loop, None for no deadline yet.
        """

        def __init__(self, when: float | None) -> None:
            self._when = when
            self._task: asyncio.Task[object] | None = None
            self._handle: asyncio.TimerHandle | None = None
            self._expired = False

        def expired(self) -> bool:
            """Whether the deadline has passed."""
            return self._expired

        def reschedule(self, when: float | None) -> None:
            """Change the deadline."""
            self._when = when
            if self._handle is not None:
                self._handle.cancel()
                self._handle = None
            if self._task is not None and when is not None:
                self._handle = asyncio.get_running_loop().call_at(when, self._expire)

        def _expire(self) -> None:
            assert self._task is not None
            self._expired = self._task.cancel()

        async def __aenter__(self) -> Timeout:
            self._task = asyncio.current_task()
            self.reschedule(self._when)
            return self

        async def __aexit__(
            self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
        ) -> None:
            self.reschedule(None)
            self._task = None
            if self._expired and kind is asyncio.CancelledError:
                raise TimeoutError from error

    def timeout(delay: float | None) -> Timeout:
        """A time limit of that many seconds from now, or None."""
        return Timeout(None if delay is None else asyncio.get_running_loop().time() + delay)
