"""A limit on open connections, in total and per client address."""

from __future__ import annotations

from collections import Counter
from typing import Protocol


class TrackedConnection(Protocol):
    """An open connection."""

    @property
    def address(self) -> str:
        """Address of the client, as counted by limits."""

    @property
    def waiting_since_s(self) -> float | None:
        """Time since which the server has waited for the client, None while it is the client that waits."""

    def abort(self) -> None:
        """Close the connection immediately."""


class ConnectionLimiter:
    """Limits the open connections, in total and per client address.

    A new connection beyond a limit replaces the one for which the server has waited longest: one of the same
    address if that has reached its limit, else one of the address with the most connections. So active
    clients are served no matter how many idle connections others keep open.
    """

    def __init__(self, max_connections: int, per_address: int) -> None:
        self._max_connections, self._per_address = max_connections, per_address
        self._open: set[TrackedConnection] = set()

    def admit(self, new: TrackedConnection) -> bool:
        """Register a connection; return False if a limit is reached and no connection can be replaced."""
        counts = Counter(one.address for one in self._open)
        if counts[new.address] >= self._per_address:
            admitted = self._replace([one for one in self._open if one.address == new.address], counts)
        else:
            below_limit = len(self._open) < self._max_connections
            admitted = below_limit or self._replace(list(self._open), counts)
        if admitted:
            self._open.add(new)
        return admitted

    def remove(self, gone: TrackedConnection) -> None:
        """Unregister a closed connection."""
        self._open.discard(gone)

    def _replace(self, crowd: list[TrackedConnection], counts: Counter[str]) -> bool:
        """Close the longest idle of these connections; return False if none is idle."""
        waiting = [(-counts[one.address], one.waiting_since_s, one) for one in crowd]
        idle = [(count, since_s, one) for count, since_s, one in waiting if since_s is not None]
        if not idle:
            return False
        _, _, longest = min(idle, key=lambda entry: entry[:2])
        self._open.discard(longest)
        longest.abort()
        return True
