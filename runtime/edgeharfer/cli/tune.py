"""`edgeharfer tune`: find the fastest provider, precision and threads on this device and save them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from edgeharfer.cli.completion import complete_package
from edgeharfer.cli.progress import progress_bar
from edgeharfer.runtime.inference.backend import AUTO

if TYPE_CHECKING:
    from edgeharfer.benchmark.tune import Tuning


@click.command()
@click.argument("packages", nargs=-1, metavar="[PACKAGE]...", shell_complete=complete_package())
@click.option(
    "--runs",
    type=click.IntRange(10, 100_000),
    default=300,
    show_default=True,
    help="Measured runs of each graph on each provider; at least 50 are made.",
)
@click.option("--dry-run", is_flag=True, help="Show the results without saving them.")
def tune(packages: tuple[str, ...], runs: int, dry_run: bool) -> None:
    """Find the fastest provider, precision and number of threads for each package.

    Each PACKAGE is measured in each precision on each provider; default: all shipped packages.

    `edgeharfer run` then uses the fastest combination unless --provider, --precision or --threads say
    otherwise, until the machine, ONNX Runtime, a plug-in, edgeharfer or the package changes.

    The provider is chosen for each graph of a package, and only if its outputs agree with those of the CPU
    provider. Work on the CPU is compared by processor time, which other load on the machine does not
    change.
    """
    from edgeharfer.benchmark.machine import is_busy, load_average, usable_cores
    from edgeharfer.benchmark.ours import BenchmarkSetup
    from edgeharfer.benchmark.tune import thread_counts, tune_package
    from edgeharfer.runtime.inference.package import load_package, shipped_packages
    from edgeharfer.runtime.inference.providers import available_providers
    from edgeharfer.runtime.inference.tuning import package_key, tuned_graphs, tuned_packages, write_record

    busy = is_busy({"cores": usable_cores(), "load_average": load_average()})
    if busy:
        click.echo("this machine is busy, so only one thread is measured: run tune again when it is idle")
    threads = [1] if busy else thread_counts(os.cpu_count() or 1)
    setup = BenchmarkSetup(providers=available_providers(), threads=threads, fallback=True)
    measured, graphs = tuned_packages(), tuned_graphs()
    for package in [load_package(name) for name in packages] or shipped_packages():
        with progress_bar(f"measuring {package.manifest.name}") as progress:
            tuning = tune_package(package, setup, runs, progress)
        measured[package_key(package)], graphs[package_key(package)] = tuning.backends, tuning.graphs
        click.echo(package.manifest.name)
        for line in tuning_lines(tuning):
            click.echo(line)
    if not dry_run:
        click.echo(f"saved to {write_record(measured, graphs=graphs)}")


def tuning_lines(tuning: Tuning) -> Iterator[str]:
    """Format the measurements of a package, with a mark at what `--provider auto` uses from now on."""
    for result in tuning.results:
        mark, backend = "*" if result.backend == tuning.auto else " ", result.backend
        described = f"{backend.name:12} {backend.precision:5} {backend.threads:2} threads"
        yield f" {mark} {described} {result.median_ms:8.3f} ms"
    if tuning.auto.provider == AUTO:
        graphs = tuning.graphs[tuning.auto.precision, tuning.auto.threads or 1]
        chosen = ", ".join(f"{role} on {name}" for role, name in graphs.items())
        yield f" * {chosen} ({tuning.auto.precision}, {tuning.auto.threads} threads)"
    yield from (f"   skipped: {reason}" for reason in tuning.left_out)
