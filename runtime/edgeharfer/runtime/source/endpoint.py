"""TCP and TLS connections to the server of a stream, limited by a deadline."""

from __future__ import annotations

import http.client
import io
import selectors
import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from edgeharfer.runtime.clock import Clock
from edgeharfer.runtime.errors import SourceError
from edgeharfer.runtime.source.address import Address

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_TLS_SCHEMES = ("https", "rtsps")
# A wait for a socket that another thread closes may not end by itself.
_WAIT_S = 1.0


class Deadline:
    """A deadline for network operations that can be extended."""

    def __init__(self, clock: Clock, seconds: float) -> None:
        self._clock = clock
        self.extend(seconds)

    def extend(self, seconds: float) -> None:
        """Set the deadline to this many seconds from now."""
        self._at_s = self._clock.monotonic() + seconds

    def remaining_s(self) -> float:
        """Return the time left in seconds.

        Raises:
            TimeoutError: The deadline has passed.
        """
        remaining_s = self._at_s - self._clock.monotonic()
        if remaining_s <= 0:
            raise TimeoutError("timed out")
        return remaining_s

    def sleep(self, seconds: float) -> None:
        """Sleep, but not beyond the deadline.

        Raises:
            TimeoutError: The deadline has passed.
        """
        self._clock.sleep(min(seconds, self.remaining_s()))


class Endpoint:
    """The server of an address. Its name is resolved once, so that all connections go to the same host.

    TLS certificates are not verified: those of cameras are self-signed and rarely match a host name.
    """

    def __init__(self, address: Address) -> None:
        self.address = address
        self._sockaddr: tuple[socket.AddressFamily, tuple[object, ...]] | None = None

    def connect(self, deadline: Deadline) -> Connection:
        """Open a new connection.

        Raises:
            OSError: The connection or the TLS handshake failed.
        """
        sock = self._connect(deadline)
        if self.address.scheme not in _TLS_SCHEMES:
            return Connection(sock, deadline)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        sock.settimeout(deadline.remaining_s())
        try:
            return Connection(context.wrap_socket(sock, server_hostname=self.address.host), deadline)
        except BaseException:
            sock.close()
            raise

    def _connect(self, deadline: Deadline) -> socket.socket:
        if self._sockaddr is not None:
            return _open(*self._sockaddr, deadline)
        error: OSError | None = None
        found = socket.getaddrinfo(self.address.host, self.address.port, type=socket.SOCK_STREAM)
        for family, _, _, _, sockaddr in found:
            try:
                sock = _open(family, sockaddr, deadline)
            except OSError as problem:
                error = error or problem
            else:
                self._sockaddr = family, sockaddr
                return sock
        raise error or OSError("the host name has no address")


def _open(family: socket.AddressFamily, sockaddr: tuple[object, ...], deadline: Deadline) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.settimeout(deadline.remaining_s())
        sock.connect(sockaddr)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except BaseException:
        sock.close()
        raise
    return sock


class Connection:
    """A socket whose reads and writes end at the deadline, even if the peer sends single bytes slowly."""

    def __init__(self, sock: socket.socket, deadline: Deadline) -> None:
        self.sock, self._deadline = sock, deadline

    def send(self, data: bytes) -> None:
        """Send all bytes.

        Raises:
            OSError: The connection failed or the deadline has passed.
        """
        self.sock.settimeout(self._deadline.remaining_s())
        self.sock.sendall(data)

    def makefile(self, mode: str = "rb") -> io.BufferedReader:
        """Return a reader of the incoming bytes, as `http.client` expects of a socket."""
        return io.BufferedReader(_Incoming(self.sock, self._deadline))

    def close(self) -> None:
        """Close the connection, which also ends a blocking read in another thread."""
        with suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()


class _Incoming(io.RawIOBase):
    def __init__(self, sock: socket.socket, deadline: Deadline) -> None:
        self._sock, self._deadline = sock, deadline

    def readable(self) -> bool:
        return True

    def readinto(self, space: WriteableBuffer, /) -> int:
        self._sock.settimeout(self._deadline.remaining_s())
        return self._sock.recv_into(space)


class DuplexStream(io.RawIOBase):
    """The bytes of a socket that one thread reads while another one writes.

    OpenSSL must not be called for one connection by two threads at once (openssl-threads(7)), so calls
    alternate, and both threads wait between them.

    Args:
        sock: A connected socket; it becomes non-blocking.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock, self._lock = sock, threading.Lock()
        sock.setblocking(False)

    def readable(self) -> bool:
        return True

    def readinto(self, space: WriteableBuffer, /) -> int:
        return self._call(lambda: self._sock.recv_into(space), selectors.EVENT_READ)

    def sendall(self, data: bytes) -> None:
        """Send all bytes.

        Raises:
            OSError: The connection failed.
        """
        left = memoryview(data)
        while left:
            left = left[self._call(lambda: self._sock.send(left), selectors.EVENT_WRITE) :]  # noqa: B023

    def _call(self, call: Callable[[], int], event: int) -> int:
        while True:
            with self._lock:
                try:
                    return call()
                except ssl.SSLWantReadError:
                    event = selectors.EVENT_READ
                except ssl.SSLWantWriteError:
                    event = selectors.EVENT_WRITE
                except BlockingIOError:
                    pass
            with selectors.DefaultSelector() as selector:
                selector.register(self._sock, event)
                selector.select(_WAIT_S)


def describe_error(error: Exception) -> str:
    """Return what failed and what to do, without the URL, which the messages of some errors repeat."""
    if isinstance(error, TimeoutError):
        return "timed out: check that the device is switched on, the port and the network"
    if isinstance(error, ssl.SSLError):
        reason = error.reason or "unknown reason"
        return f"TLS handshake failed ({reason}): check the port, or use http:// or rtsp:// without TLS"
    if isinstance(error, socket.gaierror):
        return "host name cannot be resolved: check its spelling, or use the IP address"
    if isinstance(error, http.client.HTTPException):
        return "invalid HTTP response: check the port, and whether the address should start with rtsp://"
    if isinstance(error, ConnectionRefusedError):
        return "connection refused: nothing listens on this port: check the host and the port"
    reason = (isinstance(error, OSError) and error.strerror) or "connection failed"
    return f"{reason.lower()}: check the address and the network"


def unreachable_error(name: str, error: Exception) -> SourceError:
    """Return the SourceError for a network error."""
    return SourceError(f"{name}: no video received: {describe_error(error)}")


_STATUS_ADVICE = {
    403: "access denied (status 403): check the permissions of this user and address",
    404: "nothing found there (status 404): check the path of the address",
    454: "the server ended the session (status 454): check that the camera allows another viewer",
    461: "no video over TCP (status 461): enable RTP over RTSP in the camera",
    503: "the server is busy (status 503): close other viewers, or try again later",
}


def status_error(name: str, status: int, *, credentials: bool) -> SourceError:
    """Return the SourceError for an error status of an HTTP or RTSP server.

    Args:
        name: Name of the stream.
        status: The status code.
        credentials: Whether credentials were given.
    """
    if status == 401 and credentials:
        advice = "login failed (status 401): check the user name and password"
    elif status == 401:
        advice = "login failed (status 401): add credentials to the URL as user:password@host"
    else:
        general = f"the server responded with status {status}: check the address"
        advice = _STATUS_ADVICE.get(status, general)
    return SourceError(f"{name}: {advice}")
