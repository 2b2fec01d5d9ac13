"""Tell systemd how the service is: sd_notify(3), which is one datagram to a local socket."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Mapping


def notify(message: str, environment: Mapping[str, str] = os.environ) -> bool:
    """Send lines such as "READY=1", "WATCHDOG=1" or "STATUS=…" to NOTIFY_SOCKET; False where nobody asked.

    A leading "@" of the address stands for the zero byte of the abstract namespace. A manager that is
    about to restart may not listen: the message is then lost, as sd_notify's own would be.
    """
    address = environment.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as link:
        link.settimeout(1.0)
        with contextlib.suppress(OSError):
            link.sendto(message.encode(), "\0" + address[1:] if address[0] == "@" else address)
            return True
    return False


def watchdog_s(environment: Mapping[str, str] = os.environ) -> float | None:
    """Seconds within which systemd wants a ping, None where it wants none."""
    microseconds = environment.get("WATCHDOG_USEC", "")
    if not microseconds.isdecimal() or environment.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    return int(microseconds) / 1e6
