"""`edgeharfer tasks`: list the available tasks."""

from __future__ import annotations

import click

from edgeharfer.runtime.tasks import TASKS


@click.command()
def tasks() -> None:
    """List the available tasks.

    --emotion and --action of `edgeharfer run` select the packages of these two tasks. --task adds the other
    tasks by name, and custom tasks by the folder of their package.
    """
    width = max(map(len, TASKS))
    for name, entry in TASKS.items():
        click.echo(f"{name:{width}}  {entry.summary}")
