"""The interface of tasks, which produce readings of the scene or of faces."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple, Protocol

from edgeharfer.runtime.types import Frame, Reading, TrackedFace

__all__ = ["SCOPES", "Reading", "Step", "Task"]

SCOPES = ("scene", "face")
"""Allowed values of `Task.scope`."""


class Task(Protocol):
    """Produces readings from frames: labels with probabilities, numbers, or both.

    Any object with these members is a task; subclasses inherit an empty `reset` and `close`. The pipeline
    calls all methods from the thread that uses the pipeline, one at a time.

        class Brightness:
            name, scope = "brightness", "scene"

            def step(self, frame, faces):
                return Reading(values={"mean": float(frame.bgr.mean())})

            def reset(self): ...
            def close(self): ...

    Attributes:
        name: Key of its readings in `result.readings`, `face.readings` and JSON. Letters, digits, dashes and
            underscores, starting with a letter.
        scope: "scene" for one reading per frame, "face" for one reading per face.
        labels: Optional. The classes, in `Pipeline.labels`; their probabilities are columns in `frames.csv`
            of a report.
        value_names: Optional. The names of the values, which are columns in `frames.csv` of a report.
        for_another_source: Optional. Method that returns a task of the same kind for a second source that is
            read at the same time. It may share what does not depend on the frames, such as a model; its
            `close` is not called.
    """

    name: str
    scope: str

    @abstractmethod
    def step(self, frame: Frame, faces: Sequence[TrackedFace]) -> Reading | Mapping[int, Reading] | None:
        """Process a frame.

        A reading remains current until the task returns another one, until `reset`, and for a face until its
        track ends. Return None if there is nothing new, and only the faces that were read if that is not all
        of them. Readings of tracks that are not in view are ignored.

        Args:
            frame: The frame. Its picture is shared: copy it before you draw into it.
            faces: The faces in view with their current readings. A face was detected in this frame if its
                `seen_s` equals `frame.pts_s`; otherwise its position is extrapolated.

        Returns:
            A `Reading` (scope "scene"), a mapping of track number to `Reading` (scope "face"), or None if
            there is nothing new.
        """
        ...

    def reset(self) -> None:
        """Discard all state. Called before another source, after a gap, at a cut, and before a photograph."""
        return

    def close(self) -> None:
        """Release all resources. `Pipeline.close` calls it once."""
        return


class Step(NamedTuple):
    """The outcome of one step of a task.

    Attributes:
        readings: New readings, as `Task.step` returns them; None if there is nothing new.
        stages_ms: Milliseconds spent in each stage that ran.
    """

    readings: Reading | Mapping[int, Reading] | None = None
    stages_ms: Mapping[str, float] = MappingProxyType({})


NOTHING_NEW = Step()
