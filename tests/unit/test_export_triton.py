"""A model repository for Triton: configurations in its schema, graphs that fit them, states that it keeps.

No server runs here. `Served` does what Triton's documentation says about implicit state: zeros at the start
of a sequence, then the outputs of the last request.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest

if sys.version_info < (3, 11):
    pytest.skip("the environment for Python 3.10 has no exporter", allow_module_level=True)
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from edgeharfer.cli import run_command
from edgeharfer.export.triton import write_repository
from edgeharfer.runtime.errors import ConfigError, ModelError
from tiny_models import action_package, emotion_package, head, lstm_head, rolling

FRAMES, SIZE, CLASSES = 4, 8, 3
TYPES = {"TYPE_FP32": np.float32, "TYPE_INT32": np.int32}


def config_of(folder: Path) -> Any:
    return text_format.Parse((folder / "config.pbtxt").read_text(), model_config_pb2.ModelConfig())


def tensors(configured: Any) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Name, type and axes of inputs, outputs or states as Triton checks them."""
    type_name = model_config_pb2.DataType.Name
    return {one.name: (type_name(one.data_type), tuple(one.dims)) for one in configured}


def graph_tensors(infos: Any, batched: bool) -> dict[str, tuple[str, tuple[int, ...]]]:
    names = {onnx.TensorProto.FLOAT: "TYPE_FP32", onnx.TensorProto.INT32: "TYPE_INT32"}
    found = {}
    for info in infos:
        axes = tuple(axis.dim_value or -1 for axis in info.type.tensor_type.shape.dim)
        if batched:
            assert axes[0] == -1
        found[info.name] = (names[info.type.tensor_type.elem_type], axes[1:] if batched else axes)
    return found


def check_fits(folder: Path) -> Any:
    """Compare every name, type and shape of a configuration with the graph, and return the configuration."""
    config = config_of(folder)
    model = onnx.load(str(folder / "1" / "model.onnx"))
    onnx.checker.check_model(model, full_check=True)
    assert (config.name, config.backend) == (folder.name, "onnxruntime")
    type_name = model_config_pb2.DataType.Name
    states = config.sequence_batching.state
    before = {one.input_name: (type_name(one.data_type), tuple(one.dims)) for one in states}
    after = {one.output_name: (type_name(one.data_type), tuple(one.dims)) for one in states}
    batched = config.max_batch_size > 0
    assert {**tensors(config.input), **before} == graph_tensors(model.graph.input, batched)
    assert {**tensors(config.output), **after} == graph_tensors(model.graph.output, batched)
    for state in states:
        (start,) = state.initial_state
        assert start.zero_data and (start.data_type, start.dims) == (state.data_type, state.dims)
    for output in config.output:
        if output.label_filename:
            labels = (folder / output.label_filename).read_text().split()
            assert len(labels) == output.dims[-1]
    return config


class Served:
    """Runs a model with implicit state for one sequence, as Triton describes it."""

    def __init__(self, folder: Path) -> None:
        self._config = config_of(folder)
        self._session = ort.InferenceSession(str(folder / "1" / "model.onnx"))
        self._batch = [1] if self._config.max_batch_size else []
        self._states: dict[str, Any] = {}
        for state in self._config.sequence_batching.state:
            kind = TYPES[model_config_pb2.DataType.Name(state.data_type)]
            self._states[state.input_name] = np.zeros([*self._batch, *state.dims], kind)

    def request(self, features: Any) -> Mapping[str, Any]:
        names = [one.name for one in self._session.get_outputs()]
        values = dict(
            zip(names, self._session.run(names, {"features": features, **self._states}), strict=True)
        )
        for state in self._config.sequence_batching.state:
            self._states[state.input_name] = values[state.output_name]
        return values


def folders(repository: Path) -> set[str]:
    return {path.name for path in repository.iterdir()}


def test_models_and_encoders_are_batched_dynamically(tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    write_repository(emotion_package(tmp_path / "emotion").path, repository)
    write_repository(action_package(tmp_path / "action").path, repository)
    assert folders(repository) == {"tiny-emotion", "tiny-action-encoder", "tiny-action-head"}
    for name in ("tiny-emotion", "tiny-action-encoder"):
        config = check_fits(repository / name)
        assert config.max_batch_size > 1
        assert config.WhichOneof("scheduling_choice") == "dynamic_batching"
    assert config_of(repository / "tiny-emotion").parameters["normalize"].string_value == "unit"


@pytest.mark.parametrize("kind", ["window", "rolling"])
def test_a_head_keeps_its_state_from_request_to_request(tmp_path: Path, kind: str) -> None:
    plain = head(FRAMES, SIZE, CLASSES) if kind == "window" else lstm_head(FRAMES, SIZE, CLASSES)
    graphs = {"head": plain, **({"rolling": rolling(plain)} if kind == "rolling" else {})}
    package = action_package(tmp_path / "action", graphs=graphs)
    write_repository(package.path, tmp_path / "repository")
    folder = tmp_path / "repository" / "tiny-action-head"
    config = check_fits(folder)
    assert config.WhichOneof("scheduling_choice") == "sequence_batching"
    assert len(config.sequence_batching.state) == 2
    assert (config.max_batch_size > 0) == (kind == "window"), "the rows of a rolling head are its windows"
    served, whole = Served(folder), ort.InferenceSession(plain)
    features = np.random.default_rng(7).normal(size=(3 * FRAMES, 1, SIZE)).astype(np.float32)
    for last, frame in enumerate(features, 1):
        values = served.request(frame)
        if kind == "window":
            assert values["frames"].tolist() == [[min(last, FRAMES)]]
        if last >= FRAMES:
            window = features[last - FRAMES : last].swapaxes(0, 1)
            (expected,) = whole.run(None, {"window": window})
            np.testing.assert_allclose(values["probs"], expected, atol=1e-6)


def test_the_packages_that_ship(tmp_path: Path) -> None:
    for name in ("emotion-fer8", "action-ucf20", "action-daily", "pose"):
        assert run_command(["export", name, "--triton", str(tmp_path), "--precision", "fp32"]) == 0
    assert folders(tmp_path) == {
        *("emotion-fer8", "action-ucf20-encoder", "action-ucf20-head", "action-daily-head", "pose")
    }
    batches = {folder.name: check_fits(folder).max_batch_size for folder in tmp_path.iterdir()}
    assert [name for name, size in batches.items() if not size] == ["pose"], "it has no free batch axis"


def test_what_is_in_the_way_stays(tmp_path: Path) -> None:
    package = emotion_package(tmp_path / "emotion").path
    (tmp_path / "tiny-emotion").mkdir()
    (tmp_path / "tiny-emotion" / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="not a Triton model"):
        write_repository(package, tmp_path)
    assert folders(tmp_path / "tiny-emotion") == {"notes.txt"}
    with pytest.raises(ModelError, match="no fp16 graphs, only fp32"):
        write_repository(package, tmp_path / "repository", "fp16")
    assert run_command(["export", str(package)]) == 2
