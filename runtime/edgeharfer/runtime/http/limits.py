"""The limits of a server."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class HttpLimits:
    """What clients may take of a server. Times in seconds.

    head_s: for a whole request head, and for the pause between two requests. stall_s: how long a client may
    send or read nothing. least_rate: of a request body, in bytes per second; a client may fall behind it for
    stall_s. body_s: for a request body that is not an upload. connections: open at a time;
    connections_per_address: of those, from one client address.
    """

    head_s: float = 10.0
    stall_s: float = 15.0
    least_rate: float = 16_000.0
    body_s: float = 10.0
    connections: int = 256
    connections_per_address: int = 128
