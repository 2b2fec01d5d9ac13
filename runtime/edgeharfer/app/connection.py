"""One connection to a browser, with an end to every wait.

uvicorn waits for ever for a request's head, and for a reader that does not read. Both are bounded here,
so that slow clients cost a socket for some seconds and nothing more.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_S = 10.0
STALL_S = 15.0
BUFFER_BYTES = 64 * 1024
"""What a reader may be behind: of the answers themselves, and again in the system's send buffer."""


class Connection(H11Protocol):
    """uvicorn's own, with time limits."""

    _head_timer: asyncio.TimerHandle | None = None
    _stall_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if self.limit_concurrency is not None and len(self.connections) > self.limit_concurrency:
            transport.abort()
            return
        transport.set_write_buffer_limits(high=BUFFER_BYTES)
        own = transport.get_extra_info("socket")
        if own is not None:
            own.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER_BYTES)
        self._head_timer = self.loop.call_later(HEAD_S, self._give_up_head)

    def connection_lost(self, exc: Exception | None) -> None:
        _cancel(self._head_timer)
        _cancel(self._stall_timer)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        waiting = self._is_idle()
        super().data_received(data)
        if waiting and self._is_idle() and not self.transport.is_closing():
            if self._head_timer is None or self._head_timer.cancelled():  # a head begins
                self._head_timer = self.loop.call_later(HEAD_S, self._give_up_head)
        elif not self._is_idle():
            _cancel(self._head_timer)

    def pause_writing(self) -> None:
        super().pause_writing()
        _cancel(self._stall_timer)
        self._stall_timer = self.loop.call_later(STALL_S, self._cut)

    def resume_writing(self) -> None:
        super().resume_writing()
        _cancel(self._stall_timer)

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        _cancel(self._stall_timer)  # closing waits until all is read, and so has to end, too
        self._stall_timer = self.loop.call_later(STALL_S, self._cut)

    def _is_idle(self) -> bool:
        """Between two requests."""
        cycle: Any = self.cycle
        return cycle is None or bool(cycle.response_complete)

    def _give_up_head(self) -> None:
        if self._is_idle():
            self._cut()

    def _cut(self) -> None:
        """Break off at once; the system would else keep what was not read, for many minutes."""
        own = self.transport.get_extra_info("socket")
        if own is not None and os.name == "posix":
            own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()


def _cancel(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
