"""Whether a window can open here. It must be known beforehand: Qt aborts the process where it cannot."""

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
    """Why no window can open here, with what to do about it; None when one can."""
    if not cv2.currentUIFramework() and sys.platform.startswith("linux"):
        return "this OpenCV has no windows; install opencv-python in place of opencv-python-headless"
    if not display_available():
        shown = os.environ.get("DISPLAY") or "not set"
        return f"no display answers (DISPLAY is {shown}); start a desktop session, or use --view web or none"
    return None


def display_available() -> bool:
    """Whether a display takes this process as a client; true without a look on macOS and Windows.

    On Linux an X server has to accept a connection: OpenCV's wheels hold no Wayland part, so a Wayland
    desktop counts through its Xwayland.
    """
    with display_connection() as available:
        return available


@contextmanager
def display_connection() -> Iterator[bool]:
    """The answer of `display_available`, which stays true inside the block.

    A bare X server starts itself anew when its last client leaves, and refuses everyone meanwhile. The
    connection kept here does not let it, until the window has its own.
    """
    if not sys.platform.startswith("linux"):
        yield True
        return
    link = connect_display(SystemClock())
    try:
        yield link is not None
    finally:
        if link is not None:
            link.close()


def connect_display(clock: Clock) -> socket.socket | None:
    """A connection to the X server of DISPLAY; None without one. A server that shuts it is asked again."""
    host, colon, rest = os.environ.get("DISPLAY", "").rpartition(":")
    number = rest.partition(".")[0]
    if not colon or not number.isdecimal():
        return None
    for pause_s in RETRY_PAUSES_S:
        clock.sleep(pause_s)
        for cookie in (*_cookies(number), b""):
            try:
                link = _connect(host, int(number))
            except (OSError, ValueError, OverflowError):  # the latter two: no address can be made of it
                return None
            if _accepted(link, cookie):
                return link
            link.close()
    return None


def _accepted(link: socket.socket, cookie: bytes) -> bool:
    """Connection set-up of the X11 protocol (X.Org, "X Window System Protocol", section 8)."""
    name = COOKIE if cookie else b""
    request = struct.pack("<BxHHHHxx", ord("l"), 11, 0, len(name), len(cookie)) + _pad(name) + _pad(cookie)
    try:
        link.sendall(request)
        return link.recv(1) == b"\x01"  # 0 is refused, 2 asks for more authority
    except OSError:
        return False


def _connect(host: str, number: int) -> socket.socket:
    if host and host != "unix":
        return socket.create_connection((host.strip("[]"), X_TCP_PORT + number), TIMEOUT_S)
    last = OSError("no socket")
    # Servers also listen on the abstract name, which needs no file: a container may see only that one.
    for address in (f"/tmp/.X11-unix/X{number}", f"\0/tmp/.X11-unix/X{number}"):
        link = socket.socket(socket.AF_UNIX)
        link.settimeout(TIMEOUT_S)
        try:
            link.connect(address)
        except OSError as error:
            link.close()
            last = error
        else:
            return link
    raise last


def _cookies(number: str) -> Iterator[bytes]:
    """The keys for a display in the authority file (format: Xau, `Xauth.h`)."""
    home = Path(os.environ.get("HOME", "/"))
    try:
        data = Path(os.environ.get("XAUTHORITY") or home / ".Xauthority").read_bytes()
    except OSError:
        return
    while len(data) > 2:
        fields = []
        data = data[2:]  # the family of the address
        for _ in range(4):  # address, display number, name of the scheme, key
            size = int.from_bytes(data[:2], "big")
            fields.append(data[2 : 2 + size])
            data = data[2 + size :]
        if fields[1] in (b"", number.encode()) and fields[2] == COOKIE:
            yield fields[3]


def _pad(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
