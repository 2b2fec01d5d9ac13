"""The table of execution providers, and checks which of them load on this machine.

To add a provider, add a row to PROVIDERS. The option `--provider`, the kiosk configuration, `edgeharfer
doctor`, `tune` and `benchmark` read it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from edgeharfer.runtime.errors import ConfigError, EdgeharferError, MissingExtra, ProviderError
from edgeharfer.runtime.inference import onnx_runtime
from edgeharfer.runtime.inference.backend import AUTO, Backend
from edgeharfer.runtime.inference.graph import Graph
from edgeharfer.runtime.inference.onnx_runtime import (
    create_session,
    error_reason,
    missing_library,
    preload_cuda,
    suppress_output,
)
from edgeharfer.runtime.inference.tensorrt import mark_engine_built, tensorrt_options
from edgeharfer.runtime.installation import install_command, pip, why_not_here

Options = dict[str, str]


@dataclass(frozen=True)
class Provider:
    """An execution provider.

    Attributes:
        name: Name of the provider in ONNX Runtime.
        options: Returns the provider options for a session of a graph.
        memory: ONNX Runtime name of the device memory in which inputs and outputs stay between runs; None for
            a provider that reads and writes host memory.
        fix: Returns what to do if this build of ONNX Runtime does not include the provider, as shown by
            `edgeharfer doctor`.
        devices: Devices that may follow its name, as in "openvino:GPU".
        plugin: Python package of its plug-in library; None if it is part of ONNX Runtime.
    """

    name: str
    options: Callable[[Graph, Backend], Options] = lambda graph, backend: {}
    memory: str | None = None
    fix: Callable[[], str] = lambda: install_command("cpu")
    devices: tuple[str, ...] = ()
    plugin: str | None = None


def _install_gpu() -> str:
    return why_not_here("gpu") or f"{pip('uninstall')} onnxruntime, then {install_command('gpu')}"


PROVIDERS: Mapping[str, Provider] = MappingProxyType({
    "tensorrt": Provider(
        "TensorrtExecutionProvider",
        options=lambda graph, backend: tensorrt_options(graph),
        memory="cuda",
        fix=_install_gpu,
    ),
    "cuda": Provider(
        "CUDAExecutionProvider",
        # TensorFloat-32 would round what the package calls FP32 to 10 bits.
        options=lambda graph, backend: {"use_tf32": "0"},
        memory="cuda",
        fix=_install_gpu,
    ),
    "cpu": Provider("CPUExecutionProvider"),
})  # fmt: skip
"""The providers by their `--provider` name, best first. Each falls back to those after it."""

_PROBE_MODEL = (
    b'\x08\x08:7\n\x10\n\x01x\x12\x01y"\x08Identity\x12\x01gZ\x0f\n\x01x\x12\n\n\x08\x08\x01\x12\x04\n\x02\x08\x01'
    b"b\x0f\n\x01y\x12\n\n\x08\x08\x01\x12\x04\n\x02\x08\x01B\x04\n\x00\x10\x11"
)
"""ONNX model y = Identity(x) for one float, opset 17; made with onnx.helper."""


def provider_choices() -> tuple[str, ...]:
    """Return the values of `--provider`: "auto", then the providers from the CPU up, with their devices."""
    return AUTO, *(
        name
        for provider in reversed(list(PROVIDERS))
        for name in (provider, *(f"{provider}:{device}" for device in PROVIDERS[provider].devices))
    )


def fallback_chain(backend: Backend) -> list[str]:
    """Return the provider and those it falls back to, best first; all of them for "auto".

    Raises:
        ConfigError: There is no such provider or device.
    """
    if backend.name not in provider_choices():
        raise ConfigError(f"unknown provider {backend.name!r}: choose from {', '.join(provider_choices())}")
    names = list(PROVIDERS)
    return names if backend.provider == AUTO else names[names.index(backend.provider) :]


def open_provider_session(provider: str, graph: Graph, backend: Backend, *, probing: bool = False) -> Any:
    """Create an ONNX Runtime session on one provider, without falling back to another.

    ONNX Runtime lists GPU providers that cannot load, and its Python wrapper falls back to the CPU without an
    error. Therefore the provider of the new session is checked.

    Args:
        provider: A name of PROVIDERS.
        graph: Graph to load.
        backend: Threads and device.
        probing: Only test the provider: use neither its options nor its caches.

    Raises:
        ProviderError: The provider does not load; the message gives the reason.
        MissingExtra: ONNX Runtime is not installed.
    """
    ort, row = onnx_runtime.load(), PROVIDERS[provider]
    listed = ort.get_available_providers()
    if row.name not in listed:
        raise ProviderError(f"this build of ONNX Runtime does not include {provider}: {row.fix()}")
    names = list(PROVIDERS)
    rows = [PROVIDERS[one] for one in names[names.index(provider) :] if PROVIDERS[one].name in listed]
    if row.memory is not None:
        preload_cuda(ort)
    with suppress_output(ort):
        try:
            options = [{} if probing else one.options(graph, backend) for one in rows]
            session = create_session(ort, graph, backend.threads or 1, [one.name for one in rows], options)
        except Exception as error:  # ONNX Runtime's errors have no base class of their own.
            raise _cannot_load(ort, provider, error_reason(error)) from error
    if session.get_providers()[0] != row.name:
        raise _cannot_load(ort, provider, "ONNX Runtime gives no reason")
    mark_engine_built(options[0], graph.name)
    return session


def _cannot_load(ort: Any, provider: str, why: str) -> ProviderError:
    missing = missing_library(ort, provider) or why
    return ProviderError(
        f"{provider} cannot be loaded: {missing}: see `edgeharfer doctor`, or use --provider cpu"
    )


def available_providers() -> tuple[str, ...]:
    """Return the names of the providers that load on this machine, best first."""
    return tuple(provider for provider, reason in probe_providers().items() if reason is None)


def probe_providers() -> dict[str, str | None]:
    """Test each provider with a small model.

    Returns:
        For each provider, why it does not load or run a model, or None if it does.

    Raises:
        MissingExtra: ONNX Runtime is not installed.
    """
    graph = Graph.scan(_PROBE_MODEL, "probe")
    reasons: dict[str, str | None] = {}
    for provider in PROVIDERS:
        try:
            _run_probe(open_provider_session(provider, graph, Backend(provider), probing=True), provider)
        except MissingExtra:
            raise
        except EdgeharferError as error:
            reasons[provider] = str(error)
        else:
            reasons[provider] = None
    return reasons


def _run_probe(session: Any, provider: str) -> None:
    """Run the probe model. Raises ProviderError if it fails or its output is wrong."""
    import numpy as np

    one = np.ones(1, np.float32)
    try:
        (answer,) = session.run(None, {session.get_inputs()[0].name: one})
    except Exception as error:  # ONNX Runtime's errors have no base class of their own.
        raise ProviderError(f"{provider} loads but cannot run a model: {error_reason(error)}") from error
    if not np.array_equal(answer, one):
        raise ProviderError(f"{provider} loads but returns wrong results")
