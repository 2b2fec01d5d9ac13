"""`edgeharfer models`: what packages there are, what is in them, whether they are whole."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from edgeharfer.runtime.package import Package


@click.group()
def models() -> None:
    """List, show and verify model packages."""


@models.command("list")
def list_packages() -> None:
    """The packages that ship, one a line."""
    from edgeharfer.runtime.package import shipped_packages

    for package in shipped_packages():
        manifest = package.manifest
        spec = manifest.input
        click.echo(
            f"{manifest.name:18} {manifest.task:8} {len(manifest.labels):3} classes  "
            f"{spec.width}x{spec.height} {spec.color:4}  "
            f"{'/'.join(manifest.files)}  {megabytes(package):.1f} MB"
        )


@models.command()
@click.argument("package")
@click.option("--card", is_flag=True, help="Print the model card instead.")
def info(package: str, card: bool) -> None:
    """All facts of a PACKAGE, as JSON, or its model card."""
    from edgeharfer.runtime.manifest import dump_manifest
    from edgeharfer.runtime.package import load_package

    found = load_package(package)
    click.echo(read_card(found) if card else dump_manifest(found.manifest), nl=False)


@models.command()
@click.argument("packages", nargs=-1, metavar="[PACKAGE]...")
def verify(packages: tuple[str, ...]) -> None:
    """Check size, hash and contents of every file; without a PACKAGE, of all that ship."""
    from edgeharfer.runtime.package import shipped_packages, verify_package

    for name in packages or tuple(package.manifest.name for package in shipped_packages()):
        package = verify_package(name)
        count = sum(len(files) for files in package.manifest.files.values())
        click.echo(f"{package.manifest.name}: {count} model file{'s' if count > 1 else ''} whole")


def megabytes(package: Package) -> float:
    """Size of all model files."""
    return sum(file.bytes for files in package.manifest.files.values() for file in files.values()) / 1e6


def read_card(package: Package) -> str:
    """The model card, or why there is none to show."""
    from edgeharfer.runtime.package import read_regular

    return read_regular(package.path / "MODELCARD.md", 1 << 20).decode("utf-8", "replace")


@models.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    default=Path("/etc/edgeharfer/kiosk.toml"),
    show_default=True,
    help="The kiosk's configuration.",
)
@click.option(
    "--state",
    type=click.Path(path_type=Path),
    default=Path("/var/lib/edgeharfer"),
    show_default=True,
    help="The kiosk's state folder.",
)
def install(path: Path, config: Path, state: Path) -> None:
    """Give a running kiosk another package: verified, tried, switched at once, undone where it fails."""
    from edgeharfer.kiosk.config import default_config, load_config
    from edgeharfer.kiosk.update import install_package
    from edgeharfer.runtime.package import load_package

    settings = load_config(config) if config.is_file() else default_config()
    task = load_package(path).manifest.task
    update = install_package(path, state, replaces=getattr(settings.models, task, "off"))
    before = update.before or "as configured"
    click.echo(f"{update.folder.name}: {update.trial.median_ms:.1f} ms an answer; before: {before}")
