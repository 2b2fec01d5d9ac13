"""Stand-ins for the kiosk's tests: a pipeline that says what it is told to, and a source by script."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from edgeharfer.runtime.result import Result
from edgeharfer.runtime.source.base import Source
from edgeharfer.runtime.types import Action, Box, Emotion, Frame, TrackedFace


class FakePipeline:
    """Always sees the same face and the same action; `name` tells which one was asked.

    disabled_at: for each frame, the tasks that were switched off.
    """

    def __init__(self, name: str = "fake", *, emotion: str | None = "happy") -> None:
        self.name, self.emotion = name, emotion
        self.frames: list[Frame] = []
        self.disabled: frozenset[str] = frozenset()
        self.disabled_at: list[frozenset[str]] = []
        self.resets = 0
        self.precision_reasons: dict[str, str] = {}
        self.closed = False
        self.others: list[FakePipeline] = []

    @property
    def models(self) -> dict[str, str]:
        return {"action": self.name}

    @property
    def providers(self) -> dict[str, str]:
        return {"action": "CPUExecutionProvider"}

    @property
    def face_tasks(self) -> frozenset[str]:
        return frozenset({"emotion"} if self.emotion else ())

    def reset(self) -> None:
        self.resets += 1

    def set_real_time(self, max_age_ms: float | None = None) -> None: ...

    def disable(self, name: str) -> None:
        self.disabled |= {name}

    def enable(self, name: str) -> None:
        self.disabled -= {name}

    def close(self) -> None:
        self.closed = True

    def for_another_source(self) -> FakePipeline:
        self.others.append(FakePipeline(self.name, emotion=self.emotion))
        return self.others[-1]

    def process(self, frame: Frame) -> Result:
        assert not self.closed
        self.frames.append(frame)
        self.disabled_at.append(self.disabled)
        felt = {"emotion": Emotion(self.emotion, 0.9, {self.emotion: 0.9})} if self.emotion else {}
        felt = {name: reading for name, reading in felt.items() if name not in self.disabled}
        face = TrackedFace(1, Box(10, 10, 20, 20), 0.9, felt)
        action = Action("Biking", 0.8, True, {"Biking": 0.8, "Archery": 0.2})
        return Result(frame.seq, frame.pts_s, 5.0, (face,), {"action": action}, {"total": 5.0, "encode": 3.0})


class FilmSource(Source):
    """A file of some seconds at 10 frames a second; `steps` are called before the frame of their number."""

    def __init__(self, seconds: float, steps: dict[int, Callable[[], None]] | None = None) -> None:
        self.name, self.size, self.fps = "film", (64, 48), 10.0
        self.count, self.given, self.steps = round(seconds * 10), 0, steps or {}
        self.closed = False

    def read(self) -> Frame | None:
        if self.given >= self.count or self.closed:
            return None
        if self.given in self.steps:
            self.steps[self.given]()
        picture = np.full((48, 64, 3), 200, np.uint8)
        self.given += 1
        return Frame(self.given - 1, (self.given - 1) / 10, 0.0, picture)

    def close(self) -> None:
        self.closed = True


def opener(outcomes: Sequence[Any]) -> Callable[..., Any]:
    """An `open_source` that gives, or raises, these in turn, and the last one for ever."""
    left = list(outcomes)

    def open_source(spec: str, **_: object) -> Any:
        outcome = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    return open_source
