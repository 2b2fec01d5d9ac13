"""A GPU build of ONNX Runtime, scripted around the real one: which providers load, and what was asked.

What it cannot show is whether a GPU does what it is told; tests marked `gpu` do.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgeharfer.runtime.inference import onnx_runtime

CPU, CUDA, TENSORRT = "CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"


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
