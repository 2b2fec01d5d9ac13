"""Rewritten graphs are others and answer alike; graphs of another kind are left as they are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

import tiny_models
from edgeharfer.export.rewrite import MIN_CHANNELS, rewrite
from edgeharfer.runtime.inference.graph import Graph
from edgeharfer.runtime.inference.session import make_session

Array = NDArray[np.generic]


def model_of(
    nodes: Sequence[onnx.NodeProto],
    shape: Sequence[int | str],
    result: Sequence[int | str],
    weights: Mapping[str, Array],
) -> onnx.ModelProto:
    data = tiny_models.to_bytes(nodes, {"x": shape}, {"y": result}, weights)
    return onnx.load_from_string(data)


def operators(model: onnx.ModelProto) -> Counter[str]:
    return Counter(node.op_type for node in model.graph.node)


def answers(model: onnx.ModelProto, x: NDArray[np.float32]) -> NDArray[np.float32]:
    return make_session(Graph.scan(model.SerializeToString())).run1(x)


def rewritten(model: onnx.ModelProto) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    rewrite(copy)
    onnx.checker.check_model(copy)
    return copy


def noise(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(3).normal(0, 1, shape).astype(np.float32)


# A scale and a shift for each channel

CHANNELS = MIN_CHANNELS


def scaled(
    factor: NDArray[np.float32], summand: NDArray[np.float32], channels: int = CHANNELS
) -> onnx.ModelProto:
    nodes = [
        helper.make_node("Mul", ["x", "factor"], ["scaled"]),
        helper.make_node("Add", ["summand", "scaled"], ["shifted"]),
        helper.make_node("Relu", ["shifted"], ["y"]),
    ]
    shape: list[int | str] = ["batch", channels, 5, 5]
    return model_of(nodes, shape, shape, {"factor": factor, "summand": summand})


def test_a_scale_and_a_shift_become_one_convolution() -> None:
    model = scaled(noise(1, CHANNELS, 1, 1), noise(1, CHANNELS, 1, 1) + 1)
    made = rewritten(model)
    assert operators(made) == {"Conv": 1, "Relu": 1}
    x = noise(2, CHANNELS, 5, 5)
    np.testing.assert_allclose(answers(made, x), answers(model, x), atol=1e-6)
    assert {tensor.name for tensor in made.graph.initializer}.isdisjoint({"factor", "summand"})


@pytest.mark.parametrize(
    "model",
    [
        pytest.param(scaled(noise(1, 3, 1, 1), noise(1, 3, 1, 1), 3), id="few channels"),
        pytest.param(scaled(noise(1, 1, 5, 5), noise(1, 1, 5, 5)), id="for each pixel"),
        pytest.param(scaled(noise(1, 1, 1, 1), noise(1, 1, 1, 1)), id="for all"),
        pytest.param(scaled(noise(1, CHANNELS, 1, 1), noise(1, 1, 1, 1)), id="shift for all"),
    ],
)
def test_other_scales_stay(model: onnx.ModelProto) -> None:
    assert operators(rewritten(model)) == operators(model)


def test_a_scale_that_two_others_take_stays() -> None:
    model = scaled(noise(1, CHANNELS, 1, 1), noise(1, CHANNELS, 1, 1))
    model.graph.output.append(
        helper.make_tensor_value_info("scaled", TensorProto.FLOAT, ["batch", CHANNELS, 5, 5])
    )
    assert operators(rewritten(model)) == operators(model)


def test_what_a_graph_inside_takes_stays() -> None:
    """A branch sees the tensors around it, without naming them among the node's inputs."""
    model = scaled(noise(1, CHANNELS, 1, 1), noise(1, CHANNELS, 1, 1))
    shape: list[str | int | None] = ["batch", CHANNELS, 5, 5]
    branch = helper.make_graph(
        [helper.make_node("Identity", ["scaled"], ["inner"])],
        "branch",
        [],
        [helper.make_tensor_value_info("inner", TensorProto.FLOAT, shape)],
    )
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(True), "yes"))
    model.graph.node.append(helper.make_node("If", ["yes"], ["z"], then_branch=branch, else_branch=branch))
    model.graph.output.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, shape))
    assert operators(rewritten(model)) == operators(model)


# Padding before a pool


def pooled(
    *,
    pads: Sequence[int] = (0, 0, 1, 1, 0, 0, 1, 1),
    value: float | None = 0.0,
    size: tuple[int | str, int] = (9, 8),
    kernel: int = 3,
    **pool: Any,
) -> onnx.ModelProto:
    weights: dict[str, Array] = {"pads": np.array(pads, np.int64)}
    feeds = ["x", "pads"]
    if value is not None:
        weights["value"] = np.array(value, np.float32)
        feeds.append("value")
    nodes = [
        helper.make_node("Pad", feeds, ["padded"]),
        helper.make_node(
            "MaxPool", ["padded"], ["y"], kernel_shape=[kernel, kernel], **{"strides": [2, 2], **pool}
        ),
    ]
    return model_of(nodes, ["batch", 3, *size], ["batch", 3, "rows", "columns"], weights)


def by_hand(x: NDArray[np.float32], pads: Sequence[int], kernel: int, stride: int) -> NDArray[np.float32]:
    """What Pad with zeros and a pool say, without ONNX Runtime, which makes another thing of the two."""
    padded = np.pad(x, ((0, 0), (0, 0), (pads[2], pads[6]), (pads[3], pads[7])))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (kernel, kernel), (2, 3))
    return np.asarray(windows[:, :, ::stride, ::stride].max((-1, -2)), np.float32)


