"""Connections to the one server that a stream's address names, bounded in time."""

from __future__ import annotations

import io
import socket
import ssl
from contextlib import suppress
from typing import TYPE_CHECKING

from edgeharfer.runtime.clock import Clock
from edgeharfer.runtime.errors import SourceError
from edgeharfer.runtime.source.address import Address

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_TLS_SCHEMES = ("https", "rtsps")


class Deadline:
    """A point in time by which a stream must have answered, moved on for each step."""

    def __init__(self, clock: Clock, seconds: float) -> None:
        self._clock = clock
        self.extend(seconds)

    def extend(self, seconds: float) -> None:
        """So much time from now on."""
        self._at_s = self._clock.monotonic() + seconds

    def left_s(self) -> float:
        """Seconds that are left. Raises TimeoutError where there are none."""
        left_s = self._at_s - self._clock.monotonic()
        if left_s <= 0:
            raise TimeoutError("timed out")
        return left_s


class Endpoint:
    """The server of an address. Its name is looked up once, so that later connections go to the same host.

    Certificates are not checked: cameras sign their own, and have no name to check.
    """

    def __init__(self, address: Address) -> None:
        self.address = address
        self._place: tuple[socket.AddressFamily, tuple[object, ...]] | None = None

    def connect(self, deadline: Deadline) -> Connection:
        """A new connection. Raises OSError."""
        link = self._connect(deadline)
        if self.address.scheme not in _TLS_SCHEMES:
            return Connection(link, deadline)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        link.settimeout(deadline.left_s())
        try:
            return Connection(context.wrap_socket(link, server_hostname=self.address.host), deadline)
        except BaseException:
            link.close()
            raise

    def _connect(self, deadline: Deadline) -> socket.socket:
        if self._place is not None:
            return _open(*self._place, deadline)
        error: OSError | None = None
        found = socket.getaddrinfo(self.address.host, self.address.port, type=socket.SOCK_STREAM)
        for family, _, _, _, place in found:
            try:
                link = _open(family, place, deadline)
            except OSError as problem:
                error = error or problem
            else:
                self._place = family, place
                return link
        raise error or OSError("the name of the host has no address")


def _open(family: socket.AddressFamily, place: tuple[object, ...], deadline: Deadline) -> socket.socket:
    link = socket.socket(family, socket.SOCK_STREAM)
    try:
        link.settimeout(deadline.left_s())
        link.connect(place)
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except BaseException:
        link.close()
        raise
    return link


class Connection:
    """A socket whose reads and writes end at the deadline, also where the other side sends single bytes."""

    def __init__(self, link: socket.socket, deadline: Deadline) -> None:
        self.link, self._deadline = link, deadline

    def send(self, data: bytes) -> None:
        """Send all of it. Raises OSError."""
        self.link.settimeout(self._deadline.left_s())
        self.link.sendall(data)

    def makefile(self, mode: str = "rb") -> io.BufferedReader:
        """What comes in, as `http.client` asks for it."""
        return io.BufferedReader(_Incoming(self.link, self._deadline))

    def close(self) -> None:
        """Close it, also under a read in another thread."""
        with suppress(OSError):
            self.link.shutdown(socket.SHUT_RDWR)
        self.link.close()


class _Incoming(io.RawIOBase):
    def __init__(self, link: socket.socket, deadline: Deadline) -> None:
        self._link, self._deadline = link, deadline

    def readable(self) -> bool:
        return True

    def readinto(self, space: WriteableBuffer, /) -> int:
        self._link.settimeout(self._deadline.left_s())
        return self._link.recv_into(space)


def why(error: Exception) -> str:
    """A network error in a few words, without the address that some of them repeat."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, ssl.SSLError):
        return f"no TLS connection ({error.reason or 'failed'})"
    if isinstance(error, socket.gaierror):
        return "the name of its host cannot be resolved"
    if isinstance(error, OSError):
        return (error.strerror or "the connection failed").lower()
    return "its answer is not HTTP"


def unreachable(name: str, error: Exception) -> SourceError:
    """The error for a server that cannot be talked to."""
    return SourceError(f"{name}: no video comes from it: {why(error)}: check the address and the network")
