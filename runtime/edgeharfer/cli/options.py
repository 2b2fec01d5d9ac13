"""Options that several commands share, and their conversion to objects."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from edgeharfer.cli.completion import complete_package, complete_task
from edgeharfer.runtime.errors import ConfigError, SourceError
from edgeharfer.runtime.faces.detectors import DEFAULT_DETECTOR, DETECTORS
from edgeharfer.runtime.inference.backend import AUTO, Backend
from edgeharfer.runtime.inference.manifest import PRECISIONS
from edgeharfer.runtime.inference.providers import provider_choices
from edgeharfer.runtime.source import source_kind
from edgeharfer.runtime.source.decode_devices import decode_choices
from edgeharfer.runtime.tasks import EXTRA_TASKS, PACKAGE_TASKS, TASKS, is_addable, make_tasks


class TableOption(click.Option):
    """A repeatable option that a configuration file can also have as an array of tables.

    Attributes:
        required_keys: Keys that each table must have.
        text_keys: Keys whose values are texts.
        setting_keys: Further keys, which are options of the same command.
    """

    required_keys: tuple[str, ...] = ()
    text_keys: tuple[str, ...] = ()
    setting_keys: tuple[str, ...] = ()


F = TypeVar("F", bound=Callable[..., Any])


def _load_config(ctx: click.Context, param: click.Parameter, value: Path | None) -> None:
    """Use the settings of a TOML file as defaults of the command's options."""
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
        if isinstance(option := options[key], TableOption):
            if _is_tables(setting):
                _check_tables(ctx, f"{value}: {key}", option, options, setting)
                continue
            settings[key] = setting = [setting] if isinstance(setting, str) else setting
        _check_setting(ctx, f"{value}: {key}", option, setting)
    ctx.default_map = {str(options[key].name): setting for key, setting in settings.items()}


def _is_tables(setting: object) -> bool:
    return isinstance(setting, list) and bool(setting) and all(isinstance(one, dict) for one in setting)


def _check_tables(
    ctx: click.Context,
    where: str,
    option: TableOption,
    options: Mapping[str, click.Option],
    tables: list[dict[str, Any]],
) -> None:
    """Check an array of tables against its option and the options that it can set.

    Raises:
        ConfigError: A key is unknown or missing, or a value is not accepted; names the file and the key.
    """
    from edgeharfer.runtime.config import check_keys

    for number, table in enumerate(tables, 1):
        check_keys(table, (*option.text_keys, *option.setting_keys), f"{where} {number}")
        for key in option.required_keys:
            if key not in table:
                raise ConfigError(f"{where} {number}: {key} is missing")
        for key in option.text_keys:
            if key in table and not (isinstance(table[key], str) and table[key].strip().isprintable()):
                raise ConfigError(f"{where} {number}: {key}: must be a non-empty string")
        for key in option.setting_keys:
            if key in table:
                _check_setting(ctx, f"{where} {number}: {key}", options[key], table[key])
        try:
            option.type_cast_value(ctx, [table])
        except click.BadParameter as error:
            raise ConfigError(f"{where} {number}: {error.message}") from error


def _check_setting(ctx: click.Context, where: str, option: click.Option, setting: object) -> None:
    """Check a setting against its option.

    Raises:
        ConfigError: The option does not accept the value; names the file and the key.
    """
    if option.is_flag != isinstance(setting, bool):
        expected = "true or false" if option.is_flag else "a value, not true or false"
        raise ConfigError(f"{where}: must be {expected}")
    if option.multiple:
        if not isinstance(setting, list) or not all(isinstance(one, str) for one in setting):
            raise ConfigError(f'{where}: must be a list of strings, such as ["one", "two"]')
    elif not isinstance(setting, str | int | float) or not _finite(setting):
        raise ConfigError(f"{where}: must be a string or a finite number")
    try:
        option.type_cast_value(ctx, setting)
    except click.BadParameter as error:
        raise ConfigError(f"{where}: {error.message}") from error


def _finite(setting: object) -> bool:
    return not isinstance(setting, float) or math.isfinite(setting)


def picture_size(value: object) -> tuple[int, int]:
    """Parse "640x480" to (width, height).

    A function rather than a click.ParamType, which is generic only in click 8.4 and later.
    """
    sides = re.fullmatch(r"([1-9][0-9]{0,4})[xX]([1-9][0-9]{0,4})", str(value))
    if sides is None:
        raise click.BadParameter(f"{value!r} is not WIDTHxHEIGHT, such as 640x480")
    return int(sides[1]), int(sides[2])


def source_spec(value: object) -> str:
    """Check the form of a source specification without opening it."""
    try:
        source_kind(str(value))
    except SourceError as error:
        raise click.BadParameter(str(error)) from error
    return str(value)


