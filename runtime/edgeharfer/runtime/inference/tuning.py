"""Results of `edgeharfer tune` on this device: the fastest provider, precision and number of threads.

The record is a small JSON file in the user's cache. It applies only to the machine and the versions of ONNX
Runtime, its plug-ins and edgeharfer that it was measured with, and to unchanged packages. Otherwise, or if it
cannot be read, the defaults of the package's manifest are used.

The graphs of a package may run on different providers: a small one is often fastest on the CPU provider while
a large one is faster on another. Which one is fastest also depends on the number of threads. The record
therefore has the provider of each graph in each precision with each number of threads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from edgeharfer.runtime.inference import device_record
from edgeharfer.runtime.inference.backend import AUTO, Backend
from edgeharfer.runtime.inference.device_record import device_info
from edgeharfer.runtime.inference.graph import Graph
from edgeharfer.runtime.inference.manifest import CPU_WITHOUT_VNNI, TENSORRT
from edgeharfer.runtime.inference.package import Package
from edgeharfer.runtime.inference.processor import products_saturate
from edgeharfer.runtime.inference.providers import (
    PROVIDERS,
    available_providers,
    provider_choices,
    runs_on_processor,
)
from edgeharfer.runtime.inference.session import Session, Sizes, make_session
from edgeharfer.runtime.inference.tensorrt import cache_root, needs_engine_build
from edgeharfer.runtime.inference.typed_form import DYNAMIC, half_form, tensorrt_form
from edgeharfer.runtime.inference.upgrade import build_in_background

FORMAT = 3

GraphProviders = Mapping[tuple[str, int], Mapping[str, str]]
"""(precision, threads) -> role of a graph -> its provider, as in `Backend.name`."""


def resolve_backend(package: Package, backend: Backend | None = None) -> Backend:
    """Choose precision and threads: as requested, else as tuned, else as the manifest states.

    Raises:
        ModelError: The package does not contain the requested precision.
    """
    backend = backend or Backend()
    tuned = tuned_backends(package)
    found = next(iter(tuned.values()), None) if backend.provider == AUTO else tuned.get(backend.name)
    if backend.precision == AUTO and found is not None and found.precision in package.manifest.precisions:
        precision = found.precision
    else:
        known = backend if backend.provider != AUTO else found or backend
        provider = known.provider if known.provider != AUTO else _loadable()[0]
        if provider == "cpu" and CPU_WITHOUT_VNNI in package.manifest.auto and products_saturate():
            provider = CPU_WITHOUT_VNNI
        precision = package.manifest.precision_for(provider, backend.precision)
    threads = backend.threads or (found and found.threads) or 1
    if backend.provider == AUTO and found is not None:
        names = set(_tuned_graphs(package, precision, threads).values()) or {found.name}
        backend = _tuned(backend, names.pop() if len(names) == 1 else AUTO)
    return replace(backend, precision=precision, threads=threads)


def _tuned(backend: Backend, provider: str) -> Backend:
    """Return the backend with the provider found by `edgeharfer tune`, which may have gone since."""
    found = Backend.parse(provider)
    fallback = backend.fallback or found.provider not in (AUTO, "cpu")
    return replace(backend, provider=found.provider, device=found.device, fallback=fallback)


@cache
def _loadable() -> tuple[str, ...]:
    return available_providers(automatic=True)


def tuned_backends(package: Package) -> dict[str, Backend]:
    """Return the measured backends of a package by name, fastest first; empty if there are none."""
    return {backend.name: backend for backend in tuned_packages().get(package_key(package), [])}


def tuned_packages() -> dict[str, list[Backend]]:
    """Return all measured backends by package key."""
    return {key: [Backend.parse(**row) for row in one["backends"]] for key, one in _record().items()}


def tuned_graphs() -> dict[str, GraphProviders]:
    """Return the providers of the graphs of all measured packages, by package key."""
    return {
        key: {(row["precision"], row["threads"]): row["providers"] for row in one["graphs"]}
        for key, one in _record().items()
    }


def _tuned_graphs(package: Package, precision: str, threads: int) -> Mapping[str, str]:
    """Return the provider of each graph, measured with the nearest number of threads; {} if there is none."""
    chosen = tuned_graphs().get(package_key(package), {})
    counts = [count for name, count in chosen if name == precision]
    return chosen[precision, min(counts, key=lambda count: abs(count - threads))] if counts else {}


def open_graph(
    package: Package,
    role: str,
    backend: Backend,
    *,
    shapes: Sequence[Sizes] = (),
    cpu_sizes: Mapping[str, int] | None = None,
    cpu_batch: int | None = None,
) -> Session:
    """Create a session for one graph of a package.

    Args:
        package: The package.
        role: Role of the graph, such as "model" or "head".
        backend: Result of `resolve_backend`.
        shapes: Input shapes to warm an engine up with, if there are only a few.
        cpu_sizes: Sizes of free axes, by name, which are fixed on the processor and for OpenVINO.
        cpu_batch: Size of the first axis, which is fixed in the same way.

    Raises:
        ProviderError, ModelError, ConfigError, MissingExtra: As `make_session` raises them.
    """
    backend = graph_backend(package, role, backend)
    graph = read_graph(package, role, backend)
    running = replace(backend, provider=running_provider(backend))
    if runs_on_processor(running) or PROVIDERS[running.provider].single:
        sizes = {**batch_axes(graph, cpu_batch), **(cpu_sizes or {})}
        return make_session(replace(graph, sizes=tuple(sizes.items())), backend)
    wanted = backend.background_build and backend.provider in (AUTO, "tensorrt")
    if wanted and _loadable()[0] == "tensorrt" and needs_engine_build(graph):
        return build_in_background(graph, replace(backend, provider=_loadable()[1]), shapes)
    return make_session(graph, backend)


def running_provider(backend: Backend) -> str:
    """Return the provider of a backend; for "auto", the best that loads."""
    return _loadable()[0] if backend.provider == AUTO else backend.provider


def read_graph(package: Package, role: str, backend: Backend) -> Graph:
    """Read a graph in the form that its provider takes.

    FP16 is made from FP32 if the package has no such file. TensorRT gets the form of `typed_form`; a graph
    whose activations are quantized at run time is replaced with FP16 there.

    Raises:
        ModelError: The file is missing, damaged or unsafe, or has no such form.
    """
    if backend.precision == "fp16" and "fp16" not in package.manifest.files:
        return half_form(package.read(role))
    graph = package.read(role, backend.precision)
    if running_provider(backend) not in TENSORRT:
        return graph
    if DYNAMIC in graph.info.nodes:
        return read_graph(package, role, replace(backend, precision="fp16"))
    return tensorrt_form(graph)


def graph_backend(package: Package, role: str, backend: Backend) -> Backend:
    """Return the backend of one graph: "auto" becomes the provider measured as fastest for it, if any.

    Args:
        package: The package.
        role: Role of the graph.
        backend: Result of `resolve_backend`.
    """
    if backend.provider != AUTO:
        return backend
    chosen = _tuned_graphs(package, backend.precision, backend.threads or 1)
    return _tuned(backend, chosen.get(role, AUTO))


def batch_axes(graph: Graph, size: int | None) -> dict[str, int]:
    """Return the names of the graph's free batch axes with a size for them; {} without a size."""
    names = [one.shape[0] for one in graph.info.inputs if one.shape]
    return {} if size is None else {name: size for name in names if isinstance(name, str) and name != "?"}


