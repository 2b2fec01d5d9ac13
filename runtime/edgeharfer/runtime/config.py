"""Configuration files in TOML. The keys are the long options of the command; unknown keys are errors."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from edgeharfer.runtime.errors import ConfigError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

MAX_BYTES = 1 << 20
"""Maximum size of a configuration file."""


def read_config(path: Path, known: Collection[str]) -> dict[str, Any]:
    """Read the settings of a file.

    Args:
        path: The file.
        known: The allowed keys, with dashes as on the command line.

    Raises:
        ConfigError: The file cannot be read, is not valid TOML, or has an unknown key.
    """
    settings = read_toml(path)
    check_keys(settings, known, str(path))
    return settings


def check_keys(settings: Iterable[str], known: Collection[str], where: str) -> None:
    """Check the keys of a table.

    Args:
        settings: The keys.
        known: The allowed keys.
        where: Location of the table for the error message.

    Raises:
        ConfigError: A key is unknown.
    """
    for key in settings:
        if key not in known:
            near = get_close_matches(key, known, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(sorted(known))}"
            raise ConfigError(f"{where}: unknown key {key!r}; {hint}")


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises:
        ConfigError: The file cannot be read or is not valid TOML.
    """
    try:
        settings: dict[str, Any] = tomllib.loads(read_limited(path, MAX_BYTES).decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from error
    return settings


def read_limited(path: Path, max_bytes: int, hint: str = "") -> bytes:
    """Read a file of limited size that the user named.

    Args:
        path: The file.
        max_bytes: Maximum size.
        hint: Text to append to the error if the file cannot be read.

    Raises:
        ConfigError: The file cannot be read or is too large.
    """
    try:
        with path.open("rb") as file:
            data = file.read(max_bytes + 1)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}{hint and ': ' + hint}") from error
    if len(data) > max_bytes:
        raise ConfigError(f"{path}: larger than the limit of {max_bytes >> 10} KiB")
    return data
