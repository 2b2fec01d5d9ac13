"""`edgeharfer tasks`: the tasks that ship, a line each."""

from __future__ import annotations

import click

from edgeharfer.runtime.tasks import TASKS


@click.command()
def tasks() -> None:
    """List the tasks: what a frame and the faces in it can be read for.

    Emotions and actions have packages, which --emotion and --action of `edgeharfer run` choose. --task adds
    the others, and takes the folder of a package for any further task.
    """
    width = max(map(len, TASKS))
    for name, entry in TASKS.items():
        click.echo(f"{name:{width}}  {entry.summary}")
