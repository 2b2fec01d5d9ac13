"""The axes of a graph's input: which holds channels, frames, height and width."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import numpy as np

from edgeharfer.calib.nodes import attribute
from edgeharfer.export.onnx_graph import OnnxGraph
from edgeharfer.runtime.errors import ConfigError, ModelError
from edgeharfer.runtime.types import Floats

CHANNELS = (1, 3)
_ORDERS = {4: ("nchw", "nhwc"), 5: ("ncthw", "ntchw", "nthwc")}
"""Possible orders by the number of axes: batch, channels, time, height, width."""
CHANNELS_LAST = {axes: orders[-1] for axes, orders in _ORDERS.items()}
"""The orders with channels last, as TensorFlow has them."""
_PASSING = ("Identity", "Cast", "Sub", "Div", "Mul", "Add", "BatchNormalization", "Pad")
_ELEMENTWISE = (
    *("Identity", "Cast", "Sub", "Div", "Mul", "Add", "Clip"),
    *("QuantizeLinear", "DequantizeLinear"),
)


class AxisOptions(Protocol):
    """The part of the options that concerns axes, see `ImportOptions`."""

    @property
    def layout(self) -> str: ...
    @property
    def frames(self) -> int | None: ...
    @property
    def size(self) -> tuple[int, int] | None: ...


@dataclass(frozen=True)
class Axes:
    """Order and sizes of the axes of an input.

    Attributes:
        order: One letter for each axis: n (batch), c (channels), t (time), h (height), w (width).
        sizes: Their sizes; 1 for the batch.
        batch: Size of the batch that the file has; None if it is free.
        folded: Whether the graph's transposition to channels first was removed, so that it reads these.
    """

    order: str
    sizes: tuple[int, ...]
    batch: int | None = None
    folded: bool = False

    @property
    def graph_order(self) -> str:
        """The order that the graph reads."""
        return "nchw" if self.folded else self.order

    @property
    def wanted(self) -> str:
        """The order that the runtime gives: as the graph reads it, but frames before channels."""
        return "ntchw" if self.order == "ncthw" else self.graph_order

    @property
    def layout(self) -> Literal["nhwc", "nchw"]:
        """Order of the axes of one picture that the runtime gives."""
        return "nhwc" if self.wanted.endswith("c") else "nchw"

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one item that the runtime gives."""
        by_letter = dict(zip(self.order, self.sizes, strict=True))
        return tuple(by_letter[letter] for letter in self.wanted[1:])

    @property
    def frames(self) -> int:
        """Number of frames; 1 for a picture."""
        return dict(zip(self.order, self.sizes, strict=True)).get("t", 1)

    @property
    def permutation(self) -> list[int]:
        """Transposition of what the runtime gives to what the graph reads."""
        return [self.wanted.index(letter) for letter in self.graph_order]

    def to_file(self, batch: Floats) -> Floats:
        """Transpose what the runtime gives to the order of the file."""
        return np.ascontiguousarray(batch.transpose([self.wanted.index(letter) for letter in self.order]))


def fold_transposition(model: Any, feed: str, axes: Axes) -> Axes:
    """Remove a transposition of pictures to channels first at the beginning of a graph, in place.

    The runtime writes its pictures in that order at no cost.
    """
    graph = OnnxGraph(model)
    first = graph.only_consumer(feed)
    while first is not None and _treats_values_alike(graph, first):
        feed = first.output[0]
        first = graph.only_consumer(feed)
    if axes.order != "nhwc" or first is None or first.op_type != "Transpose":
        return axes
    if list(attribute(first, "perm", [])) != [0, 3, 1, 2]:
        return axes
    for reader in [node for node in model.graph.node if first.output[0] in node.input]:
        reader.input[:] = [feed if one == first.output[0] else one for one in reader.input]
    graph.remove(first)
    return replace(axes, folded=True)


