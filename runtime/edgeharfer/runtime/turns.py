"""Whose turn it is: several sources share one processing thread fairly."""

from __future__ import annotations

from collections.abc import Mapping

TOLERANCE_S = 0.02
"""Sources whose shares differ by less than this are equal; the oldest of their frames is processed first."""
MAX_CLAIM_S = 0.2
"""Time that a source can claim later because it used less than its share."""


class FairShare:
    """Chooses the source whose frame is processed next, by start-time fair queueing.

    While there is more work than time, each source gets an equal share of the processing time, whatever its
    frame rate and the cost of its frames. A source that has used less than its share, for example because it
    was lost, can claim MAX_CLAIM_S of the rest later. While there is time for all frames, the order is that
    in which they arrived, within TOLERANCE_S.

    Source: P. Goyal, H. M. Vin, H. Cheng, "Start-time Fair Queuing", IEEE/ACM Transactions on Networking
    5(5), 1997.

    Args:
        count: Number of sources.
    """

    def __init__(self, count: int) -> None:
        self._finish_s = [0.0] * count  # virtual time at which the last frame of each source was finished
        self._now_s = 0.0

    def choose(self, waiting: Mapping[int, float]) -> int:
        """Return the number of the next source, which `charge` completes.

        Args:
            waiting: Monotonic time of the frame of each source that has one. It must not be empty.
        """
        start_s = {number: max(self._finish_s[number], self._now_s - MAX_CLAIM_S) for number in waiting}
        limit_s = min(start_s.values()) + TOLERANCE_S
        chosen = min(
            (number for number in waiting if start_s[number] <= limit_s),
            key=lambda number: (waiting[number], start_s[number]),
        )
        self._finish_s[chosen] = start_s[chosen]
        self._now_s = max(self._now_s, start_s[chosen])
        return chosen

    def charge(self, number: int, cost_s: float) -> None:
        """Record the processing time of the frame of a source that `choose` returned."""
        self._finish_s[number] += cost_s
