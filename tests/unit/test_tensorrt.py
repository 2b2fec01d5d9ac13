"""The options of TensorRT, and when an engine is built again. None of it needs a GPU."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path

import onnx
import pytest

import tiny_models
from edgeharfer.runtime.inference import tensorrt as gpu
from edgeharfer.runtime.inference.backend import CPU
from edgeharfer.runtime.inference.graph import Graph
from edgeharfer.runtime.inference.providers import PROVIDERS
from edgeharfer.runtime.inference.tensorrt import (
    GpuEnvironment,
    engine_folder,
    engine_key,
    mark_engine_built,
    needs_engine_build,
    tensorrt_options,
)

HERE = GpuEnvironment("Example GPU", "570.10", "10.13.0", "1.31.1")
MODEL = Graph.scan(tiny_models.encoder(), "net")
WEAK_TYPING = {"trt_fp16_enable", "trt_bf16_enable", "trt_int8_enable"}


def options(root: Path, environment: GpuEnvironment = HERE, graph: Graph = MODEL) -> dict[str, str]:
    return tensorrt_options(graph, root=root, environment=lambda: environment)


def build(made: dict[str, str], *, whole: bool = True) -> Path:
    """What TensorRT would leave in the folder; whole: and a session loaded it."""
    engine = Path(made["trt_engine_cache_path"], "net.engine")
    engine.write_bytes(b"engine")
    if whole:
        mark_engine_built(made, "net")
    return engine


def test_precision_is_left_to_the_graph_and_caches_are_on(tmp_path: Path) -> None:
    made = options(tmp_path)
    assert not WEAK_TYPING & set(made)
    assert not any("calibration" in name for name in made)
    assert made["trt_engine_cache_enable"] == made["trt_timing_cache_enable"] == "1"
    assert made["trt_engine_cache_path"] == made["trt_timing_cache_path"]
    assert Path(made["trt_engine_cache_path"]).parent == tmp_path


def test_a_graph_for_pictures_of_any_shape_gets_one_engine_for_them(tmp_path: Path) -> None:
    free = tiny_models.to_bytes(
        [onnx.helper.make_node("Relu", ["input"], ["y"])],
        {"input": ["batch", 3, "height", "width"]},
        {"y": ["batch", 3, "height", "width"]},
    )
    made = options(tmp_path, graph=Graph.scan(free))
    shapes = [made[f"trt_profile_{limit}_shapes"] for limit in ("min", "opt", "max")]
    assert shapes == ["input:1x3x32x32", "input:1x3x320x320", "input:8x3x640x640"]


def test_one_engine_is_built_for_all_batches(tmp_path: Path) -> None:
    made = options(tmp_path)
    shapes = [made[f"trt_profile_{limit}_shapes"] for limit in ("min", "opt", "max")]
    assert shapes == ["image:1x16x16x3", "image:1x16x16x3", "image:8x16x16x3"]
    fixed = tiny_models.to_bytes(
        [onnx.helper.make_node("Relu", ["image"], ["y"])], {"image": [1, 4]}, {"y": [1, 4]}
    )
    assert not any("profile" in name for name in options(tmp_path, graph=Graph.scan(fixed)))


def test_an_engine_for_the_same_things_is_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    engine = build(options(tmp_path))
    assert build(options(tmp_path)) == engine
    assert engine.exists()
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"driver": "580.1"}, "driver changed from 570.10 to 580.1"),
        ({"tensorrt": "10.14.0"}, "tensorrt changed from 10.13.0 to 10.14.0"),
        ({"gpu": "Other GPU"}, "gpu changed from Example GPU to Other GPU"),
        ({"onnxruntime": "1.32"}, "onnxruntime changed from 1.31.1 to 1.32"),
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
    assert f"net: rebuilding the TensorRT engine: {said}" in caplog.text


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"environment": 3}', b"\xff"])
def test_an_engine_of_unknown_origin_is_not_trusted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: bytes
) -> None:
    engine = build(options(tmp_path))
    (engine.parent / gpu.KEY_FILE).write_bytes(damage)
    options(tmp_path)
    assert not engine.exists()
    assert "its build settings are unknown" in caplog.text
    assert json.loads((engine.parent / gpu.KEY_FILE).read_text())["environment"]["gpu"] == "Example GPU"


def test_an_engine_that_was_never_done_is_not_trusted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    engine = build(options(tmp_path), whole=False)
    options(tmp_path)
    assert not engine.exists()
    assert "the last build was not completed" in caplog.text


def test_whether_an_engine_is_lacking(tmp_path: Path) -> None:
    def lacking(environment: GpuEnvironment = HERE) -> bool:
        return needs_engine_build(MODEL, root=tmp_path, environment=lambda: environment)

    assert not lacking(replace(HERE, tensorrt=None)), "where nothing can be built, nothing is lacking"
    assert lacking()
    assert not list(tmp_path.iterdir()), "asking changes nothing"
    made = options(tmp_path)
    engine = build(made, whole=False)
    assert lacking()
    mark_engine_built(made, "net")
    assert not lacking()
    assert lacking(replace(HERE, driver="580.1"))
    assert engine.exists()


def test_an_engine_that_cannot_be_noted_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    mark_engine_built({"trt_engine_cache_path": str(tmp_path / "gone")}, "net")
    assert "net: TensorRT engine cannot be cached" in caplog.text
    mark_engine_built({"use_tf32": "0"}, "net")
    assert not list(tmp_path.iterdir())


def test_other_weights_and_shapes_have_their_own_folder(tmp_path: Path) -> None:
    others = (tiny_models.encoder(size=8), tiny_models.encoder(features=9))
    graphs = (MODEL, *map(Graph.scan, others))
    folders = {options(tmp_path, graph=graph)["trt_engine_cache_path"] for graph in graphs}
    assert len(folders) == 3
    key = engine_key(MODEL, HERE)
    other = replace(key, precision="int8 by Q/DQ")
    assert engine_folder(key, tmp_path, "net") != engine_folder(other, tmp_path, "net")


def test_without_tensorrt_or_a_place_to_write_nothing_is_kept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert "trt_engine_cache_enable" not in options(tmp_path / "a", replace(HERE, tensorrt=None))
    assert not (tmp_path / "a").exists()
    (tmp_path / "file").write_text("in the way")
    assert "trt_engine_cache_enable" not in options(tmp_path / "file")
    assert "cannot be cached" in caplog.text


def test_each_provider_of_a_session_gets_its_own_options(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(gpu, "cache_root", lambda: tmp_path)
    monkeypatch.setattr(gpu, "gpu_environment", lambda: HERE)
    made = {name: row.options(MODEL, CPU) for name, row in PROVIDERS.items()}
    assert "trt_engine_cache_path" in made["tensorrt"]
    assert (made["cuda"], made["cpu"]) == ({"use_tf32": "0"}, {})
    assert not any(name.startswith("trt_") for name in made["tensorrt-rtx"])


def test_a_machine_without_a_gpu_says_so() -> None:
    found = gpu.gpu_environment()
    assert found.onnxruntime is not None
    assert (found.gpu is None) == (found.driver is None)
