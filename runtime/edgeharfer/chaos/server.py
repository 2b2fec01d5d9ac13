"""A Motion JPEG server on the loopback interface that can be stopped, restarted, silenced and frozen."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from edgeharfer.runtime.closing import Closing

if TYPE_CHECKING:
    from typing_extensions import Self

HEAD = b"HTTP/1.0 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=frame\r\n\r\n"
PART = b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n"


class MjpegServer(Closing):
    """Sends `picture(n)` for n = 0, 1, ... at `fps` to any number of clients.

    Attributes:
        silent: Keep connections open but send no pictures.
        frozen: Send the same picture repeatedly.
        mute: Accept connections but send nothing, not even a response header.
        port: Port of the server, chosen by the first `serve`.
    """

    def __init__(self, picture: Callable[[int], bytes], fps: float = 30.0) -> None:
        self.picture, self.fps = picture, fps
        self.silent = self.frozen = self.mute = False
        self.number = 0
        self.port = 0
        self._stopped = threading.Event()
        self._threads: list[threading.Thread] = []
        self._listener: socket.socket | None = None

    @property
    def url(self) -> str:
        """Address of the stream."""
        return f"http://127.0.0.1:{self.port}/video"

    def serve(self) -> None:
        """Start listening, on the same port as before."""
        self._stopped = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", self.port), backlog=8)
        self._listener.settimeout(0.02)
        self.port = self._listener.getsockname()[1]
        self._start(self._listen, self._listener, self._stopped)

    def stop_serving(self) -> None:
        """Stop listening and close all connections."""
        self._stopped.set()
        for thread in self._threads:
            thread.join()
        self._threads.clear()

    def __enter__(self) -> Self:
        self.serve()
        return self

    def close(self) -> None:
        self.stop_serving()

    def _start(self, target: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, name="server")
        self._threads.append(thread)
        thread.start()

    def _listen(self, listener: socket.socket, stopped: threading.Event) -> None:
        with listener:
            while not stopped.is_set():
                with contextlib.suppress(TimeoutError):
                    self._start(self._serve, listener.accept()[0], stopped)

    def _serve(self, client: socket.socket, stopped: threading.Event) -> None:
        client.settimeout(5)
        with client, contextlib.suppress(OSError):  # the client has disconnected
            if not self.mute:
                client.recv(4096)
                client.sendall(HEAD)
            while not stopped.is_set():
                if not (self.silent or self.mute):
                    self.number += not self.frozen
                    data = self.picture(self.number)
                    client.sendall(PART % len(data) + data + b"\r\n")
                stopped.wait(1 / self.fps)
