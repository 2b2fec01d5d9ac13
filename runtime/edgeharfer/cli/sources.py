"""The sources of `edgeharfer run`: --source, and the [[source]] tables of a configuration file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from edgeharfer.cli.options import TableOption, picture_size, source_spec
from edgeharfer.runtime.schedule import face_interval_s

if TYPE_CHECKING:
    from edgeharfer.runtime.inputs import SourceSpec

OPENING_KEYS = ("fps", "follow-redirects", "decode")
SETTING_KEYS = ("size", *OPENING_KEYS, "face-rate")
"""Options of `edgeharfer run` that a [[source]] table can set for one source."""
ONE_SOURCE = ("save", "hold", "record", "replay")
"""Options that take one source."""


class SourceOption(TableOption):
    """--source, which a configuration file can also have as [[source]] tables."""

    required_keys, text_keys, setting_keys = ("url",), ("name", "url"), SETTING_KEYS


def make_source(value: object) -> SourceSpec:
    """Convert a value of --source, or a checked table, to a SourceSpec."""
    from edgeharfer.runtime.inputs import SourceSpec

    if isinstance(value, SourceSpec):  # click converts a default twice
        return value
    if not isinstance(value, Mapping):
        return SourceSpec(source_spec(value))
    opening = {key.replace("-", "_"): value[key] for key in OPENING_KEYS if key in value}
    if "size" in value:
        opening["width"], opening["height"] = picture_size(value["size"])
    rate_hz = value.get("face-rate")
    interval_s = None if rate_hz is None else face_interval_s(rate_hz)
    return SourceSpec(source_spec(value["url"]), value.get("name", ""), opening, interval_s)


def check_sources(sources: Sequence[SourceSpec], options: Mapping[str, Any]) -> None:
    """Check several sources.

    Raises:
        click.UsageError: Two have the same name, a name is reserved, or an option takes one source only.
    """
    from edgeharfer.runtime.inputs import RESERVED_NAMES

    if len(sources) < 2:
        return
    names = [one.name for one in sources if one.name]
    if wrong := [name for name in names if name in RESERVED_NAMES or names.count(name) > 1]:
        raise click.UsageError(f"[[source]] name {wrong[0]!r}: reserved or used twice; choose another name")
    if given := [name for name in ONE_SOURCE if options[name]]:
        raise click.UsageError(f"--{given[0]} takes one source: run each source on its own")
