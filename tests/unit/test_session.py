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
from edgeharfer.runtime.inference.session import available_providers, make_session, probe_providers
from edgeharfer.runtime.installation import install_command
from edgeharfer.runtime.types import Floats
from scripted_gpu import CPU, CUDA, TENSORRT, use_gpu_build


def test_a_session_gives_what_the_graph_computes() -> None:
    session = make_session(tiny_models.encoder(8, 3, 5), "cpu", 1)
    images = np.random.default_rng(1).random((2, 8, 8, 3), np.float32)
    wanted = images.mean(axis=(1, 2)) @ tiny_models.class_weights(3, 5)
    np.testing.assert_allclose(session.run1(images), wanted, atol=1e-6)
    np.testing.assert_array_equal(session.run({"image": images})["features"], session.run1(images))


def test_a_session_knows_its_names_shapes_and_provider() -> None:
    session = make_session(tiny_models.head(4, 8, 3), "cpu", 1)
    assert (session.input_name, session.input_names) == ("window", ("window",))
    assert session.input_shape == ("batch", 4, 8)
    assert session.output_names == ("probs",)
    assert session.outputs == {"probs": ("batch", 3)}
    assert session.provider == CPU


def test_weights_stored_as_half_floats_run() -> None:
    image = np.ones((1, 16, 16, 1), np.float32)
    full = make_session(tiny_models.classifier(), "cpu").run1(image)
    half = make_session(tiny_models.classifier(half_weights=True), "cpu").run1(image)
    np.testing.assert_allclose(half, full, atol=1e-3)


def test_warm_up_takes_every_batch_size() -> None:
    make_session(tiny_models.classifier(), "cpu").warm_up([(size, 16, 16, 1) for size in (1, 2, 4, 8)])


@pytest.mark.parametrize("data", [b"", b"not a model", tiny_models.head()[:90]])
@pytest.mark.parametrize("provider", ["auto", "cpu", "cuda"])
def test_bytes_that_do_not_load_name_the_model(data: bytes, provider: str) -> None:
    with pytest.raises(ModelError, match=r"^head\.onnx: ONNX Runtime cannot load it: \w"):
        make_session(data, provider, name="head.onnx")


@pytest.mark.parametrize("feed", [np.ones((1, 3, 8), np.float32), np.ones((1, 4, 8)), np.ones(4, np.float32)])
def test_feeds_that_do_not_fit_are_told_in_one_line(feed: Any) -> None:
    session = make_session(tiny_models.head(4, 8), "cpu", name="head.onnx")
    with pytest.raises(ModelError, match=r"^head\.onnx: cannot run: ") as caught:
        session.run1(feed)
    assert "ONNXRuntimeError" not in str(caught.value)


def test_an_unknown_provider_is_a_usage_error() -> None:
    with pytest.raises(ConfigError, match="choose from auto, tensorrt, cuda, cpu"):
        make_session(tiny_models.head(), "npu")


def test_the_cpu_always_loads_and_the_probe_model_with_it() -> None:
    assert "cpu" in available_providers()
    assert probe_providers()["cpu"] is None


def test_without_onnx_runtime_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    line = re.escape(f"ONNX Runtime is not installed: {install_command('cpu')}; for an NVIDIA GPU use [gpu]")
    for use in (lambda: make_session(tiny_models.head()), probe_providers, available_providers):
        with pytest.raises(MissingExtra, match=line):
            use()


def test_the_empty_folder_of_a_removed_onnx_runtime_counts_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", ModuleType("onnxruntime"))
    with pytest.raises(MissingExtra):
        make_session(tiny_models.head())


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
    assert make_session(tiny_models.head(), "auto").provider == wanted
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
        make_session(tiny_models.head(), provider)
    assert caught.value.exit_code == 3
    assert capfd.readouterr() == ("", "")


def test_without_a_library_to_ask_the_reason_is_onnx_runtimes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    use_gpu_build(monkeypatch, tmp_path)
    with pytest.raises(ProviderError, match="tensorrt cannot be loaded: Please install TensorRT libraries"):
        make_session(tiny_models.head(), "tensorrt")


def test_a_declared_fallback_takes_the_next_best_and_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    use_gpu_build(monkeypatch, tmp_path, CUDA)
    with caplog.at_level(logging.WARNING):
        assert make_session(tiny_models.head(), "tensorrt", allow_fallback=True).provider == CUDA
    assert "tensorrt cannot be loaded" in caplog.text


