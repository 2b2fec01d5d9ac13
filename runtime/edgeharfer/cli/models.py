"""`edgeharfer models`: list, show, verify, sign and install model packages."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgeharfer.cli.completion import complete_package
from edgeharfer.cli.extras import needs_extra
from edgeharfer.cli.group import Group
from edgeharfer.cli.json_output import json_option, print_json
from edgeharfer.cli.options import path_option, signature_option
from edgeharfer.cli.progress import echo
from edgeharfer.runtime.errors import MissingExtra
from edgeharfer.runtime.progress import step, with_progress

if TYPE_CHECKING:
    from edgeharfer.runtime.inference.package import Package

CARD = "MODELCARD.md"


@click.group(cls=Group)
def models() -> None:
    """List, show, verify, sign and install model packages."""


@models.command("list")
@json_option
def list_packages(as_json: bool) -> None:
    """List the shipped packages."""
    from edgeharfer.runtime.inference.package import shipped_packages

    if as_json:
        print_json(packages=[package_facts(package) for package in shipped_packages()])
        return
    for package in shipped_packages():
        manifest = package.manifest
        spec, count = manifest.input, len(manifest.labels)
        click.echo(
            f"{manifest.name:18} {manifest.task:8} {f'{count:2} classes' if count > 1 else '':10}  "
            f"{spec.width}x{spec.height} {spec.color:4}  "
            f"{'/'.join(manifest.files)}  {megabytes(package):.1f} MB"
        )


@models.command()
@click.argument("package", shell_complete=complete_package())
@click.option("--card", is_flag=True, help="Print the model card instead of the manifest.")
def info(package: str, card: bool) -> None:
    """Print the manifest of PACKAGE as JSON, or its model card."""
    from edgeharfer.runtime.inference.manifest import dump_manifest
    from edgeharfer.runtime.inference.package import load_package

    found = load_package(package)
    click.echo(read_card(found) if card else dump_manifest(found.manifest), nl=False)


@models.command()
@click.argument("packages", nargs=-1, metavar="[PACKAGE]...", shell_complete=complete_package())
@signature_option
def verify(packages: tuple[str, ...], require_signature: Path | None) -> None:
    """Verify the files of PACKAGEs and run each graph once; default: all shipped packages.

    Size, SHA-256 and contents of every file are checked. The graphs run in a child process with a
    time limit of 15 seconds.
    """
    from edgeharfer.runtime.inference.package import shipped_packages, verify_package

    signed = "" if require_signature is None else ", signed"
    names = packages or tuple(package.manifest.name for package in shipped_packages())
    for name in with_progress(names, "verifying"):
        package = verify_package(name, require_signature=require_signature)
        count = sum(len(files) for files in package.manifest.files.values())
        verified = f"{count} model file{'s' if count > 1 else ''} verified{signed}{run_graphs(package)}"
        echo(f"{package.manifest.name}: {verified}")


@models.command()
@click.argument("packages", nargs=-1, metavar="[PACKAGE]...", shell_complete=complete_package())
@click.option(
    "--for",
    "target",
    type=click.Choice(["tensorrt"]),
    required=True,
    help="Engine that the graphs are built for.",
)
def check(packages: tuple[str, ...], target: str) -> None:
    """Build the graphs of PACKAGEs for another engine, without a GPU; default: all shipped packages.

    TensorRT-RTX (extra tensorrt-check) parses and builds each graph on the CPU, in each precision and in the
    form that --provider tensorrt gets. This shows that a graph is accepted, not its speed or its outputs.
    """
    from edgeharfer.evaluate.parser_check import check_package
    from edgeharfer.runtime.errors import ModelError
    from edgeharfer.runtime.inference.package import load_package, shipped_packages

    refused = []
    chosen = [load_package(name) for name in packages] or shipped_packages()
    for package in with_progress(chosen, "building graphs", len(chosen)):
        with needs_extra("tensorrt-check"):
            for found in check_package(package):
                graph = f"{package.manifest.name} {found.role} {found.precision}"
                accepted = f"accepted by {target}, {found.layers} layers, {found.seconds:.1f} s"
                echo(f"{graph}: {accepted if found.reason is None else f'rejected: {found.reason}'}")
                refused += [graph] if found.reason is not None else []
    if refused:
        raise ModelError(f"{target} rejects {', '.join(refused)}: see the reasons above")


@models.command()
@click.argument("file", type=click.Path(path_type=Path))
def keygen(file: Path) -> None:
    """Generate a signing key pair: FILE (private) and FILE.pub (public)."""
    from edgeharfer.runtime.inference.signature import generate_key_pair

    public = generate_key_pair(file)
    click.echo(f"{file}: keep this file secret; pass {public} as --require-signature")


@models.command()
@click.argument("package", type=click.Path(path_type=Path))
@path_option("--key", required=True, metavar="FILE", help="Private key from `edgeharfer models keygen`.")
def sign(package: Path, key: Path) -> None:
    """Sign the package folder PACKAGE.

    The hash of every file is written to manifest.json, and the signature to manifest.sig.
    """
    from edgeharfer.runtime.inference.package import sign_package

    signed = sign_package(package, key)
    click.echo(f"{package}: {signed.manifest.name} is signed; verify it with `edgeharfer models verify`")


def run_graphs(package: Package) -> str:
    """Run each graph once and return a note for the output line; "" if all ran.

    Raises:
        ModelError: A graph fails or exceeds the time limit.
    """
    from edgeharfer.evaluate.trial import run_trial

    try:
        run_trial(package)
    except MissingExtra:
        return ", not run: ONNX Runtime is not installed"
    return ""


def package_facts(package: Package) -> dict[str, object]:
    """Facts about a package for `models list --json`."""
    manifest = package.manifest
    spec, window = manifest.input, manifest.window
    return {
        "name": manifest.name,
        "task": manifest.task,
        "labels": list(manifest.labels),
        "values": [value.name for value in manifest.values],
        "input": {"width": spec.width, "height": spec.height, "color": spec.color},
        "window": None if window is None else {"frames": window.frames, "seconds": window.seconds},
        "precisions": list(manifest.files),
        "bytes": total_bytes(package),
        "path": str(package.path),
    }


def total_bytes(package: Package) -> int:
    """Total size of the model files; a file that several precisions share counts each time."""
    return sum(file.bytes for files in package.manifest.files.values() for file in files.values())


def megabytes(package: Package) -> float:
    """Total size of the model files, in MB."""
    return total_bytes(package) / 1e6


def read_card(package: Package) -> str:
    """Read the model card of a package.

    Raises:
        ModelError: The package has no readable model card.
    """
    from edgeharfer.runtime.inference.package import read_regular_file

    if CARD in package.manifest.other_files:
        return package.read_other_file(CARD).decode("utf-8", "replace")
    return read_regular_file(package.path / CARD, 1 << 20).decode("utf-8", "replace")


@models.command()
@click.argument("path", type=click.Path(path_type=Path))
@path_option(
    "--config", default=Path("/etc/edgeharfer/kiosk.toml"), show_default=True,
    help="Configuration of the kiosk.",
)  # fmt: skip
@path_option(
    "--state", default=Path("/var/lib/edgeharfer"), show_default=True, help="State folder of the kiosk."
)
@signature_option
def install(path: Path, config: Path, state: Path, require_signature: Path | None) -> None:
    """Install the package PATH in a running kiosk.

    The package is verified, tested and switched to at once; on failure the previous one is restored.
    """
    from edgeharfer.kiosk.config import default_config, load_config
    from edgeharfer.kiosk.update import install_package
    from edgeharfer.runtime.inference.package import load_package

    settings = load_config(config) if config.is_file() else default_config()
    key = require_signature or settings.models.signature_key
    task = load_package(path, require_signature=key).manifest.task
    replaces = getattr(settings.models, task, "off")
    with step(f"testing {path.name}"):
        update = install_package(path, state, replaces=replaces, require_signature=key)
    before = update.previous or "as configured"
    click.echo(f"{update.folder.name}: {update.trial.median_ms:.1f} ms per inference; previous: {before}")
