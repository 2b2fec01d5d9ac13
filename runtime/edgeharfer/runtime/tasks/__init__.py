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


ACTION, EMOTION = "action", "emotion"
"""The two tasks that run by default, for the parts of the product that are about them alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskEntry:
    """One task that ships.

    Attributes:
        task: Its class, as "module:Class" of this package.
        model: The `TaskModel` that runs its model packages; "" where it needs none. A task with packages is
            chosen by an option of its own name.
        summary: A line for people.
        options: Keywords of the pipeline that its model takes, besides those of where it runs.
        recorded: Key of its model's outputs in a recording.
    """

    task: str
    model: str = ""
    summary: str
    options: tuple[str, ...] = ()
    recorded: str = ""


TASKS: Mapping[str, TaskEntry] = MappingProxyType({
    ACTION: TaskEntry(
        task="action:ActionTask",
        model="action:ActionModel",
        summary="what goes on in the scene; on by default, --action chooses the package or off",
        recorded="features",
    ),
    EMOTION: TaskEntry(
        task="emotion:EmotionTask",
        model="emotion:EmotionModel",
        summary="how each face looks; on by default, --emotion chooses the package or off",
        options=("prior",),
        recorded="probs",
    ),
    "headpose": TaskEntry(
        task="headpose:HeadPose", summary="yaw, pitch and roll of each face in degrees; no model"
    ),
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
    task: Task = _load_object(TASKS[name].task)()
    return task


def open_model(name: str, package: Package, options: Mapping[str, Any], **backend: Any) -> TaskModel:
    """The model of a task of PACKAGE_TASKS.

    options: from which it takes those that its entry names. backend: as `TaskModel` takes it.
    """
    entry = TASKS[name]
    model: TaskModel = _load_object(entry.model)(
        package, **backend, **{key: options[key] for key in entry.options}
    )
    return model


def make_packaged_task(
    name: str, model: TaskModel, reader: Reader, schedule: Schedule, clock: Clock
) -> PackagedTask:
    """A task of PACKAGE_TASKS. Its model reads pictures through the reader."""
    task: PackagedTask = _load_object(TASKS[name].task)(model, reader, schedule, clock)
    return task


def _load_object(path: str) -> Any:
    module, _, attribute = path.partition(":")
    return getattr(import_module(f"{__name__}.{module}"), attribute)
