"""Rewrites that make a converted graph faster without changing its results.

Graphs from TensorFlow contain the initial zeros of recurrent layers, batch normalization as two operators,
and padding as an operator of its own; those from PyTorch gather the last state of a recurrent layer. Each
rewrite matches one such pattern exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeharfer.calib.nodes import attribute
from edgeharfer.export.onnx_graph import Array, OnnxGraph

MIN_CHANNELS = 16
"""Minimum number of channels of a convolution: ONNX Runtime computes this many at once."""

_LOWEST = np.array(np.finfo(np.float32).min, np.float32)
_SHAPING = ("Cast", "Expand", "Identity", "Reshape", "Squeeze", "Unsqueeze")
_TO_THE_END = 2**31 - 1


def rewrite(model: Any) -> None:
    """Apply all rewrites in place.

    Args:
        model: An ONNX ModelProto whose input has fixed sizes, except for the batch.
    """
    graph = OnnxGraph(model)
    for scale in graph.nodes("Mul"):
        fold_scale_into_convolution(graph, scale)
    for pool in graph.nodes("MaxPool"):
        fold_padding_into_pool(graph, pool)
    for lstm in graph.nodes("LSTM"):
        drop_zero_initial_state(graph, lstm)
        use_last_state_output(graph, lstm)
        gather_last_state(graph, lstm)
    graph.remove_unused()


def fold_scale_into_convolution(graph: OnnxGraph, scale: Any) -> None:
    """Replace Mul and Add with one value for each channel by a 1x1 depthwise convolution.

    TensorFlow writes batch normalization without a preceding convolution, as in ResNet V2, as Mul and Add.
    A convolution can be fused with the ReLU that follows, and in INT8 it rounds once instead of twice.
    """
    shift = graph.only_consumer(scale.output[0])
    if shift is None or shift.op_type != "Add":
        return
    x, factor = _operands(graph, scale)
    scaled, summand = _operands(graph, shift)
    if scaled != scale.output[0] or not (_per_channel(factor) and _per_channel(summand)):
        return
    assert factor is not None and summand is not None
    result, channels = shift.output[0], max(factor.size, summand.size)
    size = graph.shape(x)
    if factor.size != summand.size or len(size) != 4 or size[1] != channels:
        return
    weights = graph.add_constant(f"{result}/scale", factor.reshape(channels, 1, 1, 1))
    bias = graph.add_constant(f"{result}/shift", summand.reshape(channels))
    graph.insert(shift, "Conv", [x, weights, bias], result, kernel_shape=[1, 1], group=channels)
    graph.remove(scale, shift)


def _operands(graph: OnnxGraph, node: Any) -> tuple[str, Array | None]:
    """Return the computed and the constant operand; ("", None) unless there is one of each."""
    computed = [name for name in node.input if graph.constant(name) is None]
    known = [value for name in node.input if (value := graph.constant(name)) is not None]
    return (computed[0], known[0]) if len(computed) == len(known) == 1 else ("", None)


def _per_channel(value: Array | None) -> bool:
    if value is None or value.ndim != 4 or value.dtype != np.float32:
        return False
    channels: int = value.shape[1]
    return channels == value.size and channels >= MIN_CHANNELS


def fold_padding_into_pool(graph: OnnxGraph, pool: Any) -> None:
    """Fold zero padding into the MaxPool that follows, and take the maximum with zero at the edges.

    The padding of MaxPool is lower than any number, while zeros matter where the input is negative, as in
    ResNet50V2. ONNX Runtime (1.31) fuses Pad and MaxPool nevertheless, which changes the result. So windows
    that extend over the edge are compared with zero explicitly, which is also faster than a separate Pad.
    If a length is free, a maximum with the lowest number prevents the fusion and changes nothing.
    """
    pad = graph.producer(pool.input[0])
    if pad is None or pad.op_type != "Pad":
        return
    result = pool.output[0]
    if (window := _window(graph, pad, pool)) is None:
        lowest = graph.add_constant(f"{result}/lowest", _LOWEST)
        graph.insert(pool, "Max", [pool.input[0], lowest], f"{result}/padded")
        pool.input[0] = f"{result}/padded"
        return
    how = {"kernel_shape": window.kernel, "strides": window.strides, "pads": [*window.before, *window.after]}
    graph.insert(pool, "MaxPool", [pad.input[0]], f"{result}/inside", **how)
    edge = graph.add_constant(f"{result}/edge", window.edge())
    graph.insert(pool, "Max", [f"{result}/inside", edge], result)
    graph.remove(pool)


@dataclass(frozen=True)
class _Window:
    """Geometry of a pool over the two axes of a picture, with the padding before and after each."""

    lengths: list[int]
    kernel: list[int]
    strides: list[int]
    before: list[int]
    after: list[int]

    def edge(self) -> Array:
        """Return the lower bound of each window, float32 (1, 1, height, width): zero over the edge."""
        rows, columns = (self._reaches_over(axis) for axis in (0, 1))
        return np.where(rows[:, None] | columns[None], np.float32(0), _LOWEST)[None, None]

    def _reaches_over(self, axis: int) -> NDArray[np.bool_]:
        length, kernel, before = self.lengths[axis], self.kernel[axis], self.before[axis]
        count = (before + length + self.after[axis] - kernel) // self.strides[axis] + 1
        starts = np.arange(count) * self.strides[axis] - before
        return (starts < 0) | (starts + kernel > length)


def _window(graph: OnnxGraph, pad: Any, pool: Any) -> _Window | None:
    """Return the geometry of a Pad and its MaxPool; None if they cannot be folded."""
    pads = graph.constant(pad.input[1])
    lengths = [length for length in graph.shape(pad.input[0])[2:] if length is not None]
    kernel = list(attribute(pool, "kernel_shape"))
    plain = (
        graph.only_consumer(pad.output[0]) is not None
        and _pads_with_zeros(graph, pad)
        and not any(attribute(pool, "pads", []))
        and attribute(pool, "auto_pad", b"NOTSET") in (b"NOTSET", b"VALID")
        and not attribute(pool, "ceil_mode", 0)
        and set(attribute(pool, "dilations", [1])) == {1}
        and len(pool.output) == 1
    )
    if not plain or pads is None or pads.size != 8 or len(lengths) != 2:
        return None
    outer, before, after = pads[[0, 1, 4, 5]], pads[2:4].tolist(), pads[6:8].tolist()
    if outer.any() or not all(0 <= one < size for one, size in zip(before + after, kernel * 2, strict=True)):
        return None
    strides = list(attribute(pool, "strides", [1, 1]))
    return _Window(lengths, kernel, strides, before, after)


def _pads_with_zeros(graph: OnnxGraph, pad: Any) -> bool:
    """Whether a Pad fills with zeros on all axes."""
    value, *axes = [*pad.input[2:], "", ""][:2]
    filled = graph.constant(value)
    zero = not value or (filled is not None and not filled.any())
    return zero and not any(axes) and bool(attribute(pad, "mode", b"constant") == b"constant")


def drop_zero_initial_state(graph: OnnxGraph, lstm: Any) -> None:
    """Remove an LSTM's initial states if they are zeros, which is the default."""
    states = [name for name in lstm.input[5:7] if name]
    if states and all(_is_zero(graph, name) for name in states):
        for index in range(5, min(7, len(lstm.input))):
            lstm.input[index] = ""


