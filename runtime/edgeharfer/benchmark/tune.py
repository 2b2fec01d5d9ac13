"""Measure a package on every provider that loads, in every precision, and pick what is quickest."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from edgeharfer.benchmark.measure import measure
from edgeharfer.benchmark.ours import BenchmarkSetup, package_candidates
from edgeharfer.benchmark.rows import Candidate
from edgeharfer.evaluate.dataset import Progress
from edgeharfer.runtime.inference.backend import Backend
from edgeharfer.runtime.inference.package import Package
from edgeharfer.runtime.inference.providers import PROVIDERS

MAX_TIME_RATIO = 0.85
"""More threads must bring the time down to this share, since they take cores from everything else."""


@dataclass(frozen=True)
class TuningResult:
    """One way to run a package, and the median of its runs in milliseconds."""

    backend: Backend
    median_ms: float


def tune_package(
    package: Package, setup: BenchmarkSetup, runs: int, progress: Progress = lambda done, total: None
) -> list[TuningResult]:
    """All ways in the setup, the chosen one of each provider first, those in order of time.

    What counts is what a frame costs: the only graph, or the streaming step of an action package.
    """
    candidates = [one for one in package_candidates(package, setup) if _whole(one, package)]
    timings = measure([one.run for one in candidates], runs, progress=progress)
    ways = [
        TuningResult(Backend(_provider(one), one.precision, one.threads), timing.median_ms)
        for one, timing in zip(candidates, timings, strict=True)
    ]
    best = best_per_provider(ways)
    return [*best, *(way for way in sorted(ways, key=lambda way: way.median_ms) if way not in best)]


def best_per_provider(ways: Sequence[TuningResult]) -> list[TuningResult]:
    """The best way on each provider, the quickest provider first."""
    by_provider: dict[str, TuningResult] = {}
    for way in sorted(ways, key=lambda way: way.backend.threads or 1):
        best = by_provider.get(way.backend.name)
        if best is None or is_better(way, best):
            by_provider[way.backend.name] = way
    return sorted(by_provider.values(), key=lambda way: way.median_ms)


def is_better(way: TuningResult, than: TuningResult) -> bool:
    """Quicker; where it takes more threads, by enough."""
    limit = MAX_TIME_RATIO if (way.backend.threads or 1) > (than.backend.threads or 1) else 1.0
    return way.median_ms < limit * than.median_ms


def thread_counts(cores: int) -> list[int]:
    """One thread, then twice as many each time, up to the cores."""
    return [count for count in (1, 2, 4, 8, 16) if count <= max(1, cores)]


def _whole(candidate: Candidate, package: Package) -> bool:
    parts: Iterable[str] = package.manifest.roles
    return candidate.name.endswith("step") if "head" in parts else True


def _provider(candidate: Candidate) -> str:
    return next(name for name, row in PROVIDERS.items() if row.name == candidate.provider)
