"""Sessions: answers, the truth about providers, and errors in one line."""

from __future__ import annotations

import logging
import re
import resource
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from onnx import helper

import tiny_models
from edgeharfer.runtime.errors import ConfigError, MissingExtra, ModelError, ProviderError
from edgeharfer.runtime.inference import tensorrt as gpu
from edgeharfer.runtime.inference.backend import Backend
from edgeharfer.runtime.inference.graph import Graph
from edgeharfer.runtime.inference.providers import available_providers, probe_providers
from edgeharfer.runtime.inference.session import make_session
from edgeharfer.runtime.installation import install_command
from edgeharfer.runtime.types import Floats
from scripted_gpu import CPU, CUDA, TENSORRT, use_gpu_build

HEAD = Graph.scan(tiny_models.head(), "head")


def test_a_session_gives_what_the_graph_computes() -> None:
    session = make_session(Graph.scan(tiny_models.encoder(8, 3, 5)))
    images = np.random.default_rng(1).random((2, 8, 8, 3), np.float32)
    wanted = images.mean(axis=(1, 2)) @ tiny_models.class_weights(3, 5)
    np.testing.assert_allclose(session.run1(images), wanted, atol=1e-6)
    np.testing.assert_array_equal(session.run({"image": images})["features"], session.run1(images))


def test_a_session_knows_its_names_shapes_and_provider() -> None:
    session = make_session(Graph.scan(tiny_models.head(4, 8, 3)))
    assert (session.input_name, session.input_names) == ("window", ("window",))
    assert session.input_shape == ("batch", 4, 8)
    assert session.output_names == ("probs",)
    assert session.outputs == {"probs": ("batch", 3)}
    assert session.provider == CPU


def test_weights_stored_as_half_floats_run() -> None:
    image = np.ones((1, 16, 16, 1), np.float32)
    full = make_session(Graph.scan(tiny_models.classifier())).run1(image)
    half = make_session(Graph.scan(tiny_models.classifier(half_weights=True))).run1(image)
    np.testing.assert_allclose(half, full, atol=1e-3)


def test_warm_up_takes_every_batch_size() -> None:
    make_session(Graph.scan(tiny_models.classifier())).warm_up([(size, 16, 16, 1) for size in (1, 2, 4, 8)])


@pytest.mark.parametrize("data", [b"", b"not a model", tiny_models.head()[:90]])
def test_bytes_that_are_no_graph_name_the_model(data: bytes) -> None:
    with pytest.raises(ModelError, match=r"^head\.onnx: \w"):
        Graph.scan(data, "head.onnx")


@pytest.mark.parametrize("provider", ["auto", "cpu", "cuda"])
def test_a_graph_that_does_not_load_names_the_model(provider: str) -> None:
    data = tiny_models.head().replace(b"Softmax", b"Softmin")
    with pytest.raises(ModelError, match=r"^head\.onnx: ONNX Runtime cannot load it: \w"):
        make_session(Graph.scan(data, "head.onnx"), Backend(provider))


@pytest.mark.parametrize("feed", [np.ones((1, 3, 8), np.float32), np.ones((1, 4, 8)), np.ones(4, np.float32)])
def test_feeds_that_do_not_fit_are_told_in_one_line(feed: Any) -> None:
    session = make_session(Graph.scan(tiny_models.head(4, 8), "head.onnx"))
    with pytest.raises(ModelError, match=r"^head\.onnx: cannot run: ") as caught:
        session.run1(feed)
    assert "ONNXRuntimeError" not in str(caught.value)


def test_an_unknown_provider_is_a_usage_error() -> None:
    with pytest.raises(ConfigError, match="choose from auto, cpu, openvino, "):
        make_session(HEAD, Backend("npu"))


def test_the_cpu_always_loads_and_the_probe_model_with_it() -> None:
    assert "cpu" in available_providers()
    assert probe_providers()["cpu"] is None


def test_without_onnx_runtime_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    line = re.escape(f"ONNX Runtime is not installed: {install_command('cpu')}; for an NVIDIA GPU use [gpu]")
    for use in (lambda: make_session(HEAD), probe_providers, available_providers):
        with pytest.raises(MissingExtra, match=line):
            use()


def test_the_empty_folder_of_a_removed_onnx_runtime_counts_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", ModuleType("onnxruntime"))
    with pytest.raises(MissingExtra):
        make_session(HEAD)