def _treats_values_alike(graph: OnnxGraph, node: Any) -> bool:
    """Whether a node does the same to every value, whatever the order of the axes."""
    constants = [graph.constant(name) for name in node.input[1:] if name]
    return node.op_type in _ELEMENTWISE and all(one is not None and one.size == 1 for one in constants)


def find_axes(model: Any, given: Any, name: str, options: AxisOptions, known: str | None = None) -> Axes:
    """Find the axes of an input.

    Args:
        model: A ModelProto.
        given: Its input, a ValueInfoProto.
        name: The file, for errors.
        options: What the caller says of it.
        known: The order, if it is known.

    Raises:
        ModelError: The input is neither a picture nor a clip.
        ConfigError: The order or a size is not clear.
    """
    dims = [one.dim_value or None for one in given.type.tensor_type.shape.dim]
    shown = " x ".join("?" if one is None else str(one) for one in dims) or "unknown"
    if len(dims) == 3 and (dims[0] == 3 or (dims[0] not in (None, 1) and dims[2] in (1, 3))):
        raise ModelError(
            f"{name}: its input {given.name!r} is {shown}, an image without an axis for the batch: "
            "export the model with a batch of 1"
        )
    if len(dims) not in _ORDERS:
        raise ModelError(
            f"{name}: its input {given.name!r} is {shown}, neither an image nor a clip; for key points and "
            "similar input, write your own task (docs/python.md)"
        )
    if known is None and options.layout == "auto":
        known, channels = _order_of_first_convolution(model, given.name, len(dims))
        dims[1] = dims[1] or channels
    orders = [known] if known else _possible(dims, options.layout)
    orders = [one for one in orders if dims[one.index("c")] in CHANNELS]
    if not orders:
        raise ModelError(
            f"{name}: its input {given.name!r} is {shown}: 1 or 3 channels are required, grey or colour"
        )
    if len(orders) > 1:
        raise ConfigError(
            f"{name}: its input {given.name!r} is {shown}: channels first or last? Pass --layout nchw or nhwc"
        )
    [order] = orders
    by_letter = dict(zip(order, dims, strict=True))
    width, height = options.size or (None, None)
    for letter, value, option, what in (
        ("h", height, "--size", "height"),
        ("w", width, "--size", "width"),
        ("t", options.frames, "--frames", "number of frames"),
        ("c", None, "a file with a fixed number of channels", "number of channels"),
    ):
        if letter not in by_letter:
            continue
        by_letter[letter] = by_letter[letter] or value
        if by_letter[letter] is None:
            raise ConfigError(f"{name}: the {what} of its input {shown} is not fixed: pass {option}")
        if value is not None and by_letter[letter] != value:
            raise ConfigError(f"{name}: the {what} of its input is {by_letter[letter]}, not {value}")
    batch = by_letter["n"]
    return Axes(order, tuple(1 if one == "n" else by_letter[one] or 1 for one in order), batch)


def _possible(dims: list[int | None], layout: str) -> list[str]:
    orders = _ORDERS[len(dims)]
    if layout == "nhwc":
        return [CHANNELS_LAST[len(dims)]]
    if layout == "nchw":
        return [one for one in orders[:-1] if dims[one.index("c")] in CHANNELS][-1:]
    return list(orders)


def _order_of_first_convolution(model: Any, feed: str, axes: int) -> tuple[str | None, int | None]:
    """Return the order of an input that a convolution reads as it is, and the number of channels."""
    graph = OnnxGraph(model)
    while (reader := graph.only_consumer(feed)) is not None:
        if reader.op_type == "Conv" and reader.input[0] == feed:
            weights = graph.constant(reader.input[1])
            if weights is None or weights.ndim != axes:
                return None, None
            return _ORDERS[axes][0], int(weights.shape[1]) * int(attribute(reader, "group", 1))
        if reader.op_type not in _PASSING:
            return None, None
        feed = reader.output[0]
    return None, None
