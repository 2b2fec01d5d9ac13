"""A process from which the reader processes of several sources are forked.

Every reader process needs OpenCV and PyAV, which take half a second of processor time and tens of megabytes.
The server imports them once, and has a single thread, so that it can be forked safely. Each source still has
a reader process of its own: a decoder that crashes or hangs affects no other source.

The server answers requests on its socket, each with one line: "fork" with a file descriptor, "wait PID" and
"kill PID". It exits when its peer closes the socket; readers exit when the peers of their sockets do.
"""

from __future__ import annotations

import gc
import os
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable

from edgeharfer.runtime.child import Child, child_command
from edgeharfer.runtime.closing import Closing

START_S = 60.0
"""Maximum time for the first answer, which comes after the imports, on a busy machine."""
ANSWER_S = 5.0
"""Maximum time for further answers."""
STOP_S = 0.5
"""Time for a reader to exit on its own, and for a killed one to end."""
_POLL_S, _STEP_S = 0.01, 0.1
_RUNNING = "running"
_MAX_LINE = 64


def is_supported() -> bool:
    """Return whether readers can be forked here. The libraries of macOS do not allow it."""
    return sys.platform == "linux"


class ReaderServer(Closing):
    """Starts the server with the first reader, and again if it has ended. Can be used from any thread.

    Args:
        stopping: Polled while the server starts; once it returns True, OSError is raised.
    """

    def __init__(self, stopping: Callable[[], bool] = lambda: False) -> None:
        self._stopping = stopping
        self._ready = False
        self._lock = threading.Lock()
        self._server: Child | None = None
        self._sock: socket.socket | None = None
        self._closed = False

    def start_reader(self) -> ForkedReader:
        """Start a reader process.

        Raises:
            OSError: It cannot be started.
        """
        sock, reader_sock = socket.socketpair()
        with reader_sock:
            try:
                pid = int(self._ask("fork", reader_sock.fileno()))
            except BaseException:
                sock.close()
                raise
        return ForkedReader(self, pid, sock)

    def close(self) -> None:
        """End the server. Close the readers first."""
        with self._lock:
            self._closed = True
            self._stop()

    def exit_code(self, pid: int, *, kill: bool = False) -> int | None:
        """Return the exit code of a reader, negative for a signal; None while it runs.

        Args:
            pid: Process ID of the reader.
            kill: Kill it first.

        Raises:
            OSError: The server has ended, or does not know the reader.
        """
        answer = self._ask(f"{'kill' if kill else 'wait'} {pid}")
        return None if answer == _RUNNING else int(answer)

    def _ask(self, request: str, *descriptors: int) -> str:
        with self._lock:
            try:
                sock = self._running()
                socket.send_fds(sock, [request.encode() + b"\n"], descriptors)
                answer = self._receive(sock)
            except OSError:
                self._stop()
                raise
        if answer.startswith("error"):
            raise OSError(answer)
        return answer

    def _receive(self, sock: socket.socket) -> str:
        end_s = time.monotonic() + (ANSWER_S if self._ready else START_S)
        while self._ready or not self._stopping():
            try:
                answer = sock.recv(_MAX_LINE).decode().strip()
            except TimeoutError:
                if time.monotonic() > end_s:
                    raise
                continue
            if not answer:
                break
            self._ready = True
            return answer
        raise OSError("the server of the reader processes has ended, or the run was stopped")

    def _running(self) -> socket.socket:
        """Return the socket of the running server."""
        if self._closed:
            raise OSError("the server of the reader processes is closed")
        if self._sock is None:
            self._sock, server_sock = socket.socketpair()
            self._sock.settimeout(_STEP_S)
            with server_sock:
                self._server = Child(
                    child_command(__name__, str(server_sock.fileno())),
                    pass_fds=(server_sock.fileno(),),
                    grace_s=STOP_S,
                    # More threads than the first one could not be forked.
                    environment={"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
                )
        return self._sock

    def _stop(self) -> None:
        sock, server = self._sock, self._server
        self._sock = self._server = None
        self._ready = False
        if sock is not None:
            sock.close()
        if server is not None:
            server.close()


class ForkedReader:
    """A reader process that the server has forked, and the socket to it."""

    def __init__(self, server: ReaderServer, pid: int, sock: socket.socket) -> None:
        self._server, self.pid, self.sock = server, pid, sock

    def end(self) -> int | None:
        """Close the socket, wait for the process, and kill it if it does not exit in time.

        Returns:
            The exit code; None if the process was killed here, or the server has ended.
        """
        self.sock.close()
        try:
            if (code := self._wait()) is None:
                self._server.exit_code(self.pid, kill=True)
                self._wait()
        except OSError:  # a reader without a server exits by itself, as its socket is closed
            return None
        return code

    def _wait(self) -> int | None:
        end_s = time.monotonic() + STOP_S
        while (code := self._server.exit_code(self.pid)) is None and time.monotonic() < end_s:
            time.sleep(_POLL_S)
        return code


def main(descriptor: int) -> None:
    """Serve requests until the peer closes the socket.

    Args:
        descriptor: File descriptor of the socket.
    """
    from edgeharfer.runtime.source import reader, stream_source  # noqa: F401 - imported once for all readers

    "localhost".encode("idna")  # imports what looking up a host name needs, which is a megabyte
    gc.collect()
    gc.freeze()  # keeps the memory shared
    pids: set[int] = set()
    with socket.socket(fileno=descriptor) as sock:
        while True:
            request, descriptors, _, _ = socket.recv_fds(sock, _MAX_LINE, 1)
            if not request:
                return
            sock.sendall(f"{_answer(request.decode().split(), descriptors, pids, sock)}\n".encode())


def _answer(words: list[str], descriptors: list[int], pids: set[int], sock: socket.socket) -> str:
    try:
        if words == ["fork"]:
            pid = _fork(descriptors[0], sock)
            pids.add(pid)
            return str(pid)
        method, pid = words[0], int(words[1])
        if pid not in pids:
            return f"error: no reader {pid}"
        if method == "kill":
            os.kill(pid, 9)
        ended, status = os.waitpid(pid, os.WNOHANG)
    except (OSError, ValueError, IndexError) as error:
        return f"error: {error}"[: _MAX_LINE - 1]
    if not ended:
        return _RUNNING
    pids.remove(pid)
    return str(os.waitstatus_to_exitcode(status))


def _fork(descriptor: int, sock: socket.socket) -> int:
    """Fork a reader for a socket; return its process ID."""
    from edgeharfer.runtime.source import reader

    pid = os.fork()
    if pid:
        os.close(descriptor)
        return pid
    code = 1
    try:
        sock.close()
        reader.main(descriptor)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


if __name__ == "__main__":
    main(int(sys.argv[1]))
