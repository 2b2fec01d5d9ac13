"""One connection to a browser, with an end to every wait.

uvicorn waits for ever for a request's head, and for a reader that does not read. Both are bounded here,
so that slow clients cost a socket for some seconds and nothing more. `body` bounds the wait for a request's
body.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from contextlib import suppress
from typing import Any

import h11
from uvicorn import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from edgeharfer.app.access import client_address
from edgeharfer.app.limiter import ConnectionLimiter

HEAD_S = 10.0
STALL_S = 15.0
BUFFER_BYTES = 64 * 1024
"""What a reader may be behind: of the answers themselves, and again in the system's send buffer."""


class Connection(H11Protocol):
    """uvicorn's own, with time limits.

    Timers end with the connection: the socket of one that is gone cannot be used any more.
    """

    _head_timer: asyncio.TimerHandle | None = None
    _stall_timer: asyncio.TimerHandle | None = None
    _lost = False

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        limiter: ConnectionLimiter,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._limiter = limiter
        self._heard_s = self.loop.time()

    @property
    def address(self) -> str:
        """The client, as limits count it."""
        return client_address(self.client[0] if self.client else None)

    @property
    def waiting_since_s(self) -> float | None:
        """Since when the server has waited for this client; None while the client waits for the server."""
        if self._is_idle() or self.flow.write_paused:
            return self._heard_s
        sending = self.cycle.more_body and not self.flow.read_paused
        return self._heard_s if sending else None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if not self._limiter.admit(self):
            self.cut()
            return
        transport.set_write_buffer_limits(high=BUFFER_BYTES)
        self._set_option(socket.SO_SNDBUF, BUFFER_BYTES)
        self._head_timer = self.loop.call_later(HEAD_S, self._give_up_head)

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = True
        self._limiter.remove(self)
        _cancel(self._head_timer)
        _cancel(self._stall_timer)
        self._unset_keepalive_if_required()  # uvicorn leaves it running after a reset
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        waiting = self._is_idle()
        self._heard_s = self.loop.time()
        super().data_received(data)
        if waiting and self._is_idle() and not self.transport.is_closing():
            if self._head_timer is None or self._head_timer.cancelled():  # a head begins
                self._head_timer = self.loop.call_later(HEAD_S, self._give_up_head)
        elif not self._is_idle():
            _cancel(self._head_timer)

    def send_400_response(self, msg: str) -> None:
        """Refuse what is not HTTP. Where an answer has begun, no other can follow: the connection ends."""
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True  # the app has nothing further to send
            self.cycle.message_event.set()
        try:
            super().send_400_response(msg)
        except h11.LocalProtocolError:
            self.cut()

    def on_response_complete(self) -> None:
        self._heard_s = self.loop.time()
        super().on_response_complete()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._heard_s = self.loop.time()
        self._end_after_stall()

    def resume_writing(self) -> None:
        super().resume_writing()
        _cancel(self._stall_timer)

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        self._end_after_stall()  # closing waits until all is read, and so has to end, too

    def cut(self) -> None:
        """Break off at once; the system would else keep what was not read, for many minutes."""
        if self._lost:
            return
        if os.name == "posix":
            self._set_option(socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    def _is_idle(self) -> bool:
        """Between two requests."""
        cycle: Any = self.cycle
        return cycle is None or bool(cycle.response_complete)

    def _give_up_head(self) -> None:
        if self._is_idle():
            self.cut()

    def _end_after_stall(self) -> None:
        _cancel(self._stall_timer)
        if not self._lost:
            self._stall_timer = self.loop.call_later(STALL_S, self.cut)

    def _set_option(self, option: int, value: int | bytes) -> None:
        own = self.transport.get_extra_info("socket")
        if own is not None:
            with suppress(OSError):  # macOS refuses it for a connection that the client has reset
                own.setsockopt(socket.SOL_SOCKET, option, value)


def _cancel(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
