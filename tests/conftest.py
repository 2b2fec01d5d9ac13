"""What holds for every test: no network beyond this machine, no screen for charts, quiet TensorFlow."""

from __future__ import annotations

import ipaddress
import os
import socket
from typing import Any

import pytest

os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


def _is_local(family: int, address: Any) -> bool:
    if family not in (socket.AF_INET, socket.AF_INET6):
        return True
    host = str(address[0])
    if host in ("", "localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@pytest.fixture(autouse=True)
def only_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python code that would leave this machine fails at once instead of passing only where a network is."""
    connect, connect_ex = socket.socket.connect, socket.socket.connect_ex

    def guard(this: socket.socket, address: Any) -> None:
        if not _is_local(this.family, address):
            pytest.fail(f"a test tried to connect to {address}")

    def guarded_connect(this: socket.socket, address: Any) -> None:
        guard(this, address)
        connect(this, address)

    def guarded_connect_ex(this: socket.socket, address: Any) -> int:
        guard(this, address)
        return connect_ex(this, address)

    monkeypatch.setattr(socket.socket, "connect", guarded_connect)
    monkeypatch.setattr(socket.socket, "connect_ex", guarded_connect_ex)
