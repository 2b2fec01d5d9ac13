"""`edgeharfer tasks`: list the available tasks."""

from __future__ import annotations

import click

from edgeharfer.cli.json_output import json_option, print_json
from edgeharfer.runtime.tasks import TASKS


@click.command()
@json_option
def tasks(as_json: bool) -> None:
    """List the available tasks.

    --emotion and --action of `edgeharfer run` select the packages of these two tasks. --task adds the other
    tasks by name, and custom tasks by the folder of their package.
    """
    if as_json:
        rows = [
            {"name": name, "summary": one.summary, "scope": one.scope, "package": one.package or None}
            for name, one in TASKS.items()
        ]
        print_json(tasks=rows)
        return
    width = max(map(len, TASKS))
    for name, entry in TASKS.items():
        click.echo(f"{name:{width}}  {entry.summary}")
