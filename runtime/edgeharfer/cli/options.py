"""Options that several commands share."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from edgeharfer.runtime.errors import ConfigError, SourceError
from edgeharfer.runtime.faces.detectors import DEFAULT_DETECTOR, DETECTORS
from edgeharfer.runtime.inference.backend import AUTO, Backend
from edgeharfer.runtime.inference.manifest import PRECISIONS
from edgeharfer.runtime.inference.providers import provider_choices
from edgeharfer.runtime.source import source_kind
from edgeharfer.runtime.tasks import EXTRA_TASKS, PACKAGE_TASKS, TASKS, is_addable, make_tasks

F = TypeVar("F", bound=Callable[..., Any])


def _load_config(ctx: click.Context, param: click.Parameter, value: Path | None) -> None:
    """Settings of the file become the defaults of this command's options."""
    if value is None:
        return
    from edgeharfer.runtime.config import read_config

    options = {
        option.opts[-1].removeprefix("--"): option
        for option in ctx.command.params
        if isinstance(option, click.Option) and option.name not in ("config", "help")
    }
    settings = read_config(value, options.keys())
    for key, setting in settings.items():
        _check_setting(ctx, f"{value}: {key}", options[key], setting)
    ctx.default_map = {str(options[key].name): setting for key, setting in settings.items()}


def _check_setting(ctx: click.Context, where: str, option: click.Option, setting: object) -> None:
    """Refuse what the option would not take, and name the file, which click does not know."""
    if option.is_flag != isinstance(setting, bool):
        wanted = "true or false" if option.is_flag else "a value, not true or false"
        raise ConfigError(f"{where}: must be {wanted}")
    if option.multiple:
        if not isinstance(setting, list) or not all(isinstance(one, str) for one in setting):
            raise ConfigError(f'{where}: must be a list of texts, such as ["one", "two"]')
    elif not isinstance(setting, str | int | float) or not _finite(setting):
        raise ConfigError(f"{where}: must be one text or finite number")
    try:
        option.type_cast_value(ctx, setting)
    except click.BadParameter as error:
        raise ConfigError(f"{where}: {error.message}") from error


def _finite(setting: object) -> bool:
    return not isinstance(setting, float) or math.isfinite(setting)


def source_spec(value: object) -> str:
    """What names a source, checked by its form alone: nothing is opened."""
    try:
        source_kind(str(value))
    except SourceError as error:
        raise click.BadParameter(str(error)) from error
    return str(value)


def pipeline_options(options: dict[str, Any]) -> dict[str, Any]:
    """The options that describe models, as the Pipeline takes them; "off" becomes None."""
    names = (*PACKAGE_TASKS, "detector", "prior")
    chosen = {name: None if options[name] == "off" else options[name] for name in names}
    backend = chosen["backend"] = chosen_backend(options)
    if (key := options.get("require_signature")) is not None:
        from edgeharfer.runtime.inference.package import load_package

        for task in PACKAGE_TASKS:
            name = chosen[task]
            chosen[task] = None if name is None else load_package(name, task, require_signature=key)
    if options.get("task"):
        chosen["extra_tasks"] = make_tasks(options["task"], backend, require_signature=key)
    return chosen


def path_option(*names: str, **settings: Any) -> Callable[[F], F]:
    """An option whose value is a path."""
    return click.option(*names, type=click.Path(path_type=Path), **settings)


signature_option = path_option(
    "--require-signature", metavar="KEY.pub", help="Take no package that was not signed with this key."
)
"""For whatever reads packages that a person names."""


def config_option(command: F) -> F:
    """--config FILE.toml, read before all other options."""
    return click.option(
        "--config",
        type=click.Path(path_type=Path),
        metavar="FILE.toml",
        is_eager=True,
        expose_value=False,
        callback=_load_config,
        help="Settings under the names of the options; the command line wins.",
    )(command)


def provider_options(command: F) -> F:
    """Where and how a model runs."""
    for option in reversed([
        click.option("--provider", type=click.Choice(provider_choices()), default=AUTO, show_default=True,
                     help="Execution provider of ONNX Runtime."),
        click.option("--allow-fallback", is_flag=True, help="If it does not load, use the next best one."),
        click.option("--precision", type=click.Choice([AUTO, *PRECISIONS]), default=AUTO, show_default=True,
                     help="Of the weights; auto is what the package was measured to be best at."),
        click.option("--threads", type=click.IntRange(1, 256),
                     help="Of one operator; default: as tuned for this device, or one."),
    ]):  # fmt: skip
        command = option(command)
    return command


def chosen_backend(options: dict[str, Any]) -> Backend:
    """What `provider_options` describe."""
    return Backend.parse(
        options["provider"],
        precision=options["precision"],
        threads=options["threads"],
        fallback=options["allow_fallback"],
    )


def addable_task(value: object) -> str:
    """A value of --task. A function, as click's ParamType is generic in click 8.4 and newer only."""
    task = str(value)
    if task not in PACKAGE_TASKS and not is_addable(task):  # make_task says which option chooses those
        known = ", ".join(map(repr, EXTRA_TASKS))
        raise click.BadParameter(f"{task!r} is not {known}, and no model package")
    return task


def task_option(command: F) -> F:
    """--task, which adds tasks to those that run by default."""
    return click.option(
        "--task",
        type=addable_task,
        metavar="NAME|PACKAGE",
        multiple=True,
        help=f"Additional task: {', '.join(EXTRA_TASKS)}, or the folder of a model package; repeatable. "
        "See `edgeharfer tasks`.",
    )(command)


def model_options(command: F) -> F:
    """Which models run, where and how."""
    for option in reversed([
        *(
            click.option(f"--{name}", default=TASKS[name].package, show_default=True, metavar="PACKAGE|off",
                         help=f"{name.capitalize()} package: a shipped name or a folder.")
            for name in PACKAGE_TASKS
        ),
        click.option("--detector", type=click.Choice(list(DETECTORS)), default=DEFAULT_DETECTOR,
                     show_default=True,
                     help="Face detector; auto is BlazeFace in video and YuNet in photographs."),
        click.option("--prior", type=click.Choice(["package", "data", "balanced", "uniform"]),
                     default="package", show_default=True, help="Class shares that the emotions assume."),
        signature_option,
    ]):  # fmt: skip
        command = option(command)
    return provider_options(command)
