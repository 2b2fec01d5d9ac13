"""Recipes: all settings of a training in a TOML file; those that ship are chosen by name."""

from __future__ import annotations

import tomllib
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

from edgeharfer.runtime.errors import ConfigError

T = TypeVar("T")


def shipped_recipes(task: str) -> dict[str, Path]:
    """Name -> file of the recipes that ship for a task ("emotion" or "action")."""
    folder = resources.files("edgeharfer.training").joinpath("recipes")
    files = [Path(str(file)) for file in folder.iterdir() if file.name.startswith(f"{task}-")]
    return {file.stem.removeprefix(f"{task}-"): file for file in sorted(files)}


def make_recipe(
    kind: type[T], task: str, name_or_path: str | None, settings: Mapping[str, Any], changes: Sequence[str]
) -> T:
    """A recipe (the defaults where none is named) with single settings and `key.key=value` changes on top.

    Raises ConfigError as load_recipe does.
    """
    content = read_recipe(name_or_path, task) if name_or_path else {}
    content = {**content, **settings}
    for change in changes:
        content = merge(content, parse_change(change))
    return build(kind, content, name_or_path or "the recipe")


def parse_change(change: str) -> dict[str, Any]:
    """`key.key=value` as nested tables; the value as TOML writes it, or else plain text."""
    key, sign, value = change.partition("=")
    if not sign or not key.strip():
        raise ConfigError(f"{change}: give KEY=VALUE, such as augmentation.cutmix_probability=0.5")
    for text in (value, f'"{value}"'):
        try:
            return tomllib.loads(f"{key} = {text}")
        except tomllib.TOMLDecodeError:
            continue
    raise ConfigError(f"{change}: not KEY=VALUE as TOML writes it")


def merge(content: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """The tables of `content` with those of `change` laid over them."""
    merged = dict(content)
    for key, value in change.items():
        old = merged.get(key)
        if isinstance(old, dict) and isinstance(value, dict):
            value = merge(old, value)
        merged[key] = value
    return merged


def load_recipe(name_or_path: str, kind: type[T], task: str) -> T:
    """The recipe of that name, or the one in that file, as a dataclass `kind`.

    Keys are the fields of `kind`; tables are its nested dataclasses; what a file leaves out keeps its
    default. Raises ConfigError for a file that cannot be read, unknown keys and values of the wrong type.
    """
    return build(kind, read_recipe(name_or_path, task), name_or_path)


def read_recipe(name_or_path: str, task: str) -> dict[str, Any]:
    """The tables of a recipe, by name or file. Raises ConfigError."""
    shipped = shipped_recipes(task)
    path = shipped.get(name_or_path, Path(name_or_path))
    if not path.is_file():
        raise ConfigError(f"no recipe {name_or_path}: give a TOML file or one of {', '.join(shipped)}")
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from error


def build(kind: type[T], content: Mapping[str, Any], where: str) -> T:
    """A frozen dataclass from a table; `where` names the file and table in messages."""
    hints = typing.get_type_hints(kind)
    known = {field.name for field in fields(kind)}  # type: ignore[arg-type]
    if unknown := sorted(set(content) - known):
        raise ConfigError(f"{where}: unknown key {unknown[0]}: known are {', '.join(sorted(known))}")
    values = {key: _value(hints[key], value, f"{where}: {key}") for key, value in content.items()}
    try:
        return kind(**values)
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from error


def _value(hint: Any, value: Any, where: str) -> Any:
    """The value as the field wants it: tables become dataclasses, arrays tuples, whole numbers floats."""
    choices = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
    for choice in choices:
        if is_dataclass(choice) and isinstance(value, dict):
            return build(typing.cast(type[Any], choice), value, where)
        if typing.get_origin(choice) is tuple and isinstance(value, list):
            return tuple(_value(typing.get_args(choice)[0], item, where) for item in value)
        if choice is float and type(value) is int:
            return float(value)
        if isinstance(choice, type) and type(value) is choice:
            return value
    wanted = " or ".join(getattr(choice, "__name__", str(choice)) for choice in choices)
    raise ConfigError(f"{where}: {value!r} is not {wanted}")
