"""Recipes: TOML files with all settings of a training. Shipped recipes are selected by name."""

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
    """Return the shipped recipes for a task ("emotion" or "action"), name -> file."""
    folder = resources.files("edgeharfer.training").joinpath("recipes")
    files = [Path(str(file)) for file in folder.iterdir() if file.name.startswith(f"{task}-")]
    return {file.stem.removeprefix(f"{task}-"): file for file in sorted(files)}


def make_recipe(
    kind: type[T], task: str, name_or_path: str | None, settings: Mapping[str, Any], changes: Sequence[str]
) -> T:
    """Build a recipe from a file, settings and command-line changes; later ones take precedence.

    Args:
        kind: Recipe dataclass. Its fields are the keys, nested dataclasses are tables; keys that are not
            given keep their defaults.
        task: "emotion" or "action".
        name_or_path: Shipped recipe or TOML file; None uses the defaults.
        settings: Values for single keys.
        changes: `key.key=value` assignments.

    Raises:
        ConfigError: Unreadable file, unknown key or value of the wrong type.
    """
    content = read_recipe(name_or_path, task) if name_or_path else {}
    content = {**content, **settings}
    for change in changes:
        content = merge(content, parse_change(change))
    return read_as(ConfigError, record(kind), content, name_or_path or "the recipe")


def parse_change(change: str) -> dict[str, Any]:
    """Parse `key.key=value` into nested tables; the value is TOML or, failing that, plain text."""
    key, sign, value = change.partition("=")
    if not sign or not key.strip():
        raise ConfigError(f"{change}: expected KEY=VALUE, such as augmentation.cutmix_probability=0.5")
    for text in (value, f'"{value}"'):
        try:
            return tomllib.loads(f"{key} = {text}")
        except tomllib.TOMLDecodeError:
            continue
    raise ConfigError(f"{change}: not a valid TOML assignment KEY=VALUE")


def merge(content: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """Return `content` with the tables of `change` merged into it recursively."""
    merged = dict(content)
    for key, value in change.items():
        old = merged.get(key)
        if isinstance(old, dict) and isinstance(value, dict):
            value = merge(old, value)
        merged[key] = value
    return merged


def read_recipe(name_or_path: str, task: str) -> dict[str, Any]:
    """Read a recipe by name or path.

    Raises:
        ConfigError: There is no such recipe, or it is not valid TOML.
    """
    shipped = shipped_recipes(task)
    path = shipped.get(name_or_path, Path(name_or_path))
    if not path.is_file():
        raise ConfigError(f"no recipe {name_or_path}: choose a TOML file or one of {', '.join(shipped)}")
    return read_toml(path)
