"""Measure a package on every available provider in every precision, and choose the fastest for each graph."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from edgeharfer.benchmark.measure import Timing, measure
from edgeharfer.benchmark.ours import BenchmarkSetup, package_candidates, part_name
from edgeharfer.benchmark.rows import Candidate
from edgeharfer.evaluate.dataset import Progress
from edgeharfer.runtime.inference.backend import AUTO, Backend
from edgeharfer.runtime.inference.package import Package
from edgeharfer.runtime.inference.providers import provider_choices, runs_on_processor, session_provider
from edgeharfer.runtime.inference.upgrade import TOLERANCE, relative_difference
from edgeharfer.runtime.types import Floats

MAX_TIME_RATIO = 0.85
"""More threads are chosen only if they reduce the time to this share, since they occupy more cores."""
MAX_CPU_RATIO = 0.98
"""Another provider is chosen over the CPU provider only if it reduces the processor time to this share."""

PERCENTILE = 10
"""Times are compared by this percentile, which other load on the machine changes less than the median."""

GraphProviders = dict[str, dict[str, str]]
"""Precision -> role of a graph -> its provider."""


@dataclass(frozen=True)
class TuningResult:
    """A backend and the times of a package, or of one of its graphs, on it.

    Attributes:
        backend: Provider, precision and threads.
        wall_ms: Wall time.
        cpu_ms: Processor time of all threads; None if another device computes or it was not measured.
    """

    backend: Backend
    wall_ms: float
    cpu_ms: float | None = None

    @property
    def cost_ms(self) -> float:
        """Processor time where the processor computes, which other load changes least; else wall time."""
        return self.wall_ms if self.cpu_ms is None else self.cpu_ms


@dataclass(frozen=True)
class Tuning:
    """The measurements of a package.

    Attributes:
        auto: Backend for "auto"; its provider is "auto" if the graphs run on different providers.
        graphs: Fastest provider of each graph in each precision.
        results: The best result of each provider in order of cost, then all others.
        left_out: Providers that were not considered, with the reason.
    """

    auto: Backend
    graphs: GraphProviders
    results: Sequence[TuningResult]
    left_out: Sequence[str] = ()

    @property
    def backends(self) -> list[Backend]:
        """The backends to record, that of "auto" first."""
        rest = [result.backend for result in best_per_provider(self.results)]
        return [self.auto, *(one for one in rest if one.name != self.auto.name)]


@dataclass
class _Measured:
    """Results of the whole package, and of its graphs by precision, threads and role."""

    steps: list[TuningResult] = field(default_factory=list)
    graphs: dict[tuple[str, int], dict[str, list[TuningResult]]] = field(default_factory=dict)


def tune_package(
    package: Package, setup: BenchmarkSetup, runs: int, progress: Progress = lambda done, total: None
) -> Tuning:
    """Measure each graph, and the streaming step of an action package.

    Args:
        package: The package.
        setup: What to vary.
        runs: Timed runs of each candidate.
        progress: Called with the number of rounds done and of all rounds.
    """
    candidates = [one for one in package_candidates(package, setup) if one.asked is None]
    left_out = _wrong_outputs(candidates)
    kept = [one for one in candidates if (one.provider, one.precision) not in left_out]
    timings = measure([candidate.run for candidate in kept], runs, progress=progress)
    measured = _sort(package, kept, timings)
    auto, graphs = choose_graphs(measured.graphs)
    best = best_per_provider(measured.steps)
    others = sorted((one for one in measured.steps if one not in best), key=lambda one: one.cost_ms)
    return Tuning(auto, graphs, [*best, *others], list(left_out.values()))


def choose_graphs(
    graphs: Mapping[tuple[str, int], Mapping[str, Sequence[TuningResult]]],
) -> tuple[Backend, GraphProviders]:
    """Choose the provider of each graph, then precision and threads of the package.

    Args:
        graphs: Results by role, for each combination of precision and threads.

    Returns:
        The backend for "auto", and the providers in each precision.
    """
    totals, chosen = [], {}
    for (precision, threads), roles in graphs.items():
        best = {role: cheapest(results) for role, results in roles.items()}
        names = {result.backend.name for result in best.values()}
        backend = Backend.parse(
            names.pop() if len(names) == 1 else AUTO, precision=precision, threads=threads
        )
        chosen[backend] = {role: result.backend.name for role, result in best.items()}
        wall_ms = sum(result.wall_ms for result in best.values())
        cost_ms = sum(result.cost_ms for result in best.values())
        totals.append(TuningResult(backend, wall_ms, cost_ms))
    by_precision = {
        precision: _best(one for one in totals if one.backend.precision == precision).backend
        for precision in dict.fromkeys(one.backend.precision for one in totals)
    }
    return _best(totals).backend, {name: chosen[backend] for name, backend in by_precision.items()}


def cheapest(results: Sequence[TuningResult]) -> TuningResult:
    """Choose among providers with the same number of threads.

    Among those that compute on the processor, the one with the least processor time; another device only if
    it also takes less wall time.
    """
    on_processor = [one for one in results if runs_on_processor(one.backend)]
    best = min(on_processor or results, key=lambda one: one.cost_ms)
    plain = next((one for one in on_processor if one.backend.name == "cpu"), best)
    if best.cost_ms > MAX_CPU_RATIO * plain.cost_ms:
        best = plain
    return min([best, *(one for one in results if one not in on_processor)], key=lambda one: one.wall_ms)


def best_per_provider(results: Sequence[TuningResult]) -> list[TuningResult]:
    """The best result of each provider, cheapest first."""
    by_provider: dict[str, list[TuningResult]] = {}
    for result in results:
        by_provider.setdefault(result.backend.name, []).append(result)
    return sorted(map(_best, by_provider.values()), key=lambda result: result.cost_ms)


def is_better(result: TuningResult, other: TuningResult) -> bool:
    """Whether a result is cheaper than another, or faster by MAX_TIME_RATIO if it uses more threads."""
    if (result.backend.threads or 1) > (other.backend.threads or 1):
        return result.wall_ms < MAX_TIME_RATIO * other.wall_ms
    return result.cost_ms < other.cost_ms


def thread_counts(cores: int) -> list[int]:
    """Powers of two up to the number of cores, 16 at most."""
    return [count for count in (1, 2, 4, 8, 16) if count <= max(1, cores)]


def _best(results: Sequence[TuningResult] | Iterator[TuningResult]) -> TuningResult:
    first, *others = sorted(results, key=lambda result: result.backend.threads or 1)
    for result in others:
        if is_better(result, first):
            first = result
    return first


def _sort(package: Package, candidates: Sequence[Candidate], timings: Sequence[Timing]) -> _Measured:
    measured, roles = _Measured(), package.manifest.roles
    by_name = {part_name(package.manifest.name, role): role for role in roles}
    step = part_name(package.manifest.name, "step" if "encoder" in roles else roles[-1])
    for candidate, timing in zip(candidates, timings, strict=True):
        backend = _backend(candidate)
        wall_ms, cpu_ms = (_fast(samples) for samples in (timing.samples_ms, timing.cpu_samples_ms))
        result = TuningResult(backend, wall_ms, cpu_ms if runs_on_processor(backend) else None)
        if candidate.name == step:
            measured.steps.append(result)
        if (role := by_name.get(candidate.name)) is not None:
            key = candidate.precision, candidate.threads
            measured.graphs.setdefault(key, {}).setdefault(role, []).append(result)
    return measured


def _wrong_outputs(candidates: Sequence[Candidate]) -> dict[tuple[str, str], str]:
    """Compare the graphs on each provider with the CPU provider; return provider and precision -> reason."""
    on_cpu = session_provider(Backend("cpu"))
    wanted = {(one.name, one.precision): _outputs(one) for one in candidates if one.provider == on_cpu}
    wrong: dict[tuple[str, str], str] = {}
    for one in candidates:
        key = one.provider, one.precision
        reference = wanted.get((one.name, one.precision))
        if one.provider == on_cpu or reference is None or one.name.endswith(" step") or key in wrong:
            continue
        found = relative_difference(reference, _outputs(one))
        if found > (limit := TOLERANCE[one.precision]):
            reason = f"its outputs differ from the CPU's by {found:.2g} of the largest, more than {limit:g}"
            wrong[key] = f"{one.name} {one.precision} on {_backend(one).name}: {reason}"
    return wrong


def _backend(candidate: Candidate) -> Backend:
    choices = map(Backend.parse, provider_choices()[1:])
    found = next(one for one in choices if session_provider(one) == candidate.provider)
    return replace(found, precision=candidate.precision, threads=candidate.threads)


def _fast(samples_ms: NDArray[np.float64]) -> float:
    return float(np.percentile(samples_ms, PERCENTILE))


def _outputs(candidate: Candidate) -> dict[str, Floats]:
    return {candidate.name: np.asarray(candidate.run())}
