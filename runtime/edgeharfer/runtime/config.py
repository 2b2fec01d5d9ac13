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
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise ConfigError(f"{path}: larger than {MAX_BYTES >> 20} MiB; this is no configuration file")
        return tomllib.loads(data.decode())
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from error
