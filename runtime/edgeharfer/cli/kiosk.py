"""`edgeharfer kiosk`: the service that runs unattended, from its installation to its state."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgeharfer.cli.extras import needs_extra
from edgeharfer.cli.group import Group
from edgeharfer.cli.options import path_option

if TYPE_CHECKING:
    from edgeharfer.kiosk.install import InstallPaths

root_option = path_option("--root", default=Path("/"), metavar="DIR", help="A folder that stands for /.")
config_option = path_option(
    "--config", default=Path("/etc/edgeharfer/kiosk.toml"), show_default=True, metavar="FILE.toml",
    help="The kiosk's own configuration.",
)  # fmt: skip
state_option = path_option(
    "--state", metavar="DIR", envvar="STATE_DIRECTORY", default=Path("/var/lib/edgeharfer"),
    show_default=True, help="Outbox, calibration and models.",
)  # fmt: skip


@click.group(cls=Group)
def kiosk() -> None:
    """A service for a screen with a camera: installed once, running for years."""


@kiosk.command()
@click.option("--dry-run", is_flag=True, help="Show what would be written, and write nothing.")
@click.option(
    "--browser", default="", metavar="COMMAND",
    help="Also write a unit for the desktop's user that shows the page, such as --browser chromium.",
)  # fmt: skip
@root_option
def install(dry_run: bool, browser: str, root: Path) -> None:
    """Write the systemd unit, the configuration and the state folder, and start the service."""
    from edgeharfer.kiosk.install import InstallPaths, plan_files, run_command
    from edgeharfer.kiosk.install import install as install_service

    places, program = InstallPaths(root), command_path()
    if dry_run:
        for path, content in plan_files(places, program, browser).items():
            click.echo(f"# {path}\n{content}")
        click.echo(f"# {places.state}/\n# the state folder: outbox, calibration, models")
        return
    for line in install_service(places, program, run_command, browser):
        click.echo(line)


@kiosk.command()
@click.option("--purge", is_flag=True, help="Remove an edited configuration as well.")
@root_option
def uninstall(purge: bool, root: Path) -> None:
    """Stop the service and remove what it wrote: unit, state, and the configuration unless it was edited.

    Files that edgeharfer did not write are left and named.
    """
    from edgeharfer.kiosk.install import InstallPaths, run_command
    from edgeharfer.kiosk.uninstall import uninstall as uninstall_service

    for line in uninstall_service(InstallPaths(root), run_command, purge=purge):
        click.echo(line)


@kiosk.command()
@root_option
def status(root: Path) -> None:
    """What is installed and how the running service is; exit code 1 where it is not ready."""
    from edgeharfer.kiosk.install import InstallPaths

    ready = show_status(InstallPaths(root))
    click.get_current_context().exit(0 if ready else 1)


@kiosk.command()
@config_option
@state_option
@click.option(
    "--duration", type=click.FloatRange(0, min_open=True), help="Stop after so many seconds; for trials."
)
def run(config: Path, state: Path, duration: float | None) -> None:
    """Run the service in the foreground, as the unit does."""
    from edgeharfer.cli.stopping import stop_signals
    from edgeharfer.kiosk.config import credential_or_file, load_config

    with needs_extra("kiosk"):
        from edgeharfer.kiosk.service import run_kiosk
    with stop_signals() as stopping:
        run_kiosk(load_config(credential_or_file(config)), state, stopping=stopping, duration_s=duration)


@kiosk.command()
@config_option
@state_option
@click.option("--minutes", type=click.FloatRange(0, min_open=True), default=1.0, show_default=True)
@click.option("--source", metavar="FILE|demo", help="Idle footage in place of the kiosk's own camera.")
def calibrate(config: Path, state: Path, minutes: float, source: str | None) -> None:
    """Watch the idle site, without labels: set the thresholds so that nothing is told of it."""
    from edgeharfer.kiosk.calibrate import calibrate_site, summarize
    from edgeharfer.kiosk.config import load_config

    found = calibrate_site(load_config(config), state, seconds=60 * minutes, source=source)
    click.echo(summarize(found))


def command_path() -> Path:
    """The `edgeharfer` command of this environment."""
    return Path(sys.executable).with_name("edgeharfer")


def show_status(places: InstallPaths) -> bool:
    """Print the state of installation and service; whether it is ready."""
    from edgeharfer.kiosk.config import HealthConfig
    from edgeharfer.kiosk.install import installed_config
    from edgeharfer.kiosk.probe import fetch

    installed, port = places.config.is_file(), HealthConfig().port
    secret = installed and not os.access(places.config, os.R_OK)
    said = f"there, for root alone (sudo); port {port} is assumed" if secret else "there"
    click.echo(f"unit    {places.unit}: {'there' if places.unit.is_file() else 'not installed'}")
    if places.browser_unit.is_file():
        click.echo(f"browser {places.browser_unit}: there")
    click.echo(f"config  {places.config}: {said if installed else 'not installed'}")
    click.echo(f"state   {places.state}: {'there' if places.state.is_dir() else 'not there'}")
    if not installed:
        return False
    if not secret and (config := installed_config(places)) is not None:
        port = config.health.port
    code, text = fetch(port, "/readyz")
    click.echo(f"service {text}")
    return code == 200