HEAD_SHAPE = (1, 4, 8)


def window(scale: float = 1.0) -> Floats:
    return np.linspace(-scale, scale, 32, dtype=np.float32).reshape(HEAD_SHAPE)


def test_fixed_shapes_are_captured_on_cuda_and_no_others(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(gpu.CUDA_GRAPHS, "1")
    build = use_gpu_build(monkeypatch, tmp_path, CUDA)
    session = make_session(tiny_models.head(), "cuda", shapes=[HEAD_SHAPE])
    (told,) = build.told
    assert told == [{"use_tf32": "0", "enable_cuda_graph": "1"}, {}]
    assert set(build.graph_ids) == {"1"}
    wanted = make_session(tiny_models.head(), "cpu").run1(window(3))
    np.testing.assert_array_equal(session.run1(window(3)), wanted)
    build.graph_ids.clear()
    session.warm_up([(2, 4, 8)])
    assert build.graph_ids == ["-1"], "a shape that was not named runs through buffers, and is not captured"


@pytest.mark.parametrize(("wanted", "shapes"), [("1", []), ("0", [HEAD_SHAPE]), ("", [HEAD_SHAPE])])
def test_unless_asked_and_without_fixed_shapes_nothing_is_captured(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, wanted: str, shapes: list[tuple[int, ...]]
) -> None:
    monkeypatch.setenv(gpu.CUDA_GRAPHS, wanted)
    build = use_gpu_build(monkeypatch, tmp_path, CUDA)
    make_session(tiny_models.head(), "cuda", shapes=shapes).warm_up([HEAD_SHAPE])
    assert build.told == [[{"use_tf32": "0"}, {}]]
    assert build.graph_ids == [None]
    assert build.placed == ["cuda", "cuda"], "one input, one output"


def test_a_graph_that_is_not_all_cudas_runs_without_cuda_graphs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(gpu.CUDA_GRAPHS, "1")
    build = use_gpu_build(monkeypatch, tmp_path, CUDA, captures=False)
    session = make_session(tiny_models.head(), "cuda", shapes=[HEAD_SHAPE], name="tiny head")
    assert session.provider == CUDA
    assert build.told[-1] == [{"use_tf32": "0"}, {}]
    (line,) = caplog.messages
    assert line.startswith("tiny head: runs without CUDA graphs: cuda cannot be loaded: This session cannot")


def test_replays_that_answer_otherwise_are_not_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(gpu.CUDA_GRAPHS, "1")
    build = use_gpu_build(monkeypatch, tmp_path, CUDA, stale=True)
    session = make_session(tiny_models.head(), "cuda", shapes=[HEAD_SHAPE], name="tiny head")
    assert build.told[-1] == [{"use_tf32": "0"}, {}]
    assert "tiny head: runs without CUDA graphs" in caplog.text
    for scale in (1, 2, 3):
        wanted = make_session(tiny_models.head(), "cpu").run1(window(scale))
        np.testing.assert_array_equal(session.run1(window(scale)), wanted)


def test_a_gpu_runs_through_its_buffers_and_the_cpu_has_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    build = use_gpu_build(monkeypatch, tmp_path, CUDA)
    for provider, wanted in (("cpu", []), ("cuda", ["cuda", "cuda"])):
        session = make_session(tiny_models.head(), provider)
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
        make_session(tiny_models.head(), "tensorrt")
    assert gpu.lacks_engine(tiny_models.head(), "head")
    use_gpu_build(monkeypatch, tmp_path, TENSORRT, CUDA)
    assert make_session(tiny_models.head(), "tensorrt").provider == TENSORRT
    assert not gpu.lacks_engine(tiny_models.head(), "head")


def test_a_build_without_gpu_says_what_to_install() -> None:
    if CUDA in __import__("onnxruntime").get_available_providers():
        pytest.skip("this ONNX Runtime is a GPU build")
    with pytest.raises(
        ProviderError, match=rf"not part of this ONNX Runtime: .*{re.escape(install_command('gpu'))}"
    ):
        make_session(tiny_models.head(), "cuda")
    assert make_session(tiny_models.head(), "cuda", allow_fallback=True).provider == CPU


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
        make_session(bomb, "cpu", name="bomb.onnx").run1(np.ones(1, np.float32))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb < 2**20
    test_a_session_gives_what_the_graph_computes()
