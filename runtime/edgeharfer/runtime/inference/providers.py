"""The table of execution providers, and checks which of them load on this machine.

To add a provider, add a row to PROVIDERS. The option `--provider`, the kiosk configuration, `edgeharfer
doctor`, `tune` and `benchmark` read it.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from types import MappingProxyType
from typing import Any

from edgeharfer.runtime.errors import ConfigError, EdgeharferError, MissingExtra, ProviderError
from edgeharfer.runtime.inference import onnx_runtime
from edgeharfer.runtime.inference.backend import AUTO, Backend
from edgeharfer.runtime.inference.graph import Graph
from edgeharfer.runtime.inference.onnx_runtime import (
    count_operators,
    create_session,
    error_reason,
    missing_library,
    preload_cuda,
    suppress_output,
)
from edgeharfer.runtime.inference.plugins import find_devices
from edgeharfer.runtime.inference.tensorrt import (
    gpu_environment,
    mark_engine_built,
    optimization_profile,
    tensorrt_options,
)
from edgeharfer.runtime.installation import install_command, pip, why_not_here
from edgeharfer.runtime.versions import all_installed, dependencies, extras

Options = dict[str, str]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Provider:
    """An execution provider.

    Attributes:
        name: Name of the provider in ONNX Runtime.
        options: Returns the provider options for a session of a graph.
        memory: ONNX Runtime name of the device memory in which inputs and outputs stay between runs; None for
            a provider that reads and writes host memory.
        fix: Returns what to do if it is not installed, as shown by `edgeharfer doctor`.
        needs: What a plug-in runs on, for the message if there is no such device.
        devices: Types of devices that may follow its name, as in "openvino:GPU".
        default_device: Type of device that it runs on if none follows its name; None for the first of any.
        plugin: Python package of its plug-in library; None if it is part of ONNX Runtime. The extra that
            installs it has the name of the row.
        automatic: Whether "auto" takes it without a measurement by `edgeharfer tune`.
        systems: Values of `sys.platform` with a build of ONNX Runtime that includes it; empty for all.
        memory_pattern: Whether it allows ONNX Runtime to plan memory.
        single: Pictures are run one by one, with a fixed batch of one, since it is slow or fails otherwise.
        ready: Returns why its package is not even worth importing, or None.
    """

    name: str
    options: Callable[[Graph, Backend], Options] = lambda graph, backend: {}
    memory: str | None = None
    fix: Callable[[], str] = lambda: install_command("cpu")
    needs: str = ""
    devices: tuple[str, ...] = ()
    default_device: str | None = None
    plugin: str | None = None
    automatic: bool = True
    systems: tuple[str, ...] = ()
    memory_pattern: bool = True
    single: bool = False
    ready: Callable[[], str | None] = lambda: None


def _install_gpu() -> str:
    return why_not_here("gpu") or f"{pip('uninstall')} onnxruntime, then {install_command('gpu')}"


def _install_directml() -> str:
    if sys.platform != "win32":
        return "it is available for Windows only"
    return f"{pip('uninstall')} onnxruntime, then {pip('install')} onnxruntime-directml"


def _install_plugin(extra: str) -> str:
    if extra in extras() and not dependencies(extra):
        return "it is not available for this system"
    return install_command(extra)


def _nvidia_gpu_missing() -> str | None:
    # Its package maps 300 MB of libraries on import, and cannot be registered without the driver.
    return None if gpu_environment().gpu else "no NVIDIA driver found"


def _rtx_options(graph: Graph, backend: Backend) -> Options:
    shapes = optimization_profile(graph.info)
    return {name.replace("trt_", "nv_", 1): value for name, value in shapes.items()}


def _openvino_options(graph: Graph, backend: Backend) -> Options:
    """One stream, as many threads as were asked for, and FP32 unless the package is FP16.

    OpenVINO would compute in bfloat16 on processors with AMX (features differ by up to 0.48), and in half
    precision on GPUs. An NPU has no other. Threads that are pinned to a core wait for it on a busy machine.
    (https://docs.openvino.ai, "Performance Hints", "Precision Control", "CPU Device")
    """
    device = backend.device or "CPU"
    settings = {"PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": "1"}
    if device == "CPU":
        settings |= {"INFERENCE_NUM_THREADS": str(backend.threads or 1), "ENABLE_CPU_PINNING": "NO"}
    if backend.precision != "fp16" and device != "NPU":
        settings["INFERENCE_PRECISION_HINT"] = "f32"
    return {"load_config": json.dumps({device: settings})}


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
    "tensorrt-rtx": Provider(
        "NvTensorRTRTXExecutionProvider",
        options=_rtx_options,
        fix=lambda: _install_plugin("tensorrt-rtx"),
        needs="a GeForce RTX 30 or newer, or an RTX workstation GPU of that age",
        plugin="onnxruntime_ep_nv_tensorrt_rtx",
        ready=_nvidia_gpu_missing,
    ),
    "directml": Provider(
        "DmlExecutionProvider",
        fix=_install_directml,
        automatic=False,
        systems=("win32",),
        memory_pattern=False,
    ),
    "coreml": Provider(
        "CoreMLExecutionProvider",
        options=lambda graph, backend: {"ModelFormat": "MLProgram"},
        fix=lambda: "only ONNX Runtime for macOS includes it",
        automatic=False,
        systems=("darwin",),
    ),
    "webgpu": Provider(
        "WebGpuExecutionProvider",
        fix=lambda: _install_plugin("webgpu"),
        needs="a GPU with a driver for Vulkan (and libvulkan1 on Linux), Metal or Direct3D 12",
        plugin="onnxruntime_ep_webgpu",
        automatic=False,
    ),
    "openvino": Provider(
        "OpenVINOExecutionProvider",
        options=_openvino_options,
        fix=lambda: _install_plugin("openvino"),
        needs="an Intel processor, GPU or NPU, the last two with their drivers",
        devices=("GPU", "NPU"),
        default_device="CPU",
        plugin="onnxruntime_ep_openvino",
        automatic=False,
        # A free batch axis costs 10 to 20 % on the processor, and NPUs take fixed shapes only.
        single=True,
    ),
    "cpu": Provider("CPUExecutionProvider"),
})  # fmt: skip
"""The providers by their `--provider` name, best first. Each falls back to the automatic ones after it."""

ON_PROCESSOR = ("cpu", "openvino")
"""Providers that compute on the processor unless another device is requested."""

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
    later = names if backend.provider == AUTO else names[names.index(backend.provider) :]
    return [name for name in later if name == backend.provider or PROVIDERS[name].automatic]


def runs_on_processor(backend: Backend) -> bool:
    """Whether a provider computes on the processor of this machine, from host memory."""
    return backend.name in ON_PROCESSOR


def is_on_processor(provider: str) -> bool:
    """Whether a session with this `Session.provider` computes on the processor."""
    return provider in [PROVIDERS[name].name for name in ON_PROCESSOR if name in PROVIDERS]


def session_provider(backend: Backend) -> str:
    """Return the `Session.provider` of a session on the provider and device of a backend."""
    name = PROVIDERS[backend.provider].name
    return name if backend.device is None else f"{name}:{backend.device}"


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
    device = None
    if row.plugin is not None:
        names, device = [provider], _plugin_device(ort, provider, backend.device)
    else:
        names = _built_in(ort, provider)
    rows = [PROVIDERS[name] for name in names]
    if row.memory is not None:
        preload_cuda(ort)
    with suppress_output(ort):
        try:
            options = [{} if probing and device is None else one.options(graph, backend) for one in rows]
            session = create_session(
                ort, graph, backend.threads or 1, [one.name for one in rows], options,
                device=device, memory_pattern=row.memory_pattern,
            )  # fmt: skip
        except Exception as error:  # ONNX Runtime's errors have no base class of their own.
            raise _cannot_load(ort, provider, error_reason(error)) from error
    if session.get_providers()[0] != row.name:
        raise _cannot_load(ort, provider, "ONNX Runtime gives no reason")
    if len(session.get_providers()) > 1:
        _check_operators(count_operators(session), provider, graph.name)
    mark_engine_built(options[0], graph.name)
    return session


def _built_in(ort: Any, provider: str) -> list[str]:
    """Return the provider and those of the same build of ONNX Runtime that run what it leaves out.

    Raises:
        ProviderError: This build of ONNX Runtime does not include the provider.
    """
    listed = ort.get_available_providers()
    if PROVIDERS[provider].name not in listed:
        raise ProviderError(
            f"this build of ONNX Runtime does not include {provider}: {PROVIDERS[provider].fix()}"
        )
    chain = fallback_chain(Backend(provider))
    return [name for name in chain if PROVIDERS[name].plugin is None and PROVIDERS[name].name in listed]


def _plugin_device(ort: Any, provider: str, device: str | None) -> Any:
    """Return the `OrtEpDevice` that a plug-in runs on.

    Raises:
        ProviderError: The plug-in is not installed or does not load, or there is no such device.
    """
    row = PROVIDERS[provider]
    wanted = device or row.default_device
    for found in _plugin_devices(ort, provider):
        if wanted is None or found.device.type.name == wanted:
            return found
    name = provider if device is None else f"{provider}:{device}"
    raise ProviderError(f"{name} found no device: it needs {row.needs}; otherwise use --provider cpu")


def _plugin_devices(ort: Any, provider: str) -> list[Any]:
    row = PROVIDERS[provider]
    assert row.plugin is not None, "only plug-ins list devices"
    if find_spec(row.plugin) is None:
        raise ProviderError(f"{provider} is not installed: {row.fix()}")
    if (reason := row.ready()) is not None:
        raise ProviderError(f"{provider} found no device: {reason}; it needs {row.needs}")
    try:
        return list(find_devices(ort, row.plugin, row.name))
    except (ImportError, ProviderError) as error:
        raise _cannot_load(ort, provider, str(error)) from error


def _check_operators(counts: Mapping[str, int], provider: str, graph: str) -> None:
    """Check that a provider runs operators of a graph, and log how many it leaves to others.

    Raises:
        ProviderError: It runs none, so everything would run on the CPU.
    """
    total = sum(counts.values())
    taken = counts.get(PROVIDERS[provider].name, 0)
    if total and not taken:
        raise ProviderError(
            f"{provider} can run none of the {total} operators of {graph}: use --provider cpu"
        )
    on_cpu = counts.get(PROVIDERS["cpu"].name, 0)
    if on_cpu:
        _log.info("%s: %s leaves %d of %d operators to the CPU", graph, provider, on_cpu, total)


def _cannot_load(ort: Any, provider: str, why: str) -> ProviderError:
    missing = missing_library(ort, provider) or why
    return ProviderError(
        f"{provider} cannot be loaded: {missing}: see `edgeharfer doctor`, or use --provider cpu"
    )


def plugin_versions() -> dict[str, str]:
    """Return the versions of the installed plug-ins, by provider."""
    names = {provider: row.plugin.replace("_", "-") for provider, row in PROVIDERS.items() if row.plugin}
    found = all_installed(names.values())
    return {provider: found[name] for provider, name in names.items() if name in found}


def available_providers(*, automatic: bool = False) -> tuple[str, ...]:
    """Return the names of the providers that load on this machine, best first.

    Args:
        automatic: Only those that "auto" takes without a measurement.
    """
    reasons = probe_providers(automatic=automatic)
    return tuple(provider for provider, reason in reasons.items() if reason is None)


def probe_providers(*, automatic: bool = False) -> dict[str, str | None]:
    """Test each provider of this system with a small model.

    Args:
        automatic: Only those that "auto" takes without a measurement.

    Returns:
        For each provider, why it does not load or run a model, or None if it does. The devices that a plug-in
        lists besides its default one are among them, as in "openvino:GPU".

    Raises:
        MissingExtra: ONNX Runtime is not installed.
    """
    graph = Graph.scan(_PROBE_MODEL, "probe")
    reasons: dict[str, str | None] = {}
    for backend in _backends_here(automatic=automatic):
        try:
            session = open_provider_session(backend.provider, graph, backend, probing=True)
            _run_probe(session, backend.name)
        except MissingExtra:
            raise
        except EdgeharferError as error:
            reasons[backend.name] = str(error)
        else:
            reasons[backend.name] = None
    return reasons


def _backends_here(*, automatic: bool = False) -> Iterator[Backend]:
    """Yield a backend for each provider of this system and for each further device that a plug-in lists.

    Args:
        automatic: Only those that "auto" takes without a measurement. The libraries of other plug-ins are not
            loaded then: OpenVINO's take 43 MB of memory.
    """
    for provider, row in PROVIDERS.items():
        if (row.systems and sys.platform not in row.systems) or (automatic and not row.automatic):
            continue
        yield Backend(provider)
        try:
            listed = _plugin_devices(onnx_runtime.load(), provider) if row.devices else []
        except ProviderError:
            continue  # As the provider itself reports.
        types = {found.device.type.name for found in listed}
        yield from (Backend(provider, device=device) for device in row.devices if device in types)


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
