"""`edgeharfer doctor`: what works here."""

from __future__ import annotations

import sys

import click

MARKS = {True: "ok", False: "bad", None: "--"}


@click.command()
@click.option("--full", is_flag=True, help="Also import what takes long to import: TensorFlow, MediaPipe.")
def doctor(full: bool) -> None:
    """Check what works here, and show the command that fixes what does not.

    \b
    ok     works: it was imported, run or connected to
    found  is there, but was not used
    bad    does not work
    --     is absent, which only matters to those who need it

    Exit code 2 if something is broken.
    """
    from edgeharfer.runtime.doctor import run_checks

    broken = False
    for finding in run_checks(full=full):
        broken |= finding.ok is False
        mark = MARKS[finding.ok] if finding.verified else "found"
        fix = f"  ->  {finding.fix}" if finding.fix else ""
        click.echo(f"{mark:7}{finding.topic:10}{finding.message}{fix}")
    if broken:
        sys.exit(2)
