"""ONNX Runtime candidates: the graphs of a package in each precision and on each provider."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product

import numpy as np

from edgeharfer.benchmark.measure import Run, Streams
from edgeharfer.benchmark.rows import OURS, Candidate
from edgeharfer.runtime.clock import Clock, SystemClock
from edgeharfer.runtime.errors import ConfigError
from edgeharfer.runtime.inference.backend import CPU, Backend
from edgeharfer.runtime.inference.manifest import PRECISIONS, ROLLING, Manifest
from edgeharfer.runtime.inference.package import Package
from edgeharfer.runtime.inference.preprocess import preprocess_images
from edgeharfer.runtime.inference.providers import PROVIDERS, session_provider
from edgeharfer.runtime.inference.session import Session, make_session
from edgeharfer.runtime.inference.tuning import (
    batch_axes,
    graph_backend,
    read_graph,
    resolve_backend,
    tuned_backends,
)
from edgeharfer.runtime.tasks.rolling import RollingHead, has_rolling_head
from edgeharfer.runtime.types import Floats

_SEED = 11


@dataclass(frozen=True)
class BenchmarkSetup:
    """Combinations to measure.

    Attributes:
        providers: Execution providers.
        precisions: Precisions; None for all that a package has.
        threads: ONNX Runtime intra-op thread counts.
        batches: Batch sizes.
        fallback: Allow another provider, see `Backend`.
        streams: Sessions that run at the same time.
    """

    providers: Sequence[str] = ("cpu",)
    precisions: Sequence[str] | None = None
    threads: Sequence[int] = (1,)
    batches: Sequence[int] = (1,)
    fallback: bool = False
    streams: int = 1


@dataclass(frozen=True)
class LoadedGraph:
    """A session with its file size in MB (10^6 bytes) and its load time."""

    session: Session
    size_mb: float
    load_ms: float


def pictures(manifest: Manifest, batch: int) -> Floats:
    """Noise, preprocessed for the package.

    Returns:
        float32 (batch, height, width, channels), or (batch, channels, height, width) for a detector whose
        manifest has the option `layout = "nchw"`.
    """
    spec = manifest.input
    rng = np.random.default_rng(_SEED)
    noise = rng.integers(0, 256, (batch, spec.height, spec.width, 3), np.uint8)
    nhwc = preprocess_images(list(noise), spec)
    if manifest.options.get("layout") == "nchw":
        return np.ascontiguousarray(nhwc.transpose(0, 3, 1, 2))
    return nhwc


def windows(frames: int, size: int, batch: int) -> Floats:
    """Random non-negative features, float32 (batch, frames, size)."""
    return np.random.default_rng(_SEED).random((batch, frames, size), np.float32)


def part_name(package: str, role: str) -> str:
    """Display name of a graph; the role is omitted for packages with one graph."""
    return package if role == "model" else f"{package} {role}"


def chosen_precisions(package: Package, requested: Sequence[str] | None) -> list[str]:
    """Precisions to measure in the order of PRECISIONS.

    Raises:
        ConfigError: The package does not have a requested precision.
    """
    available = package.manifest.precisions
    missing = [name for name in requested or () if name not in available]
    if missing:
        raise ConfigError(
            f"{package.manifest.name}: no {missing[0]} model; choose from {', '.join(available)}"
        )
    return [name for name in PRECISIONS if name in (requested or package.manifest.files)]


def package_candidates(
    package: Package, setup: BenchmarkSetup, clock: Clock | None = None
) -> Iterator[Candidate]:
    """Yield every graph in every combination of the setup, and the streaming step of an action package.

    Raises:
        ConfigError: The package does not have a requested precision.
        ProviderError: A requested provider cannot be loaded and fallback is not allowed.
    """
    clock = clock or SystemClock()
    precisions = chosen_precisions(package, setup.precisions)
    for provider, precision, threads in product(setup.providers, precisions, setup.threads):
        backend = Backend.parse(provider, precision=precision, threads=threads, fallback=setup.fallback)
        sizes = dict.fromkeys((*setup.batches, 1) if package.manifest.kind == "clip" else setup.batches)
        streams = [
            {role: load_batches(package, role, backend, sizes, clock) for role in package.manifest.roles}
            for _ in range(setup.streams)
        ]
        parts = streams[0]
        make = partial(_candidate, package.manifest.name, backend, setup.streams)
        for role, batch in product(parts, setup.batches):
            feed = inputs(package.manifest, role, parts[role][batch].session, batch)
            run = together([partial(loaded[role][batch].session.run1, feed) for loaded in streams])
            auto = is_tuned(package, [role], backend)
            yield make(role, [parts[role][batch]], batch=batch, run=run, auto=auto)
        if "encoder" in parts:
            encoders = [loaded["encoder"][1] for loaded in streams]
            heads, roles = [loaded["head"][1] for loaded in streams], ["encoder", "head"]
            if has_rolling_head(package.manifest, precision, encoders[0].session):
                on_cpu = replace(CPU, precision=precision, threads=threads)
                heads, roles = [load(package, ROLLING, on_cpu, clock) for _ in streams], ["encoder"]
            steps = [
                streaming_step(package.manifest, encoder.session, head.session)
                for encoder, head in zip(encoders, heads, strict=True)
            ]
            auto = is_tuned(package, roles, backend)
            yield make("step", [encoders[0], heads[0]], batch=1, run=together(steps), auto=auto)


def is_tuned(package: Package, roles: Iterable[str], backend: Backend) -> bool:
    """Whether "auto" with as many threads runs these graphs here, as `edgeharfer tune` measured."""
    auto = resolve_backend(package, Backend(precision=backend.precision, threads=backend.threads))
    names = {graph_backend(package, role, auto).name for role in roles}
    return bool(tuned_backends(package)) and names == {backend.name}


def together(runs: Sequence[Run]) -> Run:
    """The only run, or concurrent streams of several."""
    return runs[0] if len(runs) == 1 else Streams(runs)


def inputs(manifest: Manifest, role: str, session: Session, batch: int) -> Floats:
    """A batch of random input for one graph."""
    if role != "head":
        return pictures(manifest, batch)
    frames, size = session.input_shape[1:]
    assert isinstance(frames, int) and isinstance(size, int), "a package's head has a fixed window"
    return windows(frames, size, batch)


def load_batches(
    package: Package, role: str, backend: Backend, batches: Iterable[int], clock: Clock
) -> dict[int, LoadedGraph]:
    """Load one graph for several batch sizes, with a fixed size where a live run has one."""
    if package.manifest.kind == "clip" or PROVIDERS[backend.provider].single:
        return {batch: load(package, role, backend, clock, batch) for batch in batches}
    return dict.fromkeys(batches, load(package, role, backend, clock))


def load(
    package: Package, role: str, backend: Backend, clock: Clock, batch: int | None = None
) -> LoadedGraph:
    """Read, verify and load one graph, as a live run does, for one batch size or for any."""
    start_s = clock.monotonic()
    graph = read_graph(package, role, backend)
    session = make_session(replace(graph, sizes=tuple(batch_axes(graph, batch).items())), backend)
    return LoadedGraph(session, len(graph.data) / 1e6, (clock.monotonic() - start_s) * 1e3)


def streaming_step(manifest: Manifest, encoder: Session, head: Session) -> Run:
    """A function that processes one new frame: its features, then the head over the current window."""
    picture = inputs(manifest, "encoder", encoder, 1)
    if len(head.inputs) > 1:
        assert manifest.window is not None, "an action manifest has a window"
        rolling = RollingHead(head, manifest.window.frames)
        return lambda: rolling.push(encoder.run1(picture)[0])
    window = inputs(manifest, "head", head, 1)

    def run() -> Floats:
        window[0, -1] = encoder.run1(picture)[0]
        return head.run1(window)

    return run


def _candidate(
    package: str,
    backend: Backend,
    streams: int,
    role: str,
    parts: Sequence[LoadedGraph],
    *,
    batch: int,
    run: Run,
    auto: bool = False,
) -> Candidate:
    real = parts[0].session.provider
    return Candidate(
        name=part_name(package, role),
        backend=OURS,
        precision=backend.precision,
        provider=real,
        threads=backend.threads or 1,
        batch=batch,
        size_mb=sum(part.size_mb for part in parts),
        load_ms=sum(part.load_ms for part in parts),
        run=run,
        asked=None if session_provider(backend) == real else backend.name,
        streams=streams,
        setup=backend,
        auto=auto,
    )
