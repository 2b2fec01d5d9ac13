"""Several outputs at once: one that fails misses results, and neither the others nor the run notice."""

from __future__ import annotations

import logging
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from edgeharfer.runtime.errors import SinkError
from edgeharfer.runtime.result import Result
from edgeharfer.runtime.sinks import Sink
from edgeharfer.runtime.sinks.outputs import SinkGroup
from edgeharfer.runtime.stats import Status
from edgeharfer.runtime.types import Frame

if TYPE_CHECKING:
    from typing_extensions import Self

FRAME = Frame(0, 0.0, 0.0, np.zeros((4, 4, 3), np.uint8))


class Kept(Sink):
    """Keeps the numbers of what it is given; fails while `full`."""

    def __init__(self) -> None:
        self.closed = self.full = False
        self.seqs: list[int] = []
        self.states: list[str] = []
        self.summary: dict[str, Any] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def write(self, frame: Frame, result: Result, status: Status) -> None:
        self._check()
        self.seqs.append(result.seq)

    def refresh(self, status: Status) -> None:
        self._check()
        self.states.append(status.source_state)

    def finish(self, summary: dict[str, Any]) -> None:
        self._check()
        self.summary = summary

    def _check(self) -> None:
        if self.full:
            raise SinkError("events.jsonl: cannot be written (No space left on device)")


def write(outputs: SinkGroup, *seqs: int) -> None:
    for seq in seqs:
        outputs.write(FRAME, Result(seq, 0.0, 0.0), Status())


def test_a_full_disk_costs_one_output_its_results_until_there_is_room(
    caplog: pytest.LogCaptureFixture,
) -> None:
    one, other = Kept(), Kept()
    outputs = SinkGroup([one, other])
    write(outputs, 0, 1)
    one.full = True
    with caplog.at_level(logging.INFO):
        write(outputs, 2, 3, 4)
        outputs.refresh(Status(source_state="lost"))
        one.full = False
        write(outputs, 5)
    assert (one.seqs, other.seqs, outputs.errors) == ([0, 1, 5], [0, 1, 2, 3, 4, 5], 3)
    assert other.states == ["lost"]
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 2, "told once, and once that it is over"
    assert "No space left" in told[0] and "3 results were missed" in told[1]


def test_each_output_gets_the_summary_whatever_another_one_raises() -> None:
    one, other = Kept(), Kept()
    one.full = True
    with pytest.raises(SinkError, match="No space left"):
        SinkGroup([one, other]).finish({"fps": 1.0})
    assert other.summary == {"fps": 1.0}


def test_one_that_is_closed_closes_all() -> None:
    one, other = Kept(), Kept()
    outputs = SinkGroup([one, other])
    assert not outputs.closed
    other.closed = True
    assert outputs.closed


def test_a_defect_in_an_output_is_not_taken_for_a_full_disk(tmp_path: Path) -> None:
    class Defect(Kept):
        def write(self, frame: Frame, result: Result, status: Status) -> None:
            raise ValueError("a defect")

    with pytest.raises(ValueError, match="a defect"):
        write(SinkGroup([Defect()]), 0)
