"""The seam for tasks: what each frame and the faces in it are read for."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple, Protocol

from edgeharfer.runtime.types import Frame, Reading, TrackedFace

__all__ = ["SCOPES", "Reading", "Step", "Task"]

SCOPES = ("scene", "face")


class Task(Protocol):
    """Reads something from every frame: a label with probabilities, numbers, or both.

    Any object with these members is a task; subclassing gives empty `reset` and `close`. The pipeline calls
    all of them from the thread that calls `Pipeline.process`, one at a time.

        class Brightness:
            name, scope = "brightness", "scene"

            def step(self, frame, faces):
                return Reading(values={"mean": float(frame.bgr.mean())})

            def reset(self): ...
            def close(self): ...

    Attributes:
        name: Where its readings stand: `result.readings[name]`, `face.readings[name]`, and the key in JSON.
            Letters, digits, dashes and underscores, beginning with a letter.
        scope: "scene" for one reading a frame, "face" for one a face.

    Two more attributes are optional: `labels`, which `Pipeline.labels` then gives, and `value_names`. Both
    make columns in `frames.csv` of a report.
    """

    name: str
    scope: str

    @abstractmethod
    def step(self, frame: Frame, faces: Sequence[TrackedFace]) -> Reading | Mapping[int, Reading] | None:
        """Take in a frame.

        The last reading stands until the task gives another one, until `reset`, and for a face until its
        track ends. So a task that has nothing new returns None, and one that reads some of the faces
        returns those alone. Readings of tracks that are not in view are ignored.

        Args:
            frame: The frame. Its picture is shared: copy it before you draw into it.
            faces: The faces in view, with the readings that stand. `seen_s` tells whether the detector saw
                a face in this very frame, or whether its place was extrapolated.

        Returns:
            A Reading (scope "scene"), a mapping of track number to Reading (scope "face"), or None where
            nothing is new.
        """
        ...

    def reset(self) -> None:
        """Forget all frames: another source, a break in it, a cut, or a photograph comes next."""
        return

    def close(self) -> None:
        """Release what the task holds; called once, by `Pipeline.close`."""
        return


class Step(NamedTuple):
    """What a pipeline gets from one step of a task.

    Attributes:
        readings: As `Task.step` returns them; None where nothing is new.
        stages_ms: Milliseconds spent in each stage that ran.
    """

    readings: Reading | Mapping[int, Reading] | None = None
    stages_ms: Mapping[str, float] = MappingProxyType({})


NOTHING_NEW = Step()
