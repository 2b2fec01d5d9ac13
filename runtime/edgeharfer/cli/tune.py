"""`edgeharfer tune`: find the fastest provider, precision and threads on this device and save them."""

from __future__ import annotations

import os

import click

from edgeharfer.cli.progress import progress_bar


@click.command()
@click.argument("packages", nargs=-1, metavar="[PACKAGE]...")
@click.option(
    "--runs",
    type=click.IntRange(10, 100_000),
    default=100,
    show_default=True,
    help="Number of measured runs.",
)
@click.option("--dry-run", is_flag=True, help="Show the results without saving them.")
def tune(packages: tuple[str, ...], runs: int, dry_run: bool) -> None:
    """Measure PACKAGEs in each precision on each provider; default: all shipped packages.

    `edgeharfer run` then uses the fastest combination unless --provider, --precision or --threads say
    otherwise, until the machine, ONNX Runtime, edgeharfer or the package changes. What computes on the CPU is
    compared by processor time, which other work of the machine does not change.
    """
    from edgeharfer.benchmark.machine import is_busy, load_average, usable_cores
    from edgeharfer.benchmark.ours import BenchmarkSetup
    from edgeharfer.benchmark.tune import best_per_provider, thread_counts, tune_package
    from edgeharfer.runtime.inference.package import load_package, shipped_packages
    from edgeharfer.runtime.inference.providers import available_providers
    from edgeharfer.runtime.inference.tuning import package_key, tuned_packages, write_record

    busy = is_busy({"cores": usable_cores(), "load_average": load_average()})
    if busy:
        click.echo("this machine is busy, so only one thread is measured: run tune again when it is idle")
    threads = [1] if busy else thread_counts(os.cpu_count() or 1)
    setup = BenchmarkSetup(providers=available_providers(), threads=threads, fallback=True)
    measured = tuned_packages()
    for package in [load_package(name) for name in packages] or shipped_packages():
        with progress_bar() as progress:
            timings = tune_package(package, setup, runs, progress)
        best = [timing.backend for timing in best_per_provider(timings)]
        measured[package_key(package)] = best
        click.echo(package.manifest.name)
        for timing in timings:
            mark, backend = "*" if timing.backend == best[0] else " ", timing.backend
            described = f"{backend.name:9} {backend.precision:5} {backend.threads:2} threads"
            click.echo(f" {mark} {described} {timing.median_ms:8.3f} ms")
    if not dry_run:
        click.echo(f"saved to {write_record(measured)}")
