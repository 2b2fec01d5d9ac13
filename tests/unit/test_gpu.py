"""What the GPU providers are told, and when an engine is built again. None of it needs a GPU."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path

import onnx
import pytest

import tiny_models
from edgeharfer.runtime import gpu
from edgeharfer.runtime.gpu import (
    GpuEnvironment,
    engine_folder,
    engine_key,
    provider_options,
    tensorrt_options,
)
from edgeharfer.runtime.onnx_scan import scan_onnx

HERE = GpuEnvironment("Example GPU", "570.10", "10.13.0", "1.31.1")
MODEL = tiny_models.encoder()
WEAK_TYPING = {"trt_fp16_enable", "trt_bf16_enable", "trt_int8_enable"}


def options(root: Path, environment: GpuEnvironment = HERE, model: bytes = MODEL) -> dict[str, str]:
    return tensorrt_options(model, "net", root=root, environment=lambda: environment)


def build(made: dict[str, str]) -> Path:
    """What TensorRT would leave in the folder."""
    engine = Path(made["trt_engine_cache_path"], "net.engine")
    engine.write_bytes(b"engine")
    return engine


def test_precision_is_left_to_the_graph_and_caches_are_on(tmp_path: Path) -> None:
    made = options(tmp_path)
    assert not WEAK_TYPING & set(made)
    assert not any("calibration" in name for name in made)
    assert made["trt_engine_cache_enable"] == made["trt_timing_cache_enable"] == "1"
    assert made["trt_engine_cache_path"] == made["trt_timing_cache_path"]
    assert Path(made["trt_engine_cache_path"]).parent == tmp_path


def test_one_engine_is_built_for_all_batches(tmp_path: Path) -> None:
    made = options(tmp_path)
    shapes = [made[f"trt_profile_{limit}_shapes"] for limit in ("min", "opt", "max")]
    assert shapes == ["image:1x16x16x3", "image:1x16x16x3", "image:8x16x16x3"]
    fixed = tiny_models.to_bytes(
        [onnx.helper.make_node("Relu", ["image"], ["y"])], {"image": [1, 4]}, {"y": [1, 4]}
    )
    assert not any("profile" in name for name in options(tmp_path, model=fixed))


def test_an_engine_for_the_same_things_is_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    engine = build(options(tmp_path))
    assert build(options(tmp_path)) == engine
    assert engine.exists()
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"driver": "580.1"}, "driver 570.10 became 580.1"),
        ({"tensorrt": "10.14.0"}, "tensorrt 10.13.0 became 10.14.0"),
        ({"gpu": "Other GPU"}, "gpu Example GPU became Other GPU"),
        ({"onnxruntime": "1.32"}, "onnxruntime 1.31.1 became 1.32"),
    ],
)
def test_a_stale_engine_is_deleted_and_that_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, change: dict[str, str], said: str
) -> None:
    engine = build(options(tmp_path))
    with caplog.at_level(logging.WARNING):
        again = options(tmp_path, replace(HERE, **change))
    assert not engine.exists()
    assert Path(again["trt_engine_cache_path"]) == engine.parent
    assert f"net: TensorRT's engine is built again: {said}" in caplog.text


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"environment": 3}', b"\xff"])
def test_an_engine_of_unknown_origin_is_not_trusted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: bytes
) -> None:
    engine = build(options(tmp_path))
    (engine.parent / gpu.KEY).write_bytes(damage)
    options(tmp_path)
    assert not engine.exists()
    assert "what it was built for is not known" in caplog.text
    assert json.loads((engine.parent / gpu.KEY).read_text())["environment"]["gpu"] == "Example GPU"


def test_other_weights_and_shapes_have_their_own_folder(tmp_path: Path) -> None:
    models = (MODEL, tiny_models.encoder(size=8), tiny_models.encoder(features=9))
    folders = {options(tmp_path, model=model)["trt_engine_cache_path"] for model in models}
    assert len(folders) == 3
    key = engine_key(MODEL, scan_onnx(MODEL, "net"), HERE)
    other = replace(key, precision="int8 by Q/DQ")
    assert engine_folder(key, tmp_path, "net") != engine_folder(other, tmp_path, "net")


def test_without_tensorrt_or_a_place_to_write_nothing_is_kept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert "trt_engine_cache_enable" not in options(tmp_path / "a", replace(HERE, tensorrt=None))
    assert not (tmp_path / "a").exists()
    (tmp_path / "file").write_text("in the way")
    assert "trt_engine_cache_enable" not in options(tmp_path / "file")
    assert "cannot be kept" in caplog.text


def test_each_provider_of_a_session_gets_its_own_options(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(gpu, "cache_root", lambda: tmp_path)
    monkeypatch.setattr(gpu, "gpu_environment", lambda: HERE)
    made = provider_options(["tensorrt", "cuda", "cpu"], MODEL, "net")
    assert "trt_engine_cache_path" in made[0]
    assert made[1:] == [{"use_tf32": "0"}, {}]
    assert provider_options(["tensorrt", "cpu"], MODEL, "net", cached=False) == [{}, {}]


def test_a_machine_without_a_gpu_says_so() -> None:
    found = gpu.gpu_environment()
    assert found.onnxruntime is not None
    assert (found.gpu is None) == (found.driver is None)
