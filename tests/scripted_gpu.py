"""A GPU build of ONNX Runtime, scripted around the real one: which providers load, and what was asked.

What it cannot show is whether a GPU does what it is told; tests marked `gpu` do.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgeharfer.runtime.inference import session as session_module

CPU, CUDA, TENSORRT = "CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"


class GpuBuild:
    """The real ONNX Runtime, made to list GPU providers of which only some load.

    Fails as the real GPU wheel does without its libraries: CUDA silently gives a CPU session, TensorRT
    raises.
    `told` are the provider options of each session, `placed` the devices of buffers, which lie on the CPU.
    `graph_ids` are those of the runs through buffers. captures: all nodes are CUDA's, so that a session may
    be captured. stale: replays give what the captured run gave.
    """

    def __init__(
        self, folder: Path, loads: tuple[str, ...], *, captures: bool = True, stale: bool = False
    ) -> None:
        import onnxruntime

        self._real: Any = onnxruntime
        self._loads, self._captures, self._stale = loads, captures, stale
        self.__file__ = str(folder / "__init__.py")
        self.told: list[list[dict[str, str]]] = []
        self.placed: list[str] = []
        self.graph_ids: list[str | None] = []
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
        if not self._captures and any("enable_cuda_graph" in one for one in self.told[-1]):
            raise RuntimeError("This session cannot use the graph capture feature as requested by the user")
        session = self._real.InferenceSession(model, options, providers=[CPU], **more)
        real = [one for one in providers if one in (*self._loads, CPU)]
        session.get_providers = lambda: real
        self.listen(session)
        return session

    def listen(self, session: Any) -> None:
        """Note the graph id of each run through buffers, and what stays on the device, which is the CPU."""
        really = session.run_with_iobinding

        def run(binding: Any, options: Any = None) -> None:
            graph_id = _entry(options, "gpu_graph_id")
            replayed = graph_id not in (None, "-1") and graph_id in self.graph_ids
            self.graph_ids.append(graph_id)
            if not (replayed and self._stale):
                really(binding, options)

        session.run_with_iobinding = run
        really_bound = session.io_binding

        def io_binding() -> Any:
            binding = really_bound()
            bind_output = binding.bind_output

            def stay(name: str, device: str) -> None:
                self.placed.append(device)
                bind_output(name, "cpu")

            binding.bind_output = stay
            return binding

        session.io_binding = io_binding


def _entry(options: Any, key: str) -> str | None:
    try:
        value: str | None = options.get_run_config_entry(key)
    except RuntimeError:  # It is not there.
        return None
    return value


class _Placing:
    """OrtValue, whose buffers for a GPU lie on the CPU."""

    def __init__(self, real: Any, placed: list[str]) -> None:
        self._real, self._placed = real, placed

    def ortvalue_from_shape_and_type(self, shape: Any, kind: Any, device: str, number: int) -> Any:
        self._placed.append(device)
        value = self._real.OrtValue.ortvalue_from_shape_and_type(shape, kind, "cpu", number)
        if device != "cpu":
            as_it_lies = value.numpy
            value.numpy = lambda: as_it_lies().copy()  # What comes from a GPU is a copy.
        return value


def use_gpu_build(
    monkeypatch: pytest.MonkeyPatch, folder: Path, *loads: str, captures: bool = True, stale: bool = False
) -> GpuBuild:
    """From now on sessions are made by such a build."""
    build = GpuBuild(folder, loads, captures=captures, stale=stale)
    monkeypatch.setattr(session_module, "_onnxruntime", lambda: build)
    return build
