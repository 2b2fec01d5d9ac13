"""TensorFlow operators that tf2onnx does not know, converted to operators of ONNX."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from edgeharfer.export import backend
from edgeharfer.export.onnx_graph import all_nodes
from edgeharfer.runtime.errors import ModelError


def _minus(context: Any, node: Any, operator: str, *, from_one: bool) -> None:
    """Replace a node by 1 - operator(x), or by operator(x) - 1."""
    output, feed = node.output[0], node.input[0]
    shapes, kinds = [context.get_shape(output)], [context.get_dtype(output)]
    context.remove_node(node.name)
    value = context.make_node(operator, [feed], shapes=shapes, dtypes=kinds).output[0]
    one = context.make_const(f"{node.name}/one", np.float32(1)).output[0]
    feeds = [one, value] if from_one else [value, one]
    context.make_node("Sub", feeds, name=node.name, outputs=[output], shapes=shapes, dtypes=kinds)


def _erfc(context: Any, node: Any, name: str, arguments: Sequence[Any]) -> None:
    """The complementary error function, which the exact GELU calls."""
    _minus(context, node, "Erf", from_one=True)


def _expm1(context: Any, node: Any, name: str, arguments: Sequence[Any]) -> None:
    """The exponential function minus 1, which CELU calls."""
    _minus(context, node, "Exp", from_one=False)


def _gelu(context: Any, node: Any, name: str, arguments: Sequence[Any]) -> None:
    """The GELU of TensorFlow Lite (Hendrycks and Gimpel 2016): x / 2 (1 + erf(x / sqrt(2))), or by tanh."""
    output, feed = node.output[0], node.input[0]
    is_approximate = bool(node.get_attr_value("approximate", 0))
    shapes, kinds = [context.get_shape(output)], [context.get_dtype(output)]
    context.remove_node(node.name)

    def make(operator: str, *feeds: Any) -> Any:
        named = [
            one if isinstance(one, str) else context.make_const(make_name(name), np.float32(one)).output[0]
            for one in feeds
        ]
        return context.make_node(operator, named, shapes=shapes, dtypes=kinds).output[0]

    make_name = backend.load("tf2onnx.utils").make_name
    if is_approximate:
        cubed = make("Mul", make("Mul", feed, feed), feed)
        inner = make("Add", feed, make("Mul", cubed, 0.044715))
        curve = make("Tanh", make("Mul", inner, math.sqrt(2 / math.pi)))
    else:
        curve = make("Erf", make("Div", feed, math.sqrt(2)))
    half = make("Mul", make("Mul", feed, make("Add", curve, 1.0)), 0.5)
    context.make_node("Identity", [half], name=node.name, outputs=[output], shapes=shapes, dtypes=kinds)


HANDLERS: Mapping[str, tuple[Callable[..., None], list[Any]]] = {
    "Erfc": (_erfc, []),
    "Expm1": (_expm1, []),
    "TFL_GELU": (_gelu, []),
}
"""Operator -> function and its arguments, as `custom_op_handlers` of tf2onnx; TFL_ is of TensorFlow Lite."""


def check_operators(model: Any, name: str) -> None:
    """Refuse what tf2onnx leaves as it is.

    Raises:
        ModelError: ONNX has no such operator.
    """
    has = backend.load("onnx").defs.has
    if unknown := sorted({one.op_type for one in all_nodes(model.graph) if not has(one.op_type, one.domain)}):
        raise ModelError(
            f"{name}: cannot be converted to ONNX, which has no operator like TensorFlow's "
            f"{unknown[0].removeprefix('TFL_')}: replace the layer or activation that computes it"
        )
