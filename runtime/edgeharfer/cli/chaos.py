"""`edgeharfer chaos`: inject faults into the installed product and measure the recovery from each."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeharfer.cli.options import config_option, model_options, path_option
from edgeharfer.cli.progress import echo
from edgeharfer.runtime.progress import with_progress
from edgeharfer.runtime.staging import write_json
from edgeharfer.runtime.tasks import PACKAGE_TASKS

if TYPE_CHECKING:
    from edgeharfer.chaos.fault import Fault

RUN_OPTIONS = (*PACKAGE_TASKS, "detector", "prior", "provider", "precision", "threads")


@click.command()
@click.option("--only", metavar="NAME,…", help="Comma-separated list of faults to inject; default: all.")
@path_option("--json", "json_file", metavar="FILE", help="Write the outcomes as JSON.")
@model_options
@config_option
def chaos(only: str | None, json_file: Path | None, **options: Any) -> None:
    """Inject faults on this device and measure the recovery from each.

    Each fault is injected into a separate run on the demo, served on the loopback interface: the source
    drops, stalls, freezes or sends garbage, the reader crashes or hangs, the disk is full, memory is scarce,
    the wall clock changes, or a model is damaged. Nothing outside a temporary folder is changed.

    The exit code is 1 if a recovery takes too long, and 75 if the machine is too busy to tell.
    """
    from edgeharfer.chaos.trial import exit_code, line, report, run_faults, table_header

    faults = select_faults(only)
    outcomes = []
    click.echo(table_header())
    found = run_faults(faults, run_options(options))
    for outcome in with_progress(found, "injecting faults", len(faults)):
        echo(line(outcome))
        outcomes.append(outcome)
    if json_file is not None:
        write_json(json_file, report(outcomes))
    click.get_current_context().exit(exit_code(outcomes))


def select_faults(only: str | None) -> list[Fault]:
    """Return the named faults in the order of FAULTS; all of them for None.

    Raises:
        click.UsageError: There is no fault of that name.
    """
    from edgeharfer.chaos.trial import FAULTS

    names = {fault.name for fault in FAULTS}
    wanted = names if only is None else {name.strip() for name in only.split(",")}
    if unknown := wanted - names:
        known = ", ".join(fault.name for fault in FAULTS)
        raise click.UsageError(f"--only: unknown fault {sorted(unknown)[0]!r}; choose from {known}")
    return [fault for fault in FAULTS if fault.name in wanted]


def run_options(options: dict[str, Any]) -> list[str]:
    """Convert the model options to command-line arguments of `run`."""
    arguments = [
        argument
        for name in RUN_OPTIONS
        if options[name] is not None
        for argument in (f"--{name}", str(options[name]))
    ]
    return [*arguments, "--allow-fallback"] if options["allow_fallback"] else arguments
