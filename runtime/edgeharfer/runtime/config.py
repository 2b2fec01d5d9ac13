"""Configuration files: TOML whose keys are the command's options, strictly."""

from __future__ import annotations

import tomllib
from collections.abc import Collection
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from edgeharfer.runtime.errors import ConfigError

MAX_BYTES = 1 << 20


def read_config(path: Path, known: Collection[str]) -> dict[str, Any]:
    """The settings of a file, keys with dashes as on the command line.

    Raises ConfigError for a file that cannot be read, is no TOML, or holds a key that is not `known`.
    """
    settings = read_toml(path)
    for key in settings:
        if key not in known:
            near = get_close_matches(key, known, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(sorted(known))}"
            raise ConfigError(f"{path}: unknown key {key!r}; {hint}")
    return settings


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a TOML file. Raises ConfigError for a file that cannot be read or is no TOML."""
    try:
        return tomllib.loads(read_limited(path, MAX_BYTES).decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from error


def read_limited(path: Path, most: int, hint: str = "") -> bytes:
    """The bytes of a file that a person named. Raises ConfigError, with the hint where it cannot be read."""
    try:
        with path.open("rb") as file:
            data = file.read(most + 1)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}{hint and ': ' + hint}") from error
    if len(data) > most:
        raise ConfigError(f"{path}: larger than {most >> 10} KiB, the most that is read of it")
    return data