@pytest.mark.parametrize(
    ("pads", "kernel", "stride"),
    [
        ((0, 0, 1, 1, 0, 0, 1, 1), 3, 2),
        ((0, 0, 0, 1, 0, 0, 1, 0), 2, 1),
        ((0, 0, 2, 0, 0, 0, 1, 2), 4, 3),
    ],
)
def test_a_pool_pads_itself_and_zeros_still_count(pads: Sequence[int], kernel: int, stride: int) -> None:
    made = rewritten(pooled(pads=pads, kernel=kernel, strides=[stride, stride]))
    assert operators(made) == {"MaxPool": 1, "Max": 1}
    x = noise(2, 3, 9, 8) - 3  # Nearly everything is below the zeros around it.
    np.testing.assert_array_equal(answers(made, x), by_hand(x, pads, kernel, stride))


def test_padding_without_a_value_is_with_zeros() -> None:
    assert operators(rewritten(pooled(value=None))) == {"MaxPool": 1, "Max": 1}


def test_a_pad_of_unknown_lengths_is_kept_apart_from_the_pool() -> None:
    made = rewritten(pooled(size=("rows", 8)))
    assert operators(made) == {"Pad": 1, "Max": 1, "MaxPool": 1}
    x = noise(1, 3, 9, 8) - 3
    np.testing.assert_array_equal(answers(made, x), by_hand(x, (0, 0, 1, 1, 0, 0, 1, 1), 3, 2))


@pytest.mark.parametrize(
    "model",
    [
        pytest.param(pooled(value=-5.0), id="other value"),
        pytest.param(pooled(pads=(0, 0, 3, 1, 0, 0, 1, 1)), id="wider than the pool"),
        pytest.param(pooled(pads=(0, 0, -1, 0, 0, 0, 0, 0)), id="cuts"),
        pytest.param(pooled(ceil_mode=1), id="rounded up"),
        pytest.param(pooled(dilations=[2, 2]), id="spread"),
    ],
)
def test_other_padding_is_kept_apart_from_the_pool(model: onnx.ModelProto) -> None:
    assert operators(rewritten(model)) == {"Pad": 1, "Max": 1, "MaxPool": 1}


def test_a_pool_without_padding_stays() -> None:
    nodes = [helper.make_node("MaxPool", ["x"], ["y"], kernel_shape=[2, 2], strides=[2, 2])]
    model = model_of(nodes, ["batch", 3, 8, 8], ["batch", 3, 4, 4], {})
    assert operators(rewritten(model)) == {"MaxPool": 1}


# Recurrent layers

STEPS, FEATURES, UNITS = 4, 6, 5


def recurrent(*, start: float = 0.0, end: int = 2**31 - 1, direction: str = "forward") -> onnx.ModelProto:
    """As tf2onnx writes an LSTM for its last state: zeros in the size of the batch, the last step cut out."""
    both = 2 if direction == "bidirectional" else 1
    nodes = [
        helper.make_node("Transpose", ["x"], ["steps"], perm=[1, 0, 2]),
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Slice", ["shape", "zero", "one", "zero"], ["batch"]),
        helper.make_node("Concat", ["batch", "units"], ["size"], axis=0),
        helper.make_node("Expand", ["start", "size"], ["flat"]),
        helper.make_node("Unsqueeze", ["flat", "zero"], ["state"]),
        helper.make_node(
            "LSTM",
            ["steps", "w", "r", "", "", *(["state"] * 2 if both == 1 else [])],
            ["all", "last_h", "last_c"],
            hidden_size=UNITS,
            direction=direction,
        ),
        helper.make_node("Squeeze", ["all", "one"], ["states"])
        if both == 1
        else helper.make_node("ReduceMean", ["all"], ["states"], axes=[1], keepdims=0),
        helper.make_node("Slice", ["states", "minus", "end", "zero"], ["cut"]),
        helper.make_node("Squeeze", ["cut", "zero"], ["y"]),
    ]
    weights: dict[str, Array] = {
        "w": noise(both, 4 * UNITS, FEATURES),
        "r": noise(both, 4 * UNITS, UNITS) / 3,
        "start": np.array(start, np.float32),
        "units": np.array([UNITS], np.int64),
        "end": np.array([end], np.int64),
        **{name: np.array([number], np.int64) for name, number in (("zero", 0), ("one", 1), ("minus", -1))},
    }
    return model_of(nodes, ["batch", STEPS, FEATURES], ["batch", UNITS], weights)


def test_an_lstm_starts_from_nothing_and_gives_its_last_state() -> None:
    model = recurrent()
    made = rewritten(model)
    assert operators(made) == {"Transpose": 1, "LSTM": 1, "Squeeze": 1}
    x = noise(3, STEPS, FEATURES)
    np.testing.assert_array_equal(answers(made, x), answers(model, x))


def test_an_lstm_that_starts_from_something_keeps_it() -> None:
    model = recurrent(start=0.5)
    made = rewritten(model)
    assert operators(made)["Expand"] == 1
    x = noise(3, STEPS, FEATURES)
    np.testing.assert_array_equal(answers(made, x), answers(model, x))


def test_a_cut_that_ends_at_a_number_of_steps_stays() -> None:
    model = recurrent(end=STEPS)
    made = rewritten(model)
    assert operators(made)["Slice"] == 1
    x = noise(3, STEPS, FEATURES)
    np.testing.assert_array_equal(answers(made, x), answers(model, x))


@pytest.mark.parametrize(
    "model",
    [recurrent(direction="reverse"), recurrent(direction="bidirectional")],
    ids=["reverse", "both ways"],
)
def test_the_last_step_of_a_layer_that_runs_backwards_is_no_last_state(model: onnx.ModelProto) -> None:
    made = rewritten(model)
    assert operators(made)["Slice"] >= 1
    x = noise(3, STEPS, FEATURES)
    np.testing.assert_array_equal(answers(made, x), answers(model, x))
