"""Resource limits of the HTTP server."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class HttpLimits:
    """Limits for clients; times in seconds.

    Attributes:
        head_s: Timeout for a request head, including the pause after the previous request.
        stall_s: Timeout for a client that sends or reads nothing.
        min_rate: Minimum rate of a request body in bytes per second; a client may fall behind for `stall_s`.
        body_s: Timeout for a request body that is not an upload.
        connections: Maximum number of open connections.
        connections_per_address: Maximum number of those from one client address.
    """

    head_s: float = 10.0
    stall_s: float = 15.0
    min_rate: float = 16_000.0
    body_s: float = 10.0
    connections: int = 256
    connections_per_address: int = 128
