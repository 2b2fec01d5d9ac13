"""Sessions: answers, the truth about providers, and errors in one line."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import tiny_models
from edgeharfer.runtime import session as session_module
from edgeharfer.runtime.errors import ConfigError, MissingExtra, ModelError, ProviderError
from edgeharfer.runtime.session import available_providers, make_session, probe_providers

CPU, CUDA, TENSORRT = "CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"


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
    with pytest.raises(MissingExtra, match=r"pip install 'edgeharfer\[cpu\]'"):
        make_session(tiny_models.head())


def test_the_empty_folder_of_a_removed_onnx_runtime_counts_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", ModuleType("onnxruntime"))
    with pytest.raises(MissingExtra):
        make_session(tiny_models.head())


# A GPU build, scripted --------------------------------------------------------------------------


class GpuBuild:
    """The real ONNX Runtime, made to list GPU providers of which only some load.

    Fails as the real GPU wheel does without its libraries: CUDA silently gives a CPU session,
    TensorRT raises.
    """

    def __init__(self, real: Any, folder: Path, loads: tuple[str, ...]) -> None:
        self._real = real
        self._loads = loads
        self.__file__ = str(folder / "__init__.py")

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
        session = self._real.InferenceSession(model, options, providers=[CPU], **more)
        real = [one for one in providers if one in (*self._loads, CPU)]
        session.get_providers = lambda: real
        return session


def gpu_build(monkeypatch: pytest.MonkeyPatch, folder: Path, *loads: str) -> None:
    import onnxruntime

    build = GpuBuild(onnxruntime, folder, loads)
    monkeypatch.setattr(session_module, "_onnxruntime", lambda: build)


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
    gpu_build(monkeypatch, tmp_path, *loads)
    assert make_session(tiny_models.head(), "auto").provider == wanted
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("provider", ["cuda", "tensorrt"])
def test_a_provider_asked_for_that_does_not_load_names_the_library(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str], provider: str
) -> None:
    gpu_build(monkeypatch, tmp_path)
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
    gpu_build(monkeypatch, tmp_path)
    with pytest.raises(ProviderError, match="tensorrt cannot be loaded: Please install TensorRT libraries"):
        make_session(tiny_models.head(), "tensorrt")


def test_a_declared_fallback_takes_the_next_best_and_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    gpu_build(monkeypatch, tmp_path, CUDA)
    with caplog.at_level(logging.WARNING):
        assert make_session(tiny_models.head(), "tensorrt", allow_fallback=True).provider == CUDA
    assert "tensorrt cannot be loaded" in caplog.text


def test_a_build_without_gpu_says_what_to_install() -> None:
    if CUDA in __import__("onnxruntime").get_available_providers():
        pytest.skip("this ONNX Runtime is a GPU build")
    with pytest.raises(ProviderError, match=r"not part of this ONNX Runtime: install 'edgeharfer\[gpu\]'"):
        make_session(tiny_models.head(), "cuda")
    assert make_session(tiny_models.head(), "cuda", allow_fallback=True).provider == CPU
