"""Sources share the processing time fairly, whatever their rates and costs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest

from edgeharfer.runtime.turns import TOLERANCE_S, FairShare


def served(costs: Sequence[float], intervals: Sequence[float], seconds: float) -> Counter[int]:
    """Processing time of each source; frames cost `costs` and come every `intervals`, the newest waits."""
    share, now = FairShare(len(costs)), 0.0
    arrival: list[float | None] = [None] * len(costs)
    next_s = [0.0] * len(costs)
    spent: Counter[int] = Counter()
    while now < seconds:
        for number, interval in enumerate(intervals):
            while next_s[number] <= now:
                arrival[number] = next_s[number]
                next_s[number] += interval
        waiting = {number: at for number, at in enumerate(arrival) if at is not None}
        if not waiting:
            now = min(next_s)
            continue
        number = share.choose(waiting)
        arrival[number] = None
        now += costs[number]
        share.charge(number, costs[number])
        spent[number] += costs[number]  # type: ignore[assignment]
    return spent


@pytest.mark.parametrize(
    ("costs", "intervals"),
    [
        ([0.010] * 4, [1 / 30] * 4),
        ([0.050, 0.015, 0.015], [1 / 30] * 3),  # one with large pictures
        ([0.010] * 3, [1 / 1000, 1 / 60, 1 / 50]),  # one that floods
    ],
)
def test_under_load_each_source_gets_the_same_time(costs: list[float], intervals: list[float]) -> None:
    spent = served(costs, intervals, 30.0)
    mean = sum(spent.values()) / len(costs)
    slow = [costs[n] / intervals[n] < 1 / len(costs) for n in range(len(costs))]
    assert not any(slow), "every source asks for more than its share"
    assert all(spent[n] == pytest.approx(mean, rel=0.05) for n in range(len(costs)))


def test_a_source_that_asks_for_less_than_its_share_gets_all_of_it() -> None:
    spent = served([0.010, 0.030, 0.030], [0.2, 0.033, 0.033], 30.0)
    assert spent[0] == pytest.approx(30 * 0.010 / 0.2, rel=0.05)


def test_while_there_is_time_the_oldest_frame_comes_first() -> None:
    share = FairShare(2)
    for number in (0, 1):
        share.choose({number: 0.0})
        share.charge(number, TOLERANCE_S / 2)
    assert share.choose({0: 5.0, 1: 4.9}) == 1


def test_a_source_that_was_away_does_not_claim_the_time_it_missed() -> None:
    share = FairShare(2)
    for _ in range(100):  # alone
        assert share.choose({0: 0.0}) == 0
        share.charge(0, 0.1)
    turns = Counter[int]()
    for _ in range(40):
        number = share.choose({0: 0.0, 1: 0.0})
        turns[number] += 1
        share.charge(number, 0.1)
    assert abs(turns[0] - turns[1]) <= 4
