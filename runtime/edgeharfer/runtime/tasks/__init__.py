"""The tasks, by name: the one list of them. A task of one's own goes into `Pipeline(extra_tasks=[…])`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from edgeharfer.runtime.errors import ConfigError

if TYPE_CHECKING:
    from edgeharfer.runtime.clock import Clock
    from edgeharfer.runtime.inference.package import Package
    from edgeharfer.runtime.schedule import Schedule
    from edgeharfer.runtime.tasks.base import Task
    from edgeharfer.runtime.tasks.packaged import PackagedTask, Reader, TaskModel


@dataclass(frozen=True, slots=True)
class TaskEntry:
    """One task that ships.

    Attributes:
        summary: A line for people.
        task: Module and class of the task.
        model: Module and class of the `TaskModel` that runs the graphs of its package; "" for a task without
            a package. A task with one is chosen by an option of its own name.
        options: Keywords of the pipeline that this model takes, besides those of where it runs.
        recorded: Key of the model's outputs in a recording.
    """

    summary: str
    task: str
    model: str = ""
    options: tuple[str, ...] = ()
    recorded: str = ""


TASKS: Mapping[str, TaskEntry] = MappingProxyType({
    "action": TaskEntry(
        "what goes on in the scene; on by default, --action chooses the package or off",
        "action:ActionTask", "action:ActionModel", recorded="features",
    ),
    "emotion": TaskEntry(
        "how each face looks; on by default, --emotion chooses the package or off",
        "emotion:EmotionTask", "emotion:EmotionModel", options=("prior",), recorded="probs",
    ),
    "headpose": TaskEntry("yaw, pitch and roll of each face in degrees; no model", "headpose:HeadPose"),
})  # fmt: skip
PACKAGE_TASKS = tuple(name for name, entry in TASKS.items() if entry.model)
"""Tasks that need a model package, in the order in which they run."""
EXTRA_TASKS = tuple(name for name, entry in TASKS.items() if not entry.model)
"""Tasks that `--task` adds."""


def make_task(name: str) -> Task:
    """A task of EXTRA_TASKS. Raises ConfigError for any other name."""
    if name not in EXTRA_TASKS:
        hint = f": choose its package with --{name}" if name in TASKS else ""
        raise ConfigError(f"task {name!r} cannot be added{hint}; tasks to add: {', '.join(EXTRA_TASKS)}")
    task: Task = _class(TASKS[name].task)()
    return task


def open_model(name: str, package: Package, options: Mapping[str, Any], **backend: Any) -> TaskModel:
    """The model of a task of PACKAGE_TASKS.

    options: from which it takes those that its entry names. backend: as `TaskModel` takes it.
    """
    entry = TASKS[name]
    model: TaskModel = _class(entry.model)(package, **backend, **{key: options[key] for key in entry.options})
    return model


def make_packaged_task(
    name: str, model: TaskModel, reader: Reader, schedule: Schedule, clock: Clock
) -> PackagedTask:
    """A task of PACKAGE_TASKS. Its model reads pictures through the reader."""
    task: PackagedTask = _class(TASKS[name].task)(model, reader, schedule, clock)
    return task


def _class(path: str) -> Any:
    module, _, name = path.partition(":")
    return getattr(import_module(f"{__name__}.{module}"), name)
