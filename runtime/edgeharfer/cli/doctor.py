"""`edgeharfer doctor`: check this installation."""

from __future__ import annotations

import sys

import click

MARKS = {True: "ok", False: "bad", None: "--"}


@click.command()
@click.option("--full", is_flag=True, help="Also import the slow packages: TensorFlow, MediaPipe.")
def doctor(full: bool) -> None:
    """Check this installation and show the command that fixes each problem.

    \b
    ok     works: imported, run or connected to
    found  installed, but not tested
    bad    does not work
    --     not installed; only needed for some features

    The exit code is 2 if something does not work.
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
