"""Which connections stay open when there are too many of them."""

from __future__ import annotations

from collections import Counter
from typing import Protocol


class Held(Protocol):
    """An open connection."""

    @property
    def address(self) -> str:
        """The client, as limits count it."""

    @property
    def waiting_since_s(self) -> float | None:
        """Since when the server has waited for this client; None while the client waits for the server."""

    def cut(self) -> None:
        """Close it at once."""


class ConnectionLimiter:
    """Bounds the open connections, in all and of one client address.

    A new connection beyond a limit replaces the one for which the server has waited longest: of the same
    address where that has its share, else of the address with the most connections. So clients that send
    their requests are served however many connections others keep open without sending anything.
    """

    def __init__(self, most: int, per_address: int) -> None:
        self._most, self._per_address = most, per_address
        self._open: set[Held] = set()

    def admit(self, new: Held) -> bool:
        """Count a new connection; False where there is no place for it and none can be made."""
        counts = Counter(one.address for one in self._open)
        if counts[new.address] >= self._per_address:
            admitted = self._replace([one for one in self._open if one.address == new.address], counts)
        else:
            admitted = len(self._open) < self._most or self._replace(list(self._open), counts)
        if admitted:
            self._open.add(new)
        return admitted

    def remove(self, gone: Held) -> None:
        """Forget a connection that was closed."""
        self._open.discard(gone)

    def _replace(self, crowd: list[Held], counts: Counter[str]) -> bool:
        """Close one of these; False where the server is working for all of them."""
        waiting = [(-counts[one.address], one.waiting_since_s, one) for one in crowd]
        idle = [(count, since_s, one) for count, since_s, one in waiting if since_s is not None]
        if not idle:
            return False
        _, _, longest = min(idle, key=lambda entry: entry[:2])
        self._open.discard(longest)
        longest.cut()
        return True
