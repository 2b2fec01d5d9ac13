"""Measure a package on every available provider in every precision, and choose the fastest for each graph.

All candidates run in the same rounds. Those that compute on the CPU are compared by the processor time of one
thread, so that other work of the machine does not change the choice; those on other devices by wall time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edgeharfer.benchmark.measure import Progress, Timing
from edgeharfer.benchmark.ours import BenchmarkSetup, package_candidates, part_name
from edgeharfer.benchmark.paired import is_faster, measure_rounds
from edgeharfer.benchmark.rows import Candidate
from edgeharfer.runtime.golden import TOLERANCE as GOLDEN_TOLERANCE
from edgeharfer.runtime.golden import int8_difference
from edgeharfer.runtime.inference.backend import AUTO, Backend
from edgeharfer.runtime.inference.manifest import CPU_WITHOUT_VNNI
from edgeharfer.runtime.inference.package import Package
from edgeharfer.runtime.inference.processor import SATURATING, products_saturate
from edgeharfer.runtime.inference.providers import runs_on_processor
from edgeharfer.runtime.inference.tuning import GraphProviders
from edgeharfer.runtime.inference.upgrade import TOLERANCE, relative_difference
from edgeharfer.runtime.progress import step
from edgeharfer.runtime.types import Floats

MAX_TIME_RATIO = 0.85
"""More threads are chosen only if they reduce the time to this share, since they occupy more cores."""


@dataclass(frozen=True)
class TuningResult:
    """A backend and the time of a package, or of one of its graphs, on it.

    Attributes:
        backend: The backend.
        median_ms: The time that is compared, see `comparable_ms`.
        beats_cpu: Whether another provider than the CPU provider is faster than it, see `paired`.
    """

    backend: Backend
    median_ms: float
    beats_cpu: bool = False


@dataclass(frozen=True)
class Tuning:
    """The measurements of a package.

    Attributes:
        auto: Backend for "auto"; its provider is "auto" if the graphs run on different ones.
        graphs: Fastest provider of each graph in each precision with each number of threads.
        results: The best result of each provider in order of time, then all others in order of time.
        left_out: Providers that were not considered, with the reason.
    """

    auto: Backend
    graphs: GraphProviders
    results: Sequence[TuningResult]
    left_out: Sequence[str] = ()

    @property
    def backends(self) -> list[Backend]:
        """The backends to record, that of "auto" first."""
        best = [result.backend for result in best_per_provider(self.results)]
        return [self.auto, *(one for one in best if one.name != self.auto.name)]


def tune_package(
    package: Package, setup: BenchmarkSetup, runs: int, progress: Progress = lambda done, total: None
) -> Tuning:
    """Measure the time per frame of each graph, and of the streaming step of an action package.

    Args:
        package: The package.
        setup: What to vary.
        runs: Timed runs of each candidate.
        progress: Called with the number of rounds done and of all rounds.
    """
    with step(f"loading {package.manifest.name}"):
        candidates = [one for one in package_candidates(package, setup) if one.asked is None]
        wrong = {**differing_providers(candidates), **wrong_int8(package)}
    kept = [one for one in candidates if (_provider(one), one.precision) not in wrong]
    timings = measure_rounds([candidate.run for candidate in kept], runs, progress=progress)
    results = _results(kept, timings)
    roles = package.manifest.roles
    graphs = {role: results[part_name(package.manifest.name, role)] for role in roles}
    auto, chosen = choose_graphs(graphs)
    frames = results[part_name(package.manifest.name, "step" if "encoder" in roles else roles[-1])]
    best = best_per_provider(frames)
    others = sorted((one for one in frames if one not in best), key=lambda result: result.median_ms)
    return Tuning(auto, chosen, [*best, *others], list(wrong.values()))


def choose_graphs(graphs: Mapping[str, Sequence[TuningResult]]) -> tuple[Backend, GraphProviders]:
    """Choose the provider of each graph, then precision and threads of the package.

    Args:
        graphs: Results by role, each role on the same backends.

    Returns:
        The backend for "auto", and the providers by precision, threads and role.
    """
    totals, chosen = [], {}
    for precision, threads in dict.fromkeys(_run_options(one) for some in graphs.values() for one in some):
        best = {
            role: fastest_provider([one for one in some if _run_options(one) == (precision, threads)])
            for role, some in graphs.items()
        }
        names = {role: result.backend.name for role, result in best.items()}
        shared = next(iter(names.values())) if len(set(names.values())) == 1 else AUTO
        backend = Backend.parse(shared, precision=precision, threads=threads)
        chosen[precision, threads] = names
        totals.append(TuningResult(backend, sum(result.median_ms for result in best.values())))
    return best_result(totals).backend, chosen


def fastest_provider(results: Sequence[TuningResult]) -> TuningResult:
    """Choose among providers: the fastest of those that beat the CPU provider, else that one."""
    plain = [one for one in results if one.backend.name == "cpu"]
    faster = [one for one in results if one.beats_cpu]
    return min(faster or plain or results, key=lambda result: result.median_ms)


def winners(timings: Mapping[Backend, Timing]) -> set[Backend]:
    """Backends that are faster than the CPU provider with as many threads.

    One thread of the processor is compared by processor time, all else by wall time.

    Args:
        timings: Timings of one graph from the same rounds.
    """
    won = set()
    for backend, timing in timings.items():
        plain = timings.get(replace(backend, provider="cpu", device=None), timing)
        if runs_on_processor(backend) and (backend.threads or 1) == 1:
            faster = is_faster(timing.cpu_samples_ms, plain.cpu_samples_ms)
        else:
            faster = is_faster(timing.samples_ms, plain.samples_ms)
        if faster:
            won.add(backend)
    return won


def comparable_ms(timings: Mapping[Backend, Timing]) -> dict[Backend, float]:
    """Milliseconds to compare backends by.

    On the CPU this is the median processor time of one thread; with more threads it is divided by their
    speed-up in wall time, the median over pairs of runs. For another provider than "cpu" it is the time of
    "cpu" multiplied by the median ratio over pairs of runs, which varies less on a busy machine. On other
    devices it is the median wall time.
    """
    times = {}
    for backend, timing in timings.items():
        times[backend] = timing.median_ms
        single = timings.get(replace(backend, threads=1))
        if runs_on_processor(backend) and single is not None:
            plain = timings.get(replace(backend, provider="cpu", device=None, threads=1), single)
            one_thread_ms = plain.cpu_ms * _paired_ratio(single.cpu_samples_ms, plain.cpu_samples_ms)
            times[backend] = one_thread_ms * _paired_ratio(timing.samples_ms, single.samples_ms)
    return times


def _paired_ratio(samples_ms: NDArray[np.float64], others_ms: NDArray[np.float64]) -> float:
    """Median ratio of runs in the same round."""
    if samples_ms is others_ms:
        return 1.0
    return float(np.median(samples_ms / np.maximum(others_ms, 1e-9)))


def best_per_provider(results: Sequence[TuningResult]) -> list[TuningResult]:
    """The best result of each provider, fastest first."""
    by_provider: dict[str, list[TuningResult]] = {}
    for result in results:
        by_provider.setdefault(result.backend.name, []).append(result)
    return sorted(map(best_result, by_provider.values()), key=lambda result: result.median_ms)


def best_result(results: Iterable[TuningResult]) -> TuningResult:
    """The best of several results, at least one."""
    best, *others = sorted(results, key=lambda result: result.backend.threads or 1)
    for result in others:
        if is_better(result, best):
            best = result
    return best


def is_better(result: TuningResult, other: TuningResult) -> bool:
    """Whether a result is faster than another, by MAX_TIME_RATIO if it uses more threads."""
    limit = MAX_TIME_RATIO if (result.backend.threads or 1) > (other.backend.threads or 1) else 1.0
    return result.median_ms < limit * other.median_ms


def thread_counts(cores: int) -> list[int]:
    """Powers of two up to the number of cores, 16 at most."""
    return [count for count in (1, 2, 4, 8, 16) if count <= max(1, cores)]


def differing_providers(candidates: Sequence[Candidate]) -> dict[tuple[str, str], str]:
    """Compare the outputs of each graph with those of the CPU provider.

    Returns:
        Provider and precision -> how far an output is off, if it is by more than TOLERANCE.
    """
    graphs = _without_steps(candidates)
    wanted = {(one.name, one.precision): _outputs(one) for one in graphs if _provider(one) == "cpu"}
    wrong: dict[tuple[str, str], str] = {}
    for one in graphs:
        reference = wanted.get((one.name, one.precision))
        if _provider(one) == "cpu" or reference is None:
            continue
        found = relative_difference(reference, _outputs(one))
        if found > (limit := TOLERANCE[one.precision]):
            reason = f"its outputs differ from the CPU's by {found:.2g} of the largest, more than {limit:g}"
            wrong[_provider(one), one.precision] = f"{one.name} {one.precision} on {_provider(one)}: {reason}"
    return wrong


def wrong_int8(package: Package) -> dict[tuple[str, str], str]:
    """Return ("cpu", "int8") -> why INT8 must not be used on this processor; {} if it may."""
    if "int8" not in package.manifest.files:
        return {}
    found, key = int8_difference(package), ("cpu", "int8")
    if CPU_WITHOUT_VNNI in package.manifest.auto and products_saturate():
        return {key: f"int8 on cpu: {SATURATING}"}
    if found > GOLDEN_TOLERANCE:
        return {key: f"int8 on cpu: differs by {found:.2f} from the machine that made the package"}
    return {}


def _results(candidates: Sequence[Candidate], timings: Sequence[Timing]) -> dict[str, list[TuningResult]]:
    """Results by the display name of the graph or step."""
    named: dict[str, dict[Backend, Timing]] = {}
    for candidate, timing in zip(candidates, timings, strict=True):
        named.setdefault(candidate.name, {})[_backend(candidate)] = timing
    return {name: _graph_results(measured) for name, measured in named.items()}


def _graph_results(measured: Mapping[Backend, Timing]) -> list[TuningResult]:
    won = winners(measured)
    return [
        TuningResult(backend, time_ms, backend in won) for backend, time_ms in comparable_ms(measured).items()
    ]


def _run_options(result: TuningResult) -> tuple[str, int]:
    return result.backend.precision, result.backend.threads or 1


def _without_steps(candidates: Sequence[Candidate]) -> list[Candidate]:
    """The single graphs."""
    return [one for one in candidates if not one.name.endswith(" step")]


def _outputs(candidate: Candidate) -> dict[str, Floats]:
    return {candidate.name: np.asarray(candidate.run())}


def _provider(candidate: Candidate) -> str:
    return _backend(candidate).name


def _backend(candidate: Candidate) -> Backend:
    assert candidate.setup is not None, "candidates of our own engine have one"
    return replace(candidate.setup, fallback=False)
