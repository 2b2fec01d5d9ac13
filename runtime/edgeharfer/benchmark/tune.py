"""Measure a package on every available provider in every precision, and choose the fastest.

Candidates that compute on the CPU are compared by the processor time of one thread, so that other work of the
machine does not change the choice; those on other devices by wall time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from edgeharfer.benchmark.measure import Timing, measure
from edgeharfer.benchmark.ours import BenchmarkSetup, package_candidates
from edgeharfer.benchmark.rows import Candidate
from edgeharfer.evaluate.dataset import Progress
from edgeharfer.runtime.inference.backend import Backend
from edgeharfer.runtime.inference.package import Package
from edgeharfer.runtime.inference.providers import PROVIDERS

MAX_TIME_RATIO = 0.85
"""More threads are chosen only if they reduce the time to this share, since they occupy more cores."""

ON_CPU = ("cpu", "openvino", "openvino:CPU")
"""Backends that compute in threads of the CPU."""


@dataclass(frozen=True)
class TuningResult:
    """A backend and the time of a package on it.

    Attributes:
        backend: The backend.
        median_ms: The time that is compared, see `comparable_ms`.
    """

    backend: Backend
    median_ms: float


def tune_package(
    package: Package, setup: BenchmarkSetup, runs: int, progress: Progress = lambda done, total: None
) -> list[TuningResult]:
    """Measure the time per frame: of the only graph, or of the streaming step of an action package.

    Args:
        package: The package.
        setup: What to vary.
        runs: Timed runs of each candidate.
        progress: Called with the number of rounds done and of all rounds.

    Returns:
        The best result of each provider in order of time, then all others in order of time.
    """
    candidates = [
        candidate for candidate in package_candidates(package, setup) if _is_frame_step(candidate, package)
    ]
    timings = measure([candidate.run for candidate in candidates], runs, progress=progress)
    backends = [Backend(_provider(one), one.precision, one.threads) for one in candidates]
    times = comparable_ms(dict(zip(backends, timings, strict=True)))
    results = [TuningResult(backend, time_ms) for backend, time_ms in times.items()]
    best = best_per_provider(results)
    return [
        *best,
        *(result for result in sorted(results, key=lambda result: result.median_ms) if result not in best),
    ]


def comparable_ms(timings: Mapping[Backend, Timing]) -> dict[Backend, float]:
    """Milliseconds to compare backends by.

    On the CPU this is the median processor time of one thread; with more threads it is divided by their
    speed-up in wall time, the median over pairs of runs. On other devices it is the median wall time.
    """
    times = {}
    for backend, timing in timings.items():
        times[backend] = timing.median_ms
        single = timings.get(replace(backend, threads=1))
        if backend.name in ON_CPU and single is not None:
            times[backend] = single.cpu_ms * _paired_ratio(timing, single)
    return times


def _paired_ratio(timing: Timing, other: Timing) -> float:
    """Median ratio of the wall times of runs in the same round."""
    if timing is other:
        return 1.0
    return float(np.median(timing.samples_ms / np.maximum(other.samples_ms, 1e-9)))


def best_per_provider(results: Sequence[TuningResult]) -> list[TuningResult]:
    """The best result of each provider, fastest first."""
    by_provider: dict[str, TuningResult] = {}
    for result in sorted(results, key=lambda result: result.backend.threads or 1):
        best = by_provider.get(result.backend.name)
        if best is None or is_better(result, best):
            by_provider[result.backend.name] = result
    return sorted(by_provider.values(), key=lambda result: result.median_ms)


def is_better(result: TuningResult, other: TuningResult) -> bool:
    """Whether a result is faster than another, by MAX_TIME_RATIO if it uses more threads."""
    limit = MAX_TIME_RATIO if (result.backend.threads or 1) > (other.backend.threads or 1) else 1.0
    return result.median_ms < limit * other.median_ms


def thread_counts(cores: int) -> list[int]:
    """Powers of two up to the number of cores, 16 at most."""
    return [count for count in (1, 2, 4, 8, 16) if count <= max(1, cores)]


def _is_frame_step(candidate: Candidate, package: Package) -> bool:
    parts: Iterable[str] = package.manifest.roles
    return candidate.name.endswith("step") if "encoder" in parts else True


def _provider(candidate: Candidate) -> str:
    return next(name for name, row in PROVIDERS.items() if row.name == candidate.provider)
