"""`edgeharfer doctor`: check this installation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from edgeharfer.cli.json_output import json_option, print_json
from edgeharfer.cli.progress import echo
from edgeharfer.cli.style import BAD, GOOD, NOTE, mark
from edgeharfer.runtime.progress import step

if TYPE_CHECKING:
    from edgeharfer.runtime.doctor import Finding

STATUS = {True: "ok", False: "bad", None: "missing"}
WORDS = {"missing": "--"}
COLORS = {"ok": GOOD, "bad": BAD, "found": NOTE, "missing": None}


@click.command()
@click.option("--full", is_flag=True, help="Also import the slow packages: TensorFlow, MediaPipe.")
@json_option
def doctor(full: bool, as_json: bool) -> None:
    """Check this installation and show the command that fixes each problem.

    \b
    ok     works: imported, run or connected to
    found  installed, but not tested
    bad    does not work
    --     not installed; only needed for some features

    The exit code is 2 if something does not work.
    """
    from edgeharfer.runtime.doctor import run_checks

    findings = []
    with step("checking"):
        for finding in run_checks(full=full):
            findings.append(finding)
            if not as_json:
                echo(finding_line(finding))
    ok = all(finding.ok is not False for finding in findings)
    if as_json:
        rows = [
            {"topic": one.topic, "status": status(one), "message": one.message, "fix": one.fix or None}
            for one in findings
        ]
        print_json(ok=ok, findings=rows)
    if not ok:
        click.get_current_context().exit(2)


def status(finding: Finding) -> str:
    """The status of a finding: ok, found, bad or missing."""
    return STATUS[finding.ok] if finding.verified else "found"


def finding_line(finding: Finding) -> str:
    """Format a finding for the terminal."""
    found = status(finding)
    word = mark(WORDS.get(found, found), COLORS[found])
    fix = f"  ->  {finding.fix}" if finding.fix else ""
    return f"{word}{' ' * (7 - len(WORDS.get(found, found)))}{finding.topic:10}{finding.message}{fix}"
