"""The table of providers, and the one value that says which of them runs a graph."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import click
import pytest

import tiny_models
from edgeharfer.app.worker import AnalysisRequest
from edgeharfer.benchmark.end_to_end import EndToEnd
from edgeharfer.cli.options import backend_from_options, provider_options
from edgeharfer.kiosk.config import ModelsConfig
from edgeharfer.runtime.errors import ConfigError
from edgeharfer.runtime.faces import make_detector
from edgeharfer.runtime.inference import device_record, tensorrt, tuning
from edgeharfer.runtime.inference import graph as graph_module
from edgeharfer.runtime.inference.backend import Backend
from edgeharfer.runtime.inference.graph import Graph
from edgeharfer.runtime.inference.package import load_package
from edgeharfer.runtime.inference.providers import Provider, fallback_chain, provider_choices
from edgeharfer.runtime.inference.scan import scan_onnx
from edgeharfer.runtime.inference.session import make_session
from edgeharfer.runtime.inference.tuning import open_graph, resolve_backend
from edgeharfer.runtime.pipeline import Pipeline
from scripted_gpu import CPU, CUDA, EXAMPLE, TENSORRT, use_gpu_build, use_plugin_build, use_table


def test_the_choices_are_the_rows_of_the_table() -> None:
    assert provider_choices() == (
        "auto", "cpu", "openvino", "openvino:GPU", "openvino:NPU", "webgpu", "coreml", "directml",
        "tensorrt-rtx", "cuda", "tensorrt",
    )  # fmt: skip
    (provider,) = (
        one for one in click.command()(provider_options(lambda: None)).params if one.name == "provider"
    )
    assert isinstance(provider.type, click.Choice)
    assert tuple(provider.type.choices) == provider_choices()


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("cuda", Backend("cuda")), ("openvino:GPU", Backend("openvino", device="GPU")), ("auto", Backend())],
)
def test_a_provider_is_spelled_with_its_device(text: str, wanted: Backend) -> None:
    backend = Backend.parse(text)
    assert backend == wanted and backend.name == text


def test_a_row_of_its_own_is_a_provider_with_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its name is a choice, and its options get the device."""
    told: list[Backend] = []

    def options(graph: Graph, backend: Backend) -> dict[str, str]:
        told.append(backend)
        return {}

    row = Provider(EXAMPLE, options=options, devices=("GPU", "NPU"), plugin="example_plugin")
    use_table(monkeypatch, row)
    build = use_plugin_build(monkeypatch, "example_plugin", EXAMPLE, "GPU", "NPU")
    assert provider_choices() == ("auto", "cpu", "example", "example:GPU", "example:NPU")
    backend = Backend.parse("example:NPU")
    made = make_session(Graph.scan(tiny_models.head()), backend)
    made.warm_up([(1, 4, 8)])
    assert (made.provider, told, build.told) == (f"{EXAMPLE}:NPU", [backend], [("NPU", {})])
    with pytest.raises(ConfigError, match="unknown provider 'example:TPU'"):
        fallback_chain(Backend.parse("example:TPU"))


def test_command_line_and_configuration_make_the_same_value() -> None:
    options = {"provider": "cuda", "precision": "fp16", "threads": 2, "allow_fallback": False}
    assert backend_from_options(options) == ModelsConfig(provider="cuda", precision="fp16", threads=2).backend
    assert backend_from_options({**options, "allow_fallback": True}) == Backend(
        "cuda", "fp16", 2, fallback=True
    )


def test_keywords_of_a_pipeline_and_a_backend_do_the_same(tmp_path: Path) -> None:
    package = tiny_models.emotion_package(tmp_path / "package")
    with (
        Pipeline(action=None, emotion=package, provider="cpu", precision="fp32", threads=2) as one,
        Pipeline(action=None, emotion=package, backend=Backend("cpu", "fp32", 2)) as other,
    ):
        assert (one.providers, one.models) == (other.providers, other.models)
        assert set(one.providers.values()) == {CPU}


def test_a_graph_is_hashed_and_scanned_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """From its file to TensorRT's engine: the check of the package is the only one."""
    package = tiny_models.emotion_package(tmp_path / "package")
    data = (tmp_path / "package" / "model.onnx").read_bytes()
    scanned: list[bytes] = []
    hashed: list[bytes] = []
    scan, sha256 = scan_onnx, hashlib.sha256

    def scan_noted(content: bytes, *rest: Any) -> Any:
        scanned.append(content)
        return scan(content, *rest)

    def sha256_noted(content: bytes = b"", **more: Any) -> Any:
        hashed.append(content)
        return sha256(content, **more)

    here = tensorrt.GpuEnvironment("Example GPU", "570.10", "10.13.0", "1.31.1")
    for module in (tensorrt, tuning):
        monkeypatch.setattr(module, "cache_root", lambda: tmp_path / "cache" / "engines")
    for module in (tensorrt, device_record):
        monkeypatch.setattr(module, "gpu_environment", lambda: here)
    monkeypatch.setattr(tuning, "_loadable", lambda: ("tensorrt", "cuda", "cpu"))
    use_gpu_build(monkeypatch, tmp_path, TENSORRT, CUDA)
    monkeypatch.setattr(graph_module, "scan_onnx", scan_noted)
    monkeypatch.setattr(hashlib, "sha256", sha256_noted)
    backend = resolve_backend(package, Backend("tensorrt", background_build=False))
    assert open_graph(package, "model", backend).provider == TENSORRT
    assert (scanned.count(data), hashed.count(data)) == (1, 1)


def test_a_backend_reaches_child_processes_as_json() -> None:
    backend = Backend("openvino", "int8", 2, "GPU", fallback=True)
    order = json.loads(
        AnalysisRequest("clip.mp4", False, "out", 4.0, pipeline={"backend": backend}).to_line()
    )
    job = json.loads(json.dumps(EndToEnd("clip.mp4", {}, backend).job))
    assert Backend(**order["pipeline"]["backend"]) == Backend(**job["backend"]) == backend


def test_detectors_keep_a_precision_of_their_own() -> None:
    """The one asked for is that of emotions and actions; a detector may not hold it."""
    assert "int8" not in load_package("face-full-range").manifest.files
    for name in ("blazeface", "yunet", "auto"):
        assert make_detector(name, Backend("cpu", "int8", 1)).provider == CPU
