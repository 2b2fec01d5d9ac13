"""Recipes: all settings of a training in a TOML file; those that ship are chosen by name."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

from edgeharfer.runtime.config import read_toml
from edgeharfer.runtime.errors import ConfigError
from edgeharfer.runtime.strict_json import read_as, record

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

    Keys are the fields of `kind`; tables are its nested dataclasses; what a file leaves out keeps its
    default. Raises ConfigError for a file that cannot be read, unknown keys and values of the wrong type.
    """
    content = read_recipe(name_or_path, task) if name_or_path else {}
    content = {**content, **settings}
    for change in changes:
        content = merge(content, parse_change(change))
    return read_as(ConfigError, record(kind), content, name_or_path or "the recipe")


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


def read_recipe(name_or_path: str, task: str) -> dict[str, Any]:
    """The tables of a recipe, by name or file. Raises ConfigError."""
    shipped = shipped_recipes(task)
    path = shipped.get(name_or_path, Path(name_or_path))
    if not path.is_file():
        raise ConfigError(f"no recipe {name_or_path}: give a TOML file or one of {', '.join(shipped)}")
    return read_toml(path)