def package_key(package: Package) -> str:
    """Identify a package by its name and the hashes of its graphs."""
    hashes = (
        spec.sha256[:16] for roles in package.manifest.files.values() for spec in roles.values()
    )  # fmt: skip
    return " ".join([package.manifest.name, *sorted(hashes)])


def record_path() -> Path:
    """Return the path of the record."""
    return cache_root().parent / "tuned.json"


def write_record(
    measured: Mapping[str, Sequence[Backend]],
    path: Path | None = None,
    *,
    graphs: Mapping[str, GraphProviders] | None = None,
) -> Path:
    """Write the measured backends.

    Args:
        measured: Backends by package key, that of "auto" first.
        path: File to write; `record_path()` by default.
        graphs: Providers of the graphs, by package key, for "auto".

    Raises:
        OSError: The file cannot be written.
    """
    path, graphs = path or record_path(), graphs or {}
    packages = {
        key: {"backends": [_row(one) for one in backends], "graphs": _graph_rows(graphs.get(key, {}))}
        for key, backends in measured.items()
    }
    device_record.write_record(path, "packages", FORMAT, device_info(), packages)
    _record.cache_clear()
    return path


def _row(backend: Backend) -> dict[str, object]:
    return {"provider": backend.name, "precision": backend.precision, "threads": backend.threads}


def _graph_rows(graphs: GraphProviders) -> list[dict[str, object]]:
    return [
        {"precision": precision, "threads": threads, "providers": dict(providers)}
        for (precision, threads), providers in graphs.items()
    ]


@cache
def _record() -> dict[str, dict[str, Any]]:
    """Read the packages of the record if it is valid and was measured on this device."""
    packages = device_record.read_record(
        record_path(), "packages", FORMAT, device_info(), renewal="run `edgeharfer tune` again"
    )
    return {key: one for key, one in packages.items() if _is_valid(one)}


def _is_valid(package: object) -> bool:
    if not isinstance(package, dict) or set(package) != {"backends", "graphs"}:
        return False
    backends, graphs = package["backends"], package["graphs"]
    return (
        isinstance(backends, list)
        and isinstance(graphs, list)
        and all(_is_valid_row(row, "provider") and _is_provider(row["provider"]) for row in backends)
        and all(_is_valid_row(row, "providers") and _are_providers(row["providers"]) for row in graphs)
    )


def _is_valid_row(row: object, key: str) -> bool:
    return (
        isinstance(row, dict)
        and set(row) == {key, "precision", "threads"}
        and isinstance(row["precision"], str)
        and type(row["threads"]) is int
        and 1 <= row["threads"] <= 256
    )


def _is_provider(name: object) -> bool:
    return name in provider_choices()


def _are_providers(by_role: object) -> bool:
    return isinstance(by_role, dict) and all(name in provider_choices()[1:] for name in by_role.values())
