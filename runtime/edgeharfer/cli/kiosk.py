"""`edgeharfer kiosk`: install, run, calibrate and inspect the kiosk service."""

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

root_option = path_option(
    "--root",
    default=Path("/"),
    show_default=True,
    metavar="DIR",
    help="Root folder, for example of a disk image.",
)
config_option = path_option(
    "--config", default=Path("/etc/edgeharfer/kiosk.toml"), show_default=True, metavar="FILE.toml",
    help="Configuration of the kiosk.",
)  # fmt: skip
state_option = path_option(
    "--state", metavar="DIR", envvar="STATE_DIRECTORY", default=Path("/var/lib/edgeharfer"),
    show_default=True, help="State folder: outbox, calibration and models.",
)  # fmt: skip


@click.group(cls=Group)
def kiosk() -> None:
    """Install, run and manage the kiosk service: a screen with a camera."""


@kiosk.command()
@click.option("--dry-run", is_flag=True, help="Show what would be written without writing it.")
@click.option(
    "--browser", default="", metavar="COMMAND",
    help="Also install a user unit that shows the page in this browser, such as chromium.",
)  # fmt: skip
@root_option
def install(dry_run: bool, browser: str, root: Path) -> None:
    """Install the systemd unit, configuration and state folder, and start the service."""
    from edgeharfer.kiosk.install import InstallPaths, plan_files, run_command
    from edgeharfer.kiosk.install import install as install_service

    paths, program = InstallPaths(root), command_path()
    if dry_run:
        for path, content in plan_files(paths, program, browser).items():
            click.echo(f"# {path}\n{content}")
        click.echo(f"# {paths.state}/\n# the state folder: outbox, calibration, models")
        return
    for line in install_service(paths, program, run_command, browser):
        click.echo(line)


@kiosk.command()
@click.option("--purge", is_flag=True, help="Also remove an edited configuration.")
@root_option
def uninstall(purge: bool, root: Path) -> None:
    """Stop the service and remove its unit, state and, unless edited, configuration.

    Files that edgeharfer did not write are kept and listed.
    """
    from edgeharfer.kiosk.install import InstallPaths, run_command
    from edgeharfer.kiosk.uninstall import uninstall as uninstall_service

    for line in uninstall_service(InstallPaths(root), run_command, purge=purge):
        click.echo(line)


@kiosk.command()
@root_option
def status(root: Path) -> None:
    """Show what is installed and the state of the service.

    The exit code is 1 if the service is not ready.
    """
    from edgeharfer.kiosk.install import InstallPaths

    ready = show_status(InstallPaths(root))
    click.get_current_context().exit(0 if ready else 1)


@kiosk.command()
@config_option
@state_option
@click.option("--duration", type=click.FloatRange(0, min_open=True), help="Stop after this many seconds.")
def run(config: Path, state: Path, duration: float | None) -> None:
    """Run the service in the foreground."""
    from edgeharfer.cli.stopping import stop_signals
    from edgeharfer.kiosk.config import credential_or_file, load_config

    with needs_extra("kiosk"):
        from edgeharfer.kiosk.service import run_kiosk
    with stop_signals() as stopping:
        run_kiosk(load_config(credential_or_file(config)), state, stopping=stopping, duration_s=duration)


@kiosk.command()
@config_option
@state_option
@click.option("--minutes", type=click.FloatRange(0, min_open=True), default=1.0, show_default=True,
              help="Minutes of video to watch.")  # fmt: skip
@click.option("--source", metavar="FILE|demo", help="Video of the idle site; default: the kiosk's camera.")
def calibrate(config: Path, state: Path, minutes: float, source: str | None) -> None:
    """Set the decision thresholds from video of the idle site, without labels."""
    from edgeharfer.kiosk.calibrate import calibrate_site, summarize
    from edgeharfer.kiosk.config import load_config

    loaded = load_config(config)
    found = calibrate_site(loaded, state, seconds=60 * minutes, source=source)
    click.echo(summarize(found, loaded.decisions.min_score))


def command_path() -> Path:
    """Path of the `edgeharfer` command in this environment."""
    return Path(sys.executable).with_name("edgeharfer")


def show_status(paths: InstallPaths) -> bool:
    """Print the state of the installation and the service, and return whether it is ready."""
    from edgeharfer.kiosk.config import HealthConfig
    from edgeharfer.kiosk.install import installed_config
    from edgeharfer.kiosk.probe import fetch

    installed, port = paths.config.is_file(), HealthConfig().port
    unreadable = installed and not os.access(paths.config, os.R_OK)
    presence = (
        f"installed, readable by root only (use sudo); assuming port {port}" if unreadable else "installed"
    )
    click.echo(f"unit    {paths.unit}: {'installed' if paths.unit.is_file() else 'not installed'}")
    if paths.browser_unit.is_file():
        click.echo(f"browser {paths.browser_unit}: installed")
    click.echo(f"config  {paths.config}: {presence if installed else 'not installed'}")
    click.echo(f"state   {paths.state}: {'present' if paths.state.is_dir() else 'missing'}")
    if not installed:
        return False
    if not unreadable and (config := installed_config(paths)) is not None:
        port = config.health.port
    code, text = fetch(port, "/readyz")
    click.echo(f"service {text}")
    return code == 200
