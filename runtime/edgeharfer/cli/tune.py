"""`edgeharfer tune`: what runs the packages quickest on this device, measured once and kept."""

from __future__ import annotations

import os

import click

from edgeharfer.cli.progress import progress_bar


@click.command()
@click.argument("packages", nargs=-1, metavar="[PACKAGE]...")
@click.option(
    "--runs", type=click.IntRange(10, 100_000), default=100, show_default=True, help="Measured runs of each."
)
@click.option("--dry-run", is_flag=True, help="Measure and show, but keep nothing.")
def tune(packages: tuple[str, ...], runs: int, dry_run: bool) -> None:
    """Measure PACKAGEs (all that ship, unless some are named) in each precision, on each provider.

    `edgeharfer run` then takes the quickest wherever --provider, --precision and --threads leave it open,
    until the machine, ONNX Runtime, edgeharfer or the package changes.
    """
    from edgeharfer.benchmark.ours import BenchmarkSetup
    from edgeharfer.benchmark.tune import best_per_provider, thread_counts, tune_package
    from edgeharfer.runtime.inference.package import load_package, shipped_packages
    from edgeharfer.runtime.inference.providers import available_providers
    from edgeharfer.runtime.inference.tuning import package_key, tuned_packages, write_record

    setup = BenchmarkSetup(
        providers=available_providers(), threads=thread_counts(os.cpu_count() or 1), fallback=True
    )
    measured = tuned_packages()
    for package in [load_package(name) for name in packages] or shipped_packages():
        with progress_bar() as progress:
            ways = tune_package(package, setup, runs, progress)
        best = [way.backend for way in best_per_provider(ways)]
        measured[package_key(package)] = best
        click.echo(package.manifest.name)
        for way in ways:
            mark, backend = "*" if way.backend == best[0] else " ", way.backend
            described = f"{backend.name:9} {backend.precision:5} {backend.threads:2} threads"
            click.echo(f" {mark} {described} {way.median_ms:8.3f} ms")
    if not dry_run:
        click.echo(f"kept in {write_record(measured)}")
