"""`edgeharfer doctor`: what works here."""

from __future__ import annotations

import sys

import click

MARKS = {True: "ok", False: "bad", None: "--"}


@click.command()
def doctor() -> None:
    """Show what works here, and the line that mends what does not. Exit code 2 if something is broken."""
    from edgeharfer.runtime.doctor import examine

    broken = False
    for finding in examine():
        broken |= finding.ok is False
        mend = f"  ->  {finding.mend}" if finding.mend else ""
        click.echo(f"{MARKS[finding.ok]:4}{finding.topic:10}{finding.what}{mend}")
    if broken:
        sys.exit(2)