def _is_zero(graph: OnnxGraph, name: str) -> bool:
    """Whether all values of a tensor are zero, whatever its shape."""
    while (value := graph.constant(name)) is None:
        node = graph.producer(name)
        if node is None or node.op_type not in (*_SHAPING, "ConstantOfShape"):
            return False
        if node.op_type == "ConstantOfShape":
            filled = attribute(node, "value")
            return filled is None or not graph.array(filled).any()
        name = node.input[0]
    return not value.any()


def use_last_state_output(graph: OnnxGraph, lstm: Any) -> None:
    """Read the last state from the LSTM's second output instead of slicing it from all states."""
    squeeze = graph.only_consumer(lstm.output[0]) if lstm.output[0] else None
    if squeeze is None or not _squeezes(graph, squeeze, 1):
        return
    cut = graph.only_consumer(squeeze.output[0])
    last = graph.only_consumer(cut.output[0]) if cut is not None else None
    forward = attribute(lstm, "direction", b"forward") == b"forward"
    if not forward or last is None or not (_takes_last(graph, cut) and _squeezes(graph, last, 0)):
        return
    if len(lstm.output) > 1 and graph.consumers(lstm.output[1]):
        return
    # The first output keeps its name: tools that sort a graph confuse several outputs with the name "".
    state = f"{lstm.output[0]}/last"
    lstm.output[:] = [lstm.output[0], state]
    graph.insert(last, "Squeeze", [state, last.input[1]], last.output[0])
    graph.remove(squeeze, cut, last)


