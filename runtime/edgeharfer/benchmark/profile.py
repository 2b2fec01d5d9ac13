"""Time by operator of the graphs of a package, from ONNX Runtime's own profiler."""

from __future__ import annotations

import json
import statistics
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

from edgeharfer.benchmark.ours import BenchmarkSetup, chosen_precisions, inputs, part_name
from edgeharfer.runtime.inference.backend import Backend
from edgeharfer.runtime.inference.package import Package
from edgeharfer.runtime.inference.session import make_session

TOP = 10
_WARM_UP_RUNS = 3
MAX_PROFILED_RUNS = 100
"""A trace has one event for each node and run."""


@dataclass(frozen=True)
class OperatorTime:
    """The time of all nodes of one operator.

    Attributes:
        operator: Name of the operator, such as "Conv".
        provider: Execution provider that runs it, without "ExecutionProvider".
        nodes: Nodes in one run.
        ms: Milliseconds in one run, of each node the median over all runs.
        share: Share of the time of all operators.
    """

    operator: str
    provider: str
    nodes: int
    ms: float
    share: float


def profile_package(
    package: Package, setup: BenchmarkSetup, folder: Path, runs: int
) -> Iterator[dict[str, Any]]:
    """Run each graph with the profiler, once for each provider and precision of the setup.

    The first number of threads and the first batch size are used.

    Args:
        package: The package.
        setup: What to run.
        folder: Folder for the traces, which Perfetto (ui.perfetto.dev) and chrome://tracing open.
        runs: Profiled runs, at most MAX_PROFILED_RUNS.

    Yields:
        The entries of `profile` of `benchmark --json`.

    Raises:
        ProviderError: A requested provider cannot be loaded and fallback is not allowed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    runs = min(runs, MAX_PROFILED_RUNS)
    precisions = chosen_precisions(package, setup.precisions)
    for provider, precision, role in product(setup.providers, precisions, package.manifest.roles):
        backend = Backend.parse(
            provider, precision=precision, threads=setup.threads[0], fallback=setup.fallback
        )
        name = part_name(package.manifest.name, role)
        trace = folder / f"{'-'.join([*name.split(), precision, *provider.split(':')])}.json"
        graph = replace(package.read(role, precision), profile=str(trace.with_suffix("")))
        session = make_session(graph, backend)
        feed = inputs(package.manifest, role, session, setup.batches[0])
        for _ in range(_WARM_UP_RUNS + runs):
            session.run1(feed)
        session.end_profiling().replace(trace)
        operators = operator_times(json.loads(trace.read_text(encoding="utf-8")), _WARM_UP_RUNS)
        yield {
            "name": name,
            "precision": precision,
            "provider": session.provider,
            "threads": setup.threads[0],
            "batch": setup.batches[0],
            "runs": runs,
            "trace": str(trace),
            "operators": [vars(one) for one in operators],
        }


def operator_times(events: Sequence[Mapping[str, Any]], skip_runs: int = 0) -> list[OperatorTime]:
    """Sum the median times of the nodes of a trace by operator, slowest first.

    Args:
        events: Events of ONNX Runtime's profiler; durations are in microseconds.
        skip_runs: Number of first runs to leave out.
    """
    ends = sorted(one["ts"] + one["dur"] for one in events if one.get("name") == "model_run")
    start = ends[skip_runs - 1] if skip_runs else 0
    by_node: dict[tuple[str, str, str], list[float]] = {}
    for event in events:
        about = event.get("args", {})
        if event.get("cat") != "Node" or event["ts"] < start or "op_name" not in about:
            continue
        key = about["op_name"], about.get("provider", "").removesuffix("ExecutionProvider"), event["name"]
        by_node.setdefault(key, []).append(event["dur"])
    nodes = Counter((operator, provider) for operator, provider, _ in by_node)
    times: Counter[tuple[str, str]] = Counter()
    for (operator, provider, _), durations in by_node.items():
        times[operator, provider] += statistics.median(durations)  # type: ignore[assignment]
    total = times.total() or 1
    return [
        OperatorTime(*key, nodes[key], round(us / 1e3, 4), round(us / total, 4))
        for key, us in times.most_common()
    ]


def profile_lines(profiles: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Format the slowest operators of each graph as text."""
    for profile in profiles:
        provider = str(profile["provider"]).removesuffix("ExecutionProvider")
        yield f"{profile['name']} {profile['precision']} on {provider}, by operator ({profile['trace']}):"
        for one in profile["operators"][:TOP]:
            where = f" on {one['provider']}" if one["provider"] not in ("", provider) else ""
            yield f"  {one['ms']:9.3f} ms  {one['share']:6.1%}  {one['nodes']:4} x {one['operator']}{where}"
