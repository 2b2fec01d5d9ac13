"""A task of a user's: what it returns is checked, and a failure names it."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from numbers import Integral, Real
from typing import TypeVar

from edgeharfer.runtime.clock import Clock
from edgeharfer.runtime.errors import TaskError
from edgeharfer.runtime.tasks import PACKAGE_TASKS, STAGES
from edgeharfer.runtime.tasks.base import NOTHING_NEW, SCOPES, Step, Task
from edgeharfer.runtime.types import Frame, Reading, TrackedFace

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
JSON_KEYS = {"kind", "seq", "pts_s", "age_ms", "source", "file", "faces", "track", "box", "score"}
RESERVED = (JSON_KEYS | set(STAGES)) - set(PACKAGE_TASKS)
"""Names that no task can have: they are keys of the JSON line or stages."""
_MEMBERS = ("step", "reset", "close")

T = TypeVar("T")


def check_names(tasks: Sequence[Task]) -> None:
    """Raises TaskError for an object that is no task, for a bad name or scope, and for a name given twice."""
    taken = set(PACKAGE_TASKS)
    for task in tasks:
        name = getattr(task, "name", None)
        if not isinstance(name, str) or not _NAME.fullmatch(name) or name in RESERVED:
            raise TaskError(
                f"{type(task).__name__}: the name {name!r} cannot be a task's: use letters, digits, - and _, "
                f"and none of {', '.join(sorted(RESERVED))}"
            )
        if name in taken:
            raise TaskError(f"there are two tasks named {name!r}: give the second another name")
        taken.add(name)
        if getattr(task, "scope", None) not in SCOPES:
            raise TaskError(f"task {name}: its scope must be {' or '.join(map(repr, SCOPES))}")
        if lacking := [member for member in _MEMBERS if not callable(getattr(task, member, None))]:
            raise TaskError(f"task {name}: it has no method {' and no '.join(lacking)}")


class CheckedTask:
    """Any task as the pipeline runs it. Raises TaskError, which names the task, where it fails."""

    def __init__(self, task: Task, clock: Clock) -> None:
        self.name, self.scope = task.name, task.scope
        self.labels: Sequence[str] = tuple(getattr(task, "labels", ()))
        self.value_names: Sequence[str] = tuple(getattr(task, "value_names", ()))
        self._task, self._clock = task, clock

    def step(self, frame: Frame, faces: Sequence[TrackedFace]) -> Step:
        """The task's step, its return value checked; its time is that of a stage with the task's name."""
        start = self._clock.monotonic()
        given = self._call("step", lambda: self._task.step(frame, faces))
        if given is None:
            return NOTHING_NEW
        stages_ms = {self.name: (self._clock.monotonic() - start) * 1e3}
        return Step(self._scene(given) if self.scope == "scene" else self._faces(given, faces), stages_ms)

    def reset(self) -> None:
        """The task's reset."""
        self._call("reset", self._task.reset)

    def close(self) -> None:
        """The task's close."""
        self._call("close", self._task.close)

    def _scene(self, given: object) -> Reading:
        if not isinstance(given, Reading):
            raise TaskError(f"task {self.name}: step returned {_kind(given)}, not a Reading or None")
        self._check(given)
        return given

    def _faces(self, given: object, faces: Sequence[TrackedFace]) -> Mapping[int, Reading]:
        if not isinstance(given, Mapping):
            raise TaskError(
                f"task {self.name}: step returned {_kind(given)}, "
                "not a mapping of track number to Reading or None"
            )
        for number, reading in given.items():
            if not isinstance(number, Integral):
                raise TaskError(
                    f"task {self.name}: step returned a reading for {number!r}, which is no track number"
                )
            if not isinstance(reading, Reading):
                raise TaskError(
                    f"task {self.name}: step returned {_kind(reading)} for track {number}, not a Reading"
                )
            self._check(reading)
        in_view = {face.track for face in faces}
        return {int(number): reading for number, reading in given.items() if number in in_view}

    def _check(self, reading: Reading) -> None:
        """A label is a text, a probability finite and not negative, a value any number."""
        if not isinstance(reading.label, str | None):
            raise TaskError(f"task {self.name}: the label {reading.label!r} is no text")
        for label, value in (reading.probs or {}).items():
            if not isinstance(value, Real) or not 0 <= value < math.inf:
                raise TaskError(f"task {self.name}: the probability of {label!r} is {value!r}")
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