def gather_last_state(graph: OnnxGraph, lstm: Any) -> None:
    """Read the last state from the LSTM's second output instead of gathering it, as PyTorch does."""
    if attribute(lstm, "direction", b"forward") != b"forward":
        return
    if any(lstm.output[1:2]) and (of_state := graph.only_consumer(lstm.output[1])) is not None:
        if _gathers_last(graph, of_state, 0, 1):
            _squeeze_state(graph, lstm, of_state)
        return
    last = graph.only_consumer(lstm.output[0]) if lstm.output[0] else None
    if last is None or not _squeezes(graph, last, 1):
        return
    frames, axis, between = graph.shape(lstm.output[0])[:1], 0, [last]
    last = graph.only_consumer(last.output[0])
    if last is not None and last.op_type == "Transpose" and list(attribute(last, "perm", [])) == [1, 0, 2]:
        axis, between, last = 1, [*between, last], graph.only_consumer(last.output[0])
    if last is None or not _gathers_last(graph, last, axis, frames[0] if frames else None):
        return
    lstm.output[:] = [lstm.output[0], f"{lstm.output[0]}/last"]
    _squeeze_state(graph, lstm, last)
    graph.remove(*between)


def _gathers_last(graph: OnnxGraph, node: Any, axis: int, length: int | None) -> bool:
    """Whether a node takes the last element of an axis and removes the axis."""
    if node.op_type != "Gather" or attribute(node, "axis", 0) != axis:
        return False
    index = graph.constant(node.input[1])
    return index is not None and index.ndim == 0 and (index == -1 or index + 1 == length)


def _squeeze_state(graph: OnnxGraph, lstm: Any, gather: Any) -> None:
    axes = graph.add_constant(f"{gather.output[0]}/axes", np.array([0]))
    graph.insert(gather, "Squeeze", [lstm.output[1], axes], gather.output[0])
    graph.remove(gather)


def _squeezes(graph: OnnxGraph, node: Any, axis: int) -> bool:
    axes = graph.constant(node.input[1]) if node.op_type == "Squeeze" and len(node.input) == 2 else None
    return axes is not None and axes.tolist() == [axis]


def _takes_last(graph: OnnxGraph, node: Any) -> bool:
    """Whether a node slices the last element of the first axis."""
    if node.op_type != "Slice" or not 4 <= len(node.input) <= 5:
        return False
    start, end, axes, *step = (graph.constant(name) for name in node.input[1:])
    if start is None or end is None or axes is None or not _ones(step):
        return False
    return start.tolist() == [-1] and axes.tolist() == [0] and end.size == 1 and int(end[0]) >= _TO_THE_END


def _ones(values: Sequence[Array | None]) -> bool:
    return all(one is not None and one.tolist() == [1] for one in values)
