"""The option --json of commands that print a list; docs/reference/json.md describes their output."""

from __future__ import annotations

import json

import click

from edgeharfer.cli.options import F
from edgeharfer.runtime.versions import product_version

FORMAT = 1
"""Version of the output. Keys may be added to a version, but none is removed or changed."""


def json_option(command: F) -> F:
    """Add the flag --json, whose value is passed as `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")(command)


def print_json(**facts: object) -> None:
    """Print an object with the version of its format and of edgeharfer."""
    content = {"format": FORMAT, "version": product_version(), **facts}
    click.echo(json.dumps(content, indent=2, ensure_ascii=False))
