"""A model repository for NVIDIA Triton Inference Server, made from a model package.

    DIR/emotion-fer8/             config.pbtxt, labels.txt, 1/model.onnx
    DIR/action-ucf20-encoder/     one frame to features
    DIR/action-ucf20-head/        features of the next frame to scores, with the state of each sequence

Models and encoders get dynamic batching: Triton joins requests of different clients to one batch. The head of
an action model depends on earlier frames, so it gets sequence batching with implicit state: the states of the
recurrent layer where the package has `rolling.onnx`, else the features of the last frames.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from edgeharfer.export import backend
from edgeharfer.export.onnx_graph import OnnxGraph
from edgeharfer.export.rolling import FEATURES
from edgeharfer.runtime.errors import ConfigError, ModelError
from edgeharfer.runtime.inference.manifest import ROLLING, Manifest
from edgeharfer.runtime.inference.package import load_package
from edgeharfer.runtime.staging import replaced_folder

CONFIG, LABELS = "config.pbtxt", "labels.txt"
WINDOW, FRAMES = "window", "frames"
"""State and output of a head without a rolling form: features of the last frames; how many there are."""
MAX_BATCH = 32
"""Largest batch of a graph with a free batch axis."""
QUEUE_DELAY_US = 2000
"""Longest wait of a request for others to join its batch: 1/16 of a frame interval at 30 frames a second."""
IDLE_US = 60_000_000
"""A sequence without a request for this long is ended."""
MAX_SEQUENCES = 256
"""Streams that one instance of a head serves at a time."""

Block = Mapping[str, Any]


@dataclass(frozen=True)
class Tensor:
    """An input, output or state of a graph.

    Attributes:
        name: Its name.
        type: Its type as Triton names it, such as "TYPE_FP32".
        shape: Its axes; -1 is free.
    """

    name: str
    type: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class ServedModel:
    """A model of the repository.

    Attributes:
        name: Its folder.
        model: ONNX ModelProto.
        states: Output of each input that is a state.
        labels: Labels of its first output; empty if that is not a classifier's.
        parameters: What a client must know to prepare inputs and read outputs.
    """

    name: str
    model: Any
    states: Mapping[str, str] = field(default_factory=dict)
    labels: Sequence[str] = ()
    parameters: Mapping[str, str] = field(default_factory=dict)


def write_repository(
    package: str | Path,
    out: Path,
    precision: str = "fp32",
    report: Callable[[str], object] = lambda line: None,
) -> None:
    """Write the models of a package to a model repository, which may hold other models.

    Args:
        package: Name or folder of the package.
        out: The repository.
        precision: Precision of the graphs.
        report: Called with a line for each model.

    Raises:
        ModelError: The package is not valid, or has no graphs of this precision.
        ConfigError: Something that is not a model of Triton is in the way.
        SinkError: The repository cannot be written.
    """
    for served in served_models(package, precision):
        with replaced_folder(out / served.name, _check_model_folder) as folder:
            (folder / "1").mkdir()
            (folder / "1" / "model.onnx").write_bytes(served.model.SerializeToString(deterministic=True))
            (folder / CONFIG).write_text(config_text(served), encoding="utf-8")
            if served.labels:
                (folder / LABELS).write_text("\n".join(served.labels) + "\n", encoding="utf-8")
        report(f"{out / served.name}: {CONFIG} and 1/model.onnx ({precision})")


def served_models(package: str | Path, precision: str) -> Iterator[ServedModel]:
    """Yield the models that Triton serves for a package."""
    loaded = load_package(package)
    manifest = loaded.manifest
    roles = manifest.files.get(precision)
    if roles is None:
        raise ModelError(f"{manifest.name} has no {precision} graphs, only {', '.join(manifest.files)}")
    onnx = backend.load("onnx")
    graphs = {role: onnx.load_from_string(loaded.read(role, precision).data) for role in roles}
    facts = _parameters(manifest)
    labels = manifest.labels
    if "model" in graphs:
        yield ServedModel(manifest.name, graphs["model"], labels=labels, parameters=facts)
    if "encoder" in graphs:
        yield ServedModel(f"{manifest.name}-encoder", graphs["encoder"], parameters=facts)
    if "head" in graphs:
        rolling = graphs.get(ROLLING)
        model, states = windowed_head(graphs["head"]) if rolling is None else rolling_head(rolling)
        yield ServedModel(f"{manifest.name}-head", model, states, labels, facts)


def rolling_head(model: Any) -> tuple[Any, dict[str, str]]:
    """Add what the runtime does between two frames: close the oldest window, open a new one.

    Args:
        model: The graph; it is changed.

    Returns:
        The graph, whose states can be fed back as they are, and the output of each state.
    """
    graph, states = OnnxGraph(model), {}
    start, end, rows = (
        graph.add_constant(f"triton/{name}", np.array([value]))
        for name, value in (("start", 1), ("end", np.iinfo(np.int64).max), ("rows", 1))
    )
    _, *inputs = model.graph.input
    _, *outputs = model.graph.output
    for state, following in zip(inputs, outputs, strict=True):
        shape = [axis.dim_value for axis in state.type.tensor_type.shape.dim]
        new = graph.add_constant(f"triton/{state.name}/new", np.zeros((1, 1, shape[2]), np.float32))
        kept = graph.append("Slice", [following.name, start, end, rows], f"triton/{state.name}/kept")
        shifted = graph.append("Concat", [kept, new], f"{following.name}_window", axis=1)
        following.name = states[state.name] = shifted
    return model, states


def windowed_head(model: Any) -> tuple[Any, dict[str, str]]:
    """Make a head over a window read one frame at a time; its state is the window.

    Args:
        model: The graph from a window (batch, frames, size) to scores; it is changed.

    Returns:
        The graph from features (batch, size) to scores and the number of frames in the window, at most that
        of a full one; and the output of each state. A window that is not full begins with zeros.
    """
    helper, graph = backend.load("onnx.helper"), OnnxGraph(model)
    window = model.graph.input[0]
    batch, frames, size = window.type.tensor_type.shape.dim
    free, number = batch.dim_param or batch.dim_value, frames.dim_value
    floats = window.type.tensor_type.elem_type
    integers = helper.np_dtype_to_tensor_dtype(np.dtype(np.int32))
    old, counted = f"previous_{WINDOW}", f"previous_{FRAMES}"
    first = model.graph.node[0]
    one, end = (graph.add_constant(f"triton/{n}", np.array([v])) for n, v in (("one", 1), ("end", number)))
    step = graph.add_constant("triton/step", np.array([1], np.int32))
    most = graph.add_constant("triton/most", np.array([number], np.int32))
    graph.insert(first, "Slice", [old, one, end, one], "triton/kept")
    graph.insert(first, "Unsqueeze", [FEATURES, one], "triton/frame")
    graph.insert(first, "Concat", ["triton/kept", "triton/frame"], window.name, axis=1)
    graph.insert(first, "Add", [counted, step], "triton/more")
    graph.insert(first, "Min", ["triton/more", most], FRAMES)
    # Outputs of states are not returned to clients, so the states have outputs of their own.
    graph.append("Identity", [window.name], f"next_{WINDOW}")
    graph.append("Identity", [FRAMES], f"next_{FRAMES}")
    shape = (free, number, size.dim_value)
    info = helper.make_tensor_value_info
    del model.graph.input[:]
    model.graph.input.extend(
        [
            info(FEATURES, floats, (free, size.dim_value)),
            info(old, floats, shape),
            info(counted, integers, (free, 1)),
        ]
    )
    model.graph.output.extend(
        [
            info(FRAMES, integers, (free, 1)),
            info(f"next_{WINDOW}", floats, shape),
            info(f"next_{FRAMES}", integers, (free, 1)),
        ]
    )
    return model, {old: f"next_{WINDOW}", counted: f"next_{FRAMES}"}


def config_text(served: ServedModel) -> str:
    """Return the configuration of a model in protobuf's text format, see Triton's `model_config.proto`."""
    inputs = [_tensor(one) for one in served.model.graph.input]
    outputs = [_tensor(one) for one in served.model.graph.output]
    of_state = {*served.states, *served.states.values()}
    batched = all(one.shape[:1] == (-1,) for one in (*inputs, *outputs))

    def dims(tensor: Tensor) -> list[int]:
        return list(tensor.shape[1:] if batched else tensor.shape)

    def block(tensor: Tensor) -> dict[str, Any]:
        return {"name": tensor.name, "data_type": _Word(tensor.type), "dims": dims(tensor)}

    named = [block(one) for one in outputs if one.name not in of_state]
    if served.labels:
        named[0]["label_filename"] = LABELS
    config: dict[str, Any] = {
        "name": served.name,
        "backend": "onnxruntime",
        "max_batch_size": MAX_BATCH if batched else 0,
        "input": [block(one) for one in inputs if one.name not in of_state],
        "output": named,
    }
    if served.states:
        states = [_state(one, served.states[one.name], dims(one)) for one in inputs if one.name in of_state]
        config["sequence_batching"] = _sequence_batching(states)
    elif batched:
        config["dynamic_batching"] = {"max_queue_delay_microseconds": QUEUE_DELAY_US}
    config["parameters"] = [
        {"key": key, "value": {"string_value": value}} for key, value in served.parameters.items()
    ]
    return "\n".join(_lines(config)) + "\n"


def _sequence_batching(states: list[Block]) -> Block:
    return {
        "max_sequence_idle_microseconds": IDLE_US,
        "oldest": {
            "max_candidate_sequences": MAX_SEQUENCES,
            "max_queue_delay_microseconds": QUEUE_DELAY_US,
        },
        "state": states,
    }


def _state(tensor: Tensor, following: str, dims: list[int]) -> Block:
    """A state, which is zero at the start of a sequence."""
    start = {"name": f"{tensor.name}_start", "data_type": _Word(tensor.type), "dims": dims, "zero_data": True}
    return {
        "input_name": tensor.name,
        "output_name": following,
        "data_type": _Word(tensor.type),
        "dims": dims,
        "initial_state": start,
    }


def _parameters(manifest: Manifest) -> dict[str, str]:
    spec = manifest.input
    facts: dict[str, Any] = {"task": manifest.task, "output": manifest.output}
    if spec is not None:
        facts |= {"color": spec.color, "normalize": spec.normalize}
    facts |= {"temperature": manifest.temperature, "threshold": manifest.threshold}
    if manifest.window is not None:
        facts |= {"window_frames": manifest.window.frames, "window_seconds": manifest.window.seconds}
    return {key: str(value) for key, value in facts.items() if value is not None}


_TYPES = {
    "float16": "TYPE_FP16",
    "float32": "TYPE_FP32",
    "int32": "TYPE_INT32",
    "int64": "TYPE_INT64",
    "uint8": "TYPE_UINT8",
}
"""Triton's names of the types that graphs of packages have as inputs and outputs."""