# A GPU build, scripted --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("loads", "wanted"),
    [((), CPU), ((CUDA,), CUDA), ((TENSORRT, CUDA), TENSORRT)],
    ids=["none", "cuda", "all"],
)
def test_auto_takes_the_best_that_really_loads_without_a_word(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    loads: tuple[str, ...],
    wanted: str,
) -> None:
    use_gpu_build(monkeypatch, tmp_path, *loads)
    assert make_session(HEAD, Backend("auto")).provider == wanted
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("provider", ["cuda", "tensorrt"])
def test_a_provider_asked_for_that_does_not_load_names_the_library(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str], provider: str
) -> None:
    use_gpu_build(monkeypatch, tmp_path)
    library = tmp_path / "capi" / f"libonnxruntime_providers_{provider}.so"
    library.parent.mkdir()
    library.write_bytes(b"no library")
    with pytest.raises(
        ProviderError, match=rf"^{provider} cannot be loaded: .*providers_{provider}\.so"
    ) as caught:
        make_session(HEAD, Backend(provider))
    assert caught.value.exit_code == 3
    assert capfd.readouterr() == ("", "")


def test_without_a_library_to_ask_the_reason_is_onnx_runtimes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    use_gpu_build(monkeypatch, tmp_path)
    with pytest.raises(ProviderError, match="tensorrt cannot be loaded: Please install TensorRT libraries"):
        make_session(HEAD, Backend("tensorrt"))


def test_a_declared_fallback_takes_the_next_best_and_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    use_gpu_build(monkeypatch, tmp_path, CUDA)
    with caplog.at_level(logging.WARNING):
        assert make_session(HEAD, Backend("tensorrt", fallback=True)).provider == CUDA
    assert "tensorrt cannot be loaded" in caplog.text


def window(scale: float = 1.0) -> Floats:
    return np.linspace(-scale, scale, 32, dtype=np.float32).reshape(1, 4, 8)


def test_a_gpu_runs_through_its_buffers_and_the_cpu_has_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    build = use_gpu_build(monkeypatch, tmp_path, CUDA)
    for provider, wanted in (("cpu", []), ("cuda", ["cuda", "cuda"])):
        session = make_session(HEAD, Backend(provider))
        for scale in (1, 2, 3):
            session.run1(window(scale))
        assert build.placed == wanted


def test_an_engine_is_noted_once_its_session_has_loaded(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    here = gpu.GpuEnvironment("Example GPU", "570.10", "10.13.0", "1.31.1")
    monkeypatch.setattr(gpu, "cache_root", lambda: tmp_path / "engines")
    monkeypatch.setattr(gpu, "gpu_environment", lambda: here)
    use_gpu_build(monkeypatch, tmp_path, CUDA)
    with pytest.raises(ProviderError):
        make_session(HEAD, Backend("tensorrt"))
    assert gpu.needs_engine_build(HEAD)
    use_gpu_build(monkeypatch, tmp_path, TENSORRT, CUDA)
    assert make_session(HEAD, Backend("tensorrt")).provider == TENSORRT
    assert not gpu.needs_engine_build(HEAD)


def test_a_build_without_gpu_says_what_to_install() -> None:
    if CUDA in __import__("onnxruntime").get_available_providers():
        pytest.skip("this ONNX Runtime is a GPU build")
    with pytest.raises(
        ProviderError,
        match=rf"ONNX Runtime does not include cuda: .*{re.escape(install_command('gpu'))}",
    ):
        make_session(HEAD, Backend("cuda"))
    assert make_session(HEAD, Backend("cuda", fallback=True)).provider == CPU


@pytest.mark.skipif(
    sys.version_info < (3, 11),
    reason="ONNX Runtime 1.23, the last for Python 3.10, has no limit there (SECURITY.md)",
)
def test_a_few_bytes_that_ask_for_gigabytes_are_stopped_by_a_limit() -> None:
    """The shape is computed, so no look at the file can tell; the same process then goes on."""
    weights = {"column": np.ones((2**16, 1), np.float32), "row": np.ones((1, 2**16), np.float32)}
    nodes = [
        helper.make_node("MatMul", ["column", "row"], ["grown"]),
        helper.make_node("ReduceMean", ["grown"], ["mean"], keepdims=0),
        helper.make_node("Add", ["x", "mean"], ["y"]),
    ]
    bomb = tiny_models.to_bytes(nodes, {"x": [1]}, {"y": [1]}, weights)
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ModelError, match=r"^bomb\.onnx: cannot run: .*Available memory of"):
        make_session(Graph.scan(bomb, "bomb.onnx")).run1(np.ones(1, np.float32))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb < 2**20
    test_a_session_gives_what_the_graph_computes()
