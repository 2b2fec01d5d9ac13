"""The tasks, by name: the one list of them. A task of one's own goes into `Pipeline(extra_tasks=[…])`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING

from edgeharfer.runtime.errors import ConfigError

if TYPE_CHECKING:
    from edgeharfer.runtime.tasks.base import Task


@dataclass(frozen=True, slots=True)
class TaskEntry:
    """One task that ships.

    Attributes:
        summary: A line for people.
        make: Module and class of a task that needs no model package; "" for one that has packages, which is
            chosen by an option of its own name.
    """

    summary: str
    make: str = ""


TASKS: Mapping[str, TaskEntry] = MappingProxyType({
    "action": TaskEntry("what goes on in the scene; on by default, --action chooses the package or off"),
    "emotion": TaskEntry("how each face looks; on by default, --emotion chooses the package or off"),
    "headpose": TaskEntry("yaw, pitch and roll of each face in degrees; no model", "headpose:HeadPose"),
})  # fmt: skip
PACKAGE_TASKS = tuple(name for name, entry in TASKS.items() if not entry.make)
"""Tasks that need a model package, in the order in which they run."""
EXTRA_TASKS = tuple(name for name, entry in TASKS.items() if entry.make)
"""Tasks that `--task` adds."""


def make_task(name: str) -> Task:
    """A task of EXTRA_TASKS. Raises ConfigError for any other name."""
    if name not in EXTRA_TASKS:
        hint = f": choose its package with --{name}" if name in TASKS else ""
        raise ConfigError(f"task {name!r} cannot be added{hint}; tasks to add: {', '.join(EXTRA_TASKS)}")
    module, _, attribute = TASKS[name].make.partition(":")
    task: Task = getattr(import_module(f"{__name__}.{module}"), attribute)()
    return task
