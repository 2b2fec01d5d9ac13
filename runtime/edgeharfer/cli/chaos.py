"""`edgeharfer chaos`: faults done to the installed product for real, with the recovery time of each."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeharfer.cli.options import config_option, model_options, path_option
from edgeharfer.runtime.staging import write_json
from edgeharfer.runtime.tasks import PACKAGE_TASKS

if TYPE_CHECKING:
    from edgeharfer.chaos.fault import Fault

RUN_OPTIONS = (*PACKAGE_TASKS, "detector", "prior", "provider", "precision", "threads")


@click.command()
@click.option("--only", metavar="NAME,…", help="These faults alone; all of them by default.")
@path_option("--json", "json_file", metavar="FILE", help="Outcomes.")
@model_options
@config_option
def chaos(only: str | None, json_file: Path | None, **options: Any) -> None:
    """Do faults to the product on this device, for real, and time its recovery from each.

    Each fault gets a run of its own on the demo's pictures, served on the loopback interface: the source
    drops, stalls, freezes or sends garbage, the reader crashes or hangs, the disk is full, the memory too
    little, the wall clock set, a model damaged. Nothing outside a temporary folder is touched.
    The exit code is 1 where one is not recovered from in time, and 75 where that could not be judged because
    the machine is too busy with other work.
    """
    from edgeharfer.chaos.trial import exit_code, line, report, run_faults, table_header

    faults = chosen(only)
    outcomes = []
    click.echo(table_header())
    for outcome in run_faults(faults, run_options(options)):
        click.echo(line(outcome))
        outcomes.append(outcome)
    if json_file is not None:
        write_json(json_file, report(outcomes))
    click.get_current_context().exit(exit_code(outcomes))


def chosen(only: str | None) -> list[Fault]:
    """The faults of these names, in the table's order. Raises UsageError."""
    from edgeharfer.chaos.trial import FAULTS

    names = {fault.name for fault in FAULTS}
    wanted = names if only is None else {name.strip() for name in only.split(",")}
    if unknown := wanted - names:
        known = ", ".join(fault.name for fault in FAULTS)
        raise click.UsageError(f"--only: there is no fault {sorted(unknown)[0]!r}; there are {known}")
    return [fault for fault in FAULTS if fault.name in wanted]


def run_options(options: dict[str, Any]) -> list[str]:
    """The options of models, as `run` takes them."""
    words = [
        word
        for name in RUN_OPTIONS
        if options[name] is not None
        for word in (f"--{name}", str(options[name]))
    ]
    return [*words, "--allow-fallback"] if options["allow_fallback"] else words
