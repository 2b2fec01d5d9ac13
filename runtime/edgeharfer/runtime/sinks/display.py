"""Check for a display before a window is opened: without one, Qt aborts the process."""

from __future__ import annotations

import os
import socket
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2

from edgeharfer.runtime.clock import Clock, SystemClock

TIMEOUT_S = 2.0
RETRY_PAUSES_S = (0.0, 0.1, 0.2, 0.4, 0.8)
COOKIE = b"MIT-MAGIC-COOKIE-1"
X_TCP_PORT = 6000


def window_unavailable_reason() -> str | None:
    """Return why no window can be opened and how to fix it, or None."""
    if not cv2.currentUIFramework() and sys.platform.startswith("linux"):
        return "this OpenCV cannot open windows; install opencv-python, not opencv-python-headless"
    if not display_available():
        shown = os.environ.get("DISPLAY") or "not set"
        return f"no display is available (DISPLAY is {shown}); start a desktop, or use --view web or none"
    return None


def display_available() -> bool:
    """Return whether a display accepts connections; always true on macOS and Windows.

    On Linux an X server must accept a connection. OpenCV's wheels do not support Wayland, so a Wayland
    desktop needs Xwayland.
    """
    with display_connection() as available:
        return available


@contextmanager
def display_connection() -> Iterator[bool]:
    """Keep a connection to the display open inside the block; yields whether there is one.

    A bare X server resets when its last client disconnects and refuses connections meanwhile. The connection
    prevents that until the window has its own.
    """
    if not sys.platform.startswith("linux"):
        yield True
        return
    connection = connect_display(SystemClock())
    try:
        yield connection is not None
    finally:
        if connection is not None:
            connection.close()


def connect_display(clock: Clock) -> socket.socket | None:
    """Connect to the X server of DISPLAY, with retries while it refuses.

    Returns:
        The connection, or None if there is no server or it keeps refusing.
    """
    host, colon, rest = os.environ.get("DISPLAY", "").rpartition(":")
    number = rest.partition(".")[0]
    if not colon or not number.isdecimal():
        return None
    for pause_s in RETRY_PAUSES_S:
        clock.sleep(pause_s)
        for cookie in (*_cookies(number), b""):
            try:
                connection = _connect(host, int(number))
            except (OSError, ValueError, OverflowError):  # ValueError, OverflowError: invalid address
                return None
            if _accepted(connection, cookie):
                return connection
            connection.close()
    return None


def _accepted(connection: socket.socket, cookie: bytes) -> bool:
    """Perform the connection setup of X11 (X.Org, "X Window System Protocol", section 8)."""
    name = COOKIE if cookie else b""
    request = struct.pack("<BxHHHHxx", ord("l"), 11, 0, len(name), len(cookie)) + _pad(name) + _pad(cookie)
    try:
        connection.sendall(request)
        return connection.recv(1) == b"\x01"  # 0 = refused, 2 = further authentication
    except OSError:
        return False


def _connect(host: str, number: int) -> socket.socket:
    if host and host != "unix":
        return socket.create_connection((host.strip("[]"), X_TCP_PORT + number), TIMEOUT_S)
    last = OSError("no socket")
    # Servers also listen on an abstract socket, the only one that may be visible in a container.
    for address in (f"/tmp/.X11-unix/X{number}", f"\0/tmp/.X11-unix/X{number}"):
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(TIMEOUT_S)
        try:
            connection.connect(address)
        except OSError as error:
            connection.close()
            last = error
        else:
            return connection
    raise last


def _cookies(number: str) -> Iterator[bytes]:
    """Yield the cookies for a display from the authority file (format: Xau, `Xauth.h`)."""
    home = Path(os.environ.get("HOME", "/"))
    try:
        data = Path(os.environ.get("XAUTHORITY") or home / ".Xauthority").read_bytes()
    except OSError:
        return
    while len(data) > 2:
        fields = []
        data = data[2:]  # address family
        for _ in range(4):  # address, display number, authorization name, cookie
            size = int.from_bytes(data[:2], "big")
            fields.append(data[2 : 2 + size])
            data = data[2 + size :]
        if fields[1] in (b"", number.encode()) and fields[2] == COOKIE:
            yield fields[3]


def _pad(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
