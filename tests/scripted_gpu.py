"""A GPU build of ONNX Runtime, scripted around the real one: which providers load, and what was asked.
Another one has a plug-in that lists devices.

What it cannot show is whether a GPU does what it is told; tests marked `gpu` do.
"""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import MappingProxyType, ModuleType, SimpleNamespace
from typing import Any

import pytest

from edgeharfer.runtime.inference import onnx_runtime, providers, session
from edgeharfer.runtime.inference.providers import PROVIDERS, Provider

CPU, CUDA, TENSORRT = "CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"
EXAMPLE = "ExampleExecutionProvider"


class GpuBuild:
    """The real ONNX Runtime, made to list GPU providers of which only some load.

    Fails as the real GPU wheel does without its libraries: CUDA silently gives a CPU session, TensorRT
    raises.
    `told` are the provider options of each session, `placed` the devices of buffers, which lie on the CPU.
    `bound_runs` counts the runs through buffers.
    """

    def __init__(self, folder: Path, loads: tuple[str, ...]) -> None:
        import onnxruntime

        self._real: Any = onnxruntime
        self._loads = loads
        self.__file__ = str(folder / "__init__.py")
        self.told: list[list[dict[str, str]]] = []
        self.placed: list[str] = []
        self.bound_runs = 0
        self.OrtValue = _Placing(self._real, self.placed)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def get_available_providers(self) -> list[str]:
        return [TENSORRT, CUDA, CPU]

    def preload_dlls(self) -> None:
        print("Failed to load libsomething.so")

    def InferenceSession(  # noqa: N802
        self, model: bytes, options: Any, providers: list[str], provider_options: Any, **more: Any
    ) -> Any:
        if TENSORRT in providers and TENSORRT not in self._loads:
            raise RuntimeError("Please install TensorRT libraries")
        self.told.append(provider_options or [])
        session = self._real.InferenceSession(model, options, providers=[CPU], **more)
        real = [one for one in providers if one in (*self._loads, CPU)]
        session.get_providers = lambda: real
        session.get_provider_graph_assignment_info = list
        self.listen(session)
        return session

    def listen(self, session: Any) -> None:
        """Count runs through buffers, and place outputs for a GPU on the CPU."""
        really_run, really_bound = session.run_with_iobinding, session.io_binding

        def run(binding: Any, options: Any = None) -> None:
            self.bound_runs += 1
            really_run(binding, options)

        def io_binding() -> Any:
            binding = really_bound()
            bind_output = binding.bind_output

            def bind(name: str, device: str) -> None:
                self.placed.append(device)
                bind_output(name, "cpu")

            binding.bind_output = bind
            return binding

        session.run_with_iobinding, session.io_binding = run, io_binding


class PluginBuild:
    """The real ONNX Runtime with a plug-in whose sessions run on the CPU in truth.

    Attributes:
        registered: Libraries that were registered.
        told: Type of the device and options of each session.
        assigned: Operators of each session's graph by provider.
    """

    def __init__(self, name: str, devices: tuple[str, ...], refusal: str | None = None) -> None:
        import onnxruntime

        self._real: Any = onnxruntime
        self._name, self._devices, self._refusal = name, devices, refusal
        self.registered: list[str] = []
        self.told: list[tuple[str, dict[str, str]]] = []
        self.assigned = {name: 3}
        build = self

        class Options(onnxruntime.SessionOptions):  # type: ignore[misc]
            def add_provider_for_devices(self, devices: list[Any], options: dict[str, str]) -> None:
                build.told.append((devices[0].device.type.name, options))

        self.SessionOptions = Options

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def register_execution_provider_library(self, name: str, path: str) -> None:
        if self._refusal is not None:
            raise RuntimeError(f"Failed to load library {path} with error: {self._refusal}")
        self.registered.append(path)

    def get_ep_devices(self) -> list[Any]:
        types = [SimpleNamespace(type=SimpleNamespace(name=name)) for name in self._devices]
        return [SimpleNamespace(ep_name=self._name, device=one) for one in types]

    def InferenceSession(self, model: bytes, options: Any, **more: Any) -> Any:  # noqa: N802
        session = self._real.InferenceSession(model, options, **{"providers": [CPU], **more})
        if "providers" not in more:
            session.get_providers = lambda: [self._name, CPU]
            session.get_provider_graph_assignment_info = self._assignment
        return session

    def _assignment(self) -> list[Any]:
        return [
            SimpleNamespace(ep_name=name, get_nodes=lambda count=count: [object()] * count)
            for name, count in self.assigned.items()
        ]


class _Placing:
    """OrtValue, whose buffers for a GPU lie on the CPU."""

    def __init__(self, real: Any, placed: list[str]) -> None:
        self._real, self._placed = real, placed

    def ortvalue_from_shape_and_type(self, shape: Any, kind: Any, device: str, number: int) -> Any:
        self._placed.append(device)
        return self._real.OrtValue.ortvalue_from_shape_and_type(shape, kind, "cpu", number)


def use_gpu_build(monkeypatch: pytest.MonkeyPatch, folder: Path, *loads: str) -> GpuBuild:
    """From now on sessions are made by such a build."""
    build = GpuBuild(folder, loads)
    monkeypatch.setattr(onnx_runtime, "load", lambda: build)
    return build


def use_plugin_build(
    monkeypatch: pytest.MonkeyPatch, package: str, name: str, *devices: str, refusal: str | None = None
) -> PluginBuild:
    """From now on sessions are made by a build with a plug-in of that package and provider name."""
    module = ModuleType(package)
    module.__spec__ = ModuleSpec(package, None)
    module.get_library_path = lambda: f"/{package}.so"  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, package, module)
    build = PluginBuild(name, devices, refusal)
    monkeypatch.setattr(onnx_runtime, "load", lambda: build)
    return build


def use_table(monkeypatch: pytest.MonkeyPatch, row: Provider) -> None:
    """From now on there are two providers, "example" and the CPU."""
    table = MappingProxyType({"example": row, "cpu": PROVIDERS["cpu"]})
    for module in (providers, session):
        monkeypatch.setattr(module, "PROVIDERS", table)
