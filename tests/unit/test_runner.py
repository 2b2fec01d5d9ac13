"""The run: what is known of a frame reaches the sinks, or what follows from it does."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest

from edgeharfer.runtime.capture import Capture
from edgeharfer.runtime.channel import RunInput, RunLimits
from edgeharfer.runtime.clock import SystemClock
from edgeharfer.runtime.pipeline import Pipeline
from edgeharfer.runtime.result import Result
from edgeharfer.runtime.runner import Runner
from edgeharfer.runtime.sinks import Sink
from edgeharfer.runtime.source.base import BaseSource
from edgeharfer.runtime.stats import Status
from edgeharfer.runtime.types import Frame


class Few(BaseSource):
    """So many frames."""

    def __init__(self, count: int) -> None:
        super().__init__("few", SystemClock())
        self._left = count

    def _next(self) -> Frame | None:
        self._left -= 1
        seq = 4 - self._left
        return self._frame(seq, seq / 30, np.zeros((4, 4, 3), np.uint8)) if self._left >= 0 else None


class Scripted:
    """A pipeline whose results are told in advance: their age, and whether they begin a scene."""

    providers: dict[str, str] = {}  # noqa: RUF012
    models: dict[str, str] = {}  # noqa: RUF012
    precision_reasons: dict[str, str] = {}  # noqa: RUF012

    def __init__(self, *script: tuple[float, bool]) -> None:
        self._script = list(script)
        self.frames: list[Frame] = []
        self.resets = 0

    def reset(self) -> None:
        self.resets += 1

    def process(self, frame: Frame) -> Result:
        self.frames.append(frame)
        age_ms, cut = self._script.pop(0)
        return Result(frame.seq, frame.pts_s, age_ms, cut=cut)


class Kept(Sink):
    """A sink that keeps the results."""

    def __init__(self) -> None:
        self.results: list[Result] = []
        self.frames: list[Frame] = []
        self.breaks: list[int] = []

    def write(self, frame: Frame, result: Result, status: Status) -> None:
        self.results.append(result)
        self.frames.append(frame)
        self.breaks.append(status.breaks)

    def finish(self, summary: dict[str, Any]) -> None: ...


def test_a_cut_is_told_with_the_next_result_where_its_own_came_too_late() -> None:
    kept = Kept()
    pipeline = Scripted((1, False), (900, True), (900, False), (1, False), (1, False))
    with Capture(Few(5), pace="fast") as capture:
        runner = Runner(
            [RunInput(cast(Pipeline, pipeline), capture)], [cast(Sink, kept)], RunLimits(max_age_ms=500)
        )
        summary = runner.run()
    assert [result.cut for result in kept.results] == [False, True, False]
    assert (summary["cuts"], summary["frames_too_old"]) == (1, 2)


def test_frames_are_prepared_before_the_pipeline_and_the_sinks_see_them() -> None:
    kept, pipeline = Kept(), Scripted(*[(1, False)] * 3)

    def masked(frame: Frame) -> Frame:
        return frame.with_picture(np.full_like(frame.bgr, 7))

    with Capture(Few(3), pace="fast") as capture:
        Runner([RunInput(cast(Pipeline, pipeline), capture, prepare=masked)], [kept]).run()
    assert [int(frame.bgr.max()) for frame in pipeline.frames] == [7, 7, 7]
    assert kept.frames == pipeline.frames


def test_another_pipeline_takes_over_between_two_frames_and_is_reset() -> None:
    kept, first, second = Kept(), Scripted(*[(1, False)] * 5), Scripted(*[(1, False)] * 5)

    def chosen() -> Pipeline:
        return cast(Pipeline, second if len(kept.results) >= 2 else first)

    with Capture(Few(5), pace="fast") as capture:
        Runner([RunInput(cast(Pipeline, first), capture, before_frame=chosen)], [kept]).run()
    assert (len(first.frames), len(second.frames)) == (2, 3)
    assert (first.resets, second.resets) == (0, 1)


def test_the_status_tells_sinks_that_frames_were_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    kept, pipeline = Kept(), Scripted(*[(1, False)] * 3)
    monkeypatch.setattr(Capture, "breaks", property(lambda _: len(pipeline.frames) // 2))
    with Capture(Few(3), pace="fast") as capture:
        Runner([RunInput(cast(Pipeline, pipeline), capture)], [kept]).run()
    assert kept.breaks == [0, 0, 1] and pipeline.resets == 1


@pytest.mark.parametrize("uses_status", [True, False])
def test_the_status_is_computed_for_the_sinks_that_use_it(
    monkeypatch: pytest.MonkeyPatch, uses_status: bool
) -> None:
    kept, pipeline = Kept(), Scripted(*[(1, False)] * 3)
    kept.uses_status = uses_status
    monkeypatch.setattr(Capture, "breaks", property(lambda _: 7))
    with Capture(Few(3), pace="fast") as capture:
        Runner([RunInput(cast(Pipeline, pipeline), capture)], [kept]).run()
    assert kept.breaks == [7 if uses_status else 0] * 3