def _tensor(info: Any) -> Tensor:
    data_type = backend.load("onnx.helper").tensor_dtype_to_np_dtype(info.type.tensor_type.elem_type)
    shape = tuple(axis.dim_value or -1 for axis in info.type.tensor_type.shape.dim)
    return Tensor(info.name, _TYPES[str(np.dtype(data_type))], shape)


def _check_model_folder(out: Path) -> None:
    if out.exists() and not (out / CONFIG).is_file():
        raise ConfigError(f"{out}: exists and is not a Triton model; choose another --triton")


class _Word(str):
    """A name that is written without quotes."""


def _lines(block: Block, indent: str = "") -> Iterator[str]:
    for key, value in block.items():
        for one in value if _is_repeated(value) else [value]:
            if isinstance(one, Mapping):
                yield f"{indent}{key} {{"
                yield from _lines(one, indent + "  ")
                yield f"{indent}}}"
            else:
                yield f"{indent}{key}: {_scalar(one)}"


def _is_repeated(value: object) -> bool:
    """Whether a value is a list of blocks, which protobuf writes one after the other."""
    return isinstance(value, list) and all(isinstance(one, Mapping) for one in value)


def _scalar(value: Any) -> str:
    if isinstance(value, _Word):
        return value
    if isinstance(value, list):
        return f"[{', '.join(map(_scalar, value))}]"
    return json.dumps(value)