def pipeline_options(options: dict[str, Any]) -> dict[str, Any]:
    """Convert the model options to arguments of `Pipeline`; "off" becomes None."""
    names = (*PACKAGE_TASKS, "detector", "prior")
    chosen = {name: None if options[name] == "off" else options[name] for name in names}
    backend = chosen["backend"] = backend_from_options(options)
    if (key := options.get("require_signature")) is not None:
        from edgeharfer.runtime.inference.package import load_package

        for task in PACKAGE_TASKS:
            name = chosen[task]
            chosen[task] = None if name is None else load_package(name, task, require_signature=key)
    if options.get("task"):
        chosen["extra_tasks"] = make_tasks(options["task"], backend, require_signature=key)
    return chosen


def path_option(*names: str, **settings: Any) -> Callable[[F], F]:
    """A click option that takes a path."""
    return click.option(*names, type=click.Path(path_type=Path), **settings)


signature_option = path_option(
    "--require-signature", metavar="KEY.pub", help="Require packages to be signed with this key."
)
"""For commands that take a PACKAGE."""


def config_option(command: F) -> F:
    """Add --config FILE.toml, which is read before all other options."""
    return click.option(
        "--config",
        type=click.Path(path_type=Path),
        metavar="FILE.toml",
        is_eager=True,
        expose_value=False,
        callback=_load_config,
        help="TOML file with settings named like the options; the command line takes precedence.",
    )(command)


def decode_option(command: F) -> F:
    """Add --decode, the device that decodes videos and streams."""
    return click.option(
        "--decode",
        type=click.Choice(decode_choices()),
        default=AUTO,
        show_default=True,
        help="Device that decodes videos and streams; auto = cpu.",
    )(command)


def provider_options(command: F) -> F:
    """Add the options for execution provider, precision and threads."""
    for option in reversed([
        click.option("--provider", type=click.Choice(provider_choices()), default=AUTO, show_default=True,
                     help="ONNX Runtime execution provider; auto = as found by `edgeharfer tune`, "
                          "else the best available."),
        click.option("--allow-fallback", is_flag=True,
                     help="Use the next best provider if the selected one cannot be loaded."),
        click.option("--precision", type=click.Choice([AUTO, *PRECISIONS]), default=AUTO, show_default=True,
                     help="Model precision; auto = as found by `edgeharfer tune`, else as the package "
                          "recommends."),
        click.option("--threads", type=click.IntRange(1, 256),
                     help="ONNX Runtime intra-op threads; default: as found by `edgeharfer tune`, else 1."),
    ]):  # fmt: skip
        command = option(command)
    return command


def backend_from_options(options: dict[str, Any]) -> Backend:
    """Convert the values of `provider_options` to a Backend."""
    return Backend.parse(
        options["provider"],
        precision=options["precision"],
        threads=options["threads"],
        fallback=options["allow_fallback"],
    )


def task_name(value: object) -> str:
    """Check a value of --task.

    A function rather than a click.ParamType, which is generic only in click 8.4 and later.
    """
    task = str(value)
    if task not in PACKAGE_TASKS and not is_addable(task):  # make_task rejects PACKAGE_TASKS
        known = ", ".join(map(repr, EXTRA_TASKS))
        raise click.BadParameter(f"{task!r} is neither {known} nor a model package")
    return task


def task_option(command: F) -> F:
    """Add --task, which runs tasks in addition to the default ones."""
    return click.option(
        "--task",
        type=task_name,
        shell_complete=complete_task,
        metavar="NAME|PACKAGE",
        multiple=True,
        help=f"Additional task ({', '.join(EXTRA_TASKS)}), or the folder of its package; repeatable. See "
        "`edgeharfer tasks`.",
    )(command)


def model_options(command: F) -> F:
    """Add the options that select the models and how they run."""
    for option in reversed([
        *(
            click.option(f"--{name}", default=TASKS[name].package, show_default=True, metavar="PACKAGE|off",
                         shell_complete=complete_package(name, off=True),
                         help=f"{name.capitalize()} package: a shipped name or a folder.")
            for name in PACKAGE_TASKS
        ),
        click.option("--detector", type=click.Choice(list(DETECTORS)), default=DEFAULT_DETECTOR,
                     show_default=True,
                     help="Face detector; auto = BlazeFace confirmed by YuNet in video, YuNet in "
                          "photographs."),
        click.option("--prior", type=click.Choice(["package", "data", "balanced", "uniform"]),
                     default="package", show_default=True, help="Class prior of the emotion model."),
        signature_option,
    ]):  # fmt: skip
        command = option(command)
    return provider_options(command)
