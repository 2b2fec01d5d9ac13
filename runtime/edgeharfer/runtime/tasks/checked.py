"""Validation of extra tasks: their attributes, their return values, and errors that name the task."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from numbers import Integral, Real
from typing import TypeVar

from edgeharfer.runtime.clock import Clock
from edgeharfer.runtime.errors import TaskError
from edgeharfer.runtime.lookahead import SampleGrid
from edgeharfer.runtime.tasks import PACKAGE_TASKS, STAGES
from edgeharfer.runtime.tasks.base import NOTHING_NEW, SCOPES, Step, Task
from edgeharfer.runtime.types import Frame, Reading, TrackedFace

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
JSON_KEYS = {"kind", "seq", "pts_s", "age_ms", "source", "file", "faces", "track", "box", "score"}
RESERVED = (JSON_KEYS | set(STAGES)) - set(PACKAGE_TASKS)
"""Names that a task must not have, because they are keys of the JSON line or stages."""
_MEMBERS = ("step", "reset", "close")

T = TypeVar("T")


def check_names(tasks: Sequence[Task]) -> None:
    """Check the attributes of tasks.

    Raises:
        TaskError: An object is not a task, has an invalid name or scope, or has the name of another task.
    """
    taken = set(PACKAGE_TASKS)
    for task in tasks:
        name = getattr(task, "name", None)
        if not isinstance(name, str) or not _NAME.fullmatch(name) or name in RESERVED:
            raise TaskError(
                f"{type(task).__name__}: invalid task name {name!r}: use letters, digits, - and _, "
                f"but none of the reserved names {', '.join(sorted(RESERVED))}"
            )
        if name in taken:
            raise TaskError(f"there are two tasks named {name!r}: rename one of them")
        taken.add(name)
        if getattr(task, "scope", None) not in SCOPES:
            raise TaskError(f"task {name}: scope must be {' or '.join(map(repr, SCOPES))}")
        if missing := [member for member in _MEMBERS if not callable(getattr(task, member, None))]:
            raise TaskError(f"task {name}: missing method {' and '.join(missing)}")


class CheckedTask:
    """Wraps an extra task: times its steps, checks return values, and raises errors as TaskError."""

    def __init__(self, task: Task, clock: Clock) -> None:
        self.name, self.scope = task.name, task.scope
        self.labels: Sequence[str] = tuple(getattr(task, "labels", ()))
        self.value_names: Sequence[str] = tuple(getattr(task, "value_names", ()))
        self._task, self._clock = task, clock
        self.grids: tuple[SampleGrid, ...] | None = None

    def step(self, frame: Frame, faces: Sequence[TrackedFace]) -> Step:
        """Run the task's step as a stage with the name of the task.

        Raises:
            TaskError: The step failed or returned an invalid value.
        """
        start = self._clock.monotonic()
        returned = self._call("step", lambda: self._task.step(frame, faces))
        if returned is None:
            return NOTHING_NEW
        stages_ms = {self.name: (self._clock.monotonic() - start) * 1e3}
        return Step(
            self._scene(returned) if self.scope == "scene" else self._faces(returned, faces), stages_ms
        )

    def precompute(self, frame: Frame, previous_s: float) -> None:
        """See `PackagedTask`: tasks of other projects compute nothing in advance."""
        return

    def reset(self) -> None:
        """Run the task's reset."""
        self._call("reset", self._task.reset)

    def for_another_source(self) -> CheckedTask:
        """Return the task for another source that is read at the same time.

        Raises:
            TaskError: The task has no method `for_another_source`, or it failed.
        """
        make = getattr(self._task, "for_another_source", None)
        if make is None:
            raise TaskError(
                f"task {self.name}: cannot run on several sources: it has no method for_another_source"
            )
        return CheckedTask(self._call("for_another_source", make), self._clock)

    def close(self) -> None:
        """Run the task's close."""
        self._call("close", self._task.close)

    def _scene(self, returned: object) -> Reading:
        if not isinstance(returned, Reading):
            raise TaskError(f"task {self.name}: step returned {_kind(returned)}, not a Reading or None")
        self._check(returned)
        return returned

    def _faces(self, returned: object, faces: Sequence[TrackedFace]) -> Mapping[int, Reading]:
        if not isinstance(returned, Mapping):
            raise TaskError(
                f"task {self.name}: step returned {_kind(returned)}, "
                "not a mapping of track number to Reading or None"
            )
        for number, reading in returned.items():
            if not isinstance(number, Integral):
                raise TaskError(
                    f"task {self.name}: step returned a reading for {number!r}, which is not a track number"
                )
            if not isinstance(reading, Reading):
                raise TaskError(
                    f"task {self.name}: step returned {_kind(reading)} for track {number}, not a Reading"
                )
            self._check(reading)
        in_view = {face.track for face in faces}
        return {int(number): reading for number, reading in returned.items() if number in in_view}

    def _check(self, reading: Reading) -> None:
        """Check that labels are strings, probabilities finite and not negative, and values numbers."""
        if not isinstance(reading.label, str | None):
            raise TaskError(f"task {self.name}: the label {reading.label!r} is not a string")
        for label, value in (reading.probs or {}).items():
            if not isinstance(value, Real) or not 0 <= value < math.inf:
                raise TaskError(
                    f"task {self.name}: the probability of {label!r} is {value!r}, "
                    "not a finite number of at least 0"
                )
        for name, value in (reading.values or {}).items():
            if not isinstance(value, Real):
                raise TaskError(f"task {self.name}: the value {name!r} is {_kind(value)}, not a number")

    def _call(self, method: str, function: Callable[[], T]) -> T:
        try:
            return function()
        except Exception as error:
            what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            raise TaskError(f"task {self.name}: {method} failed: {what}") from error


def _kind(value: object) -> str:
    return f"a {type(value).__name__}"
