"""TensorFlow operators that tf2onnx does not know, converted to operators of ONNX."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np


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


HANDLERS: Mapping[str, tuple[Callable[..., None], list[Any]]] = {"Erfc": (_erfc, []), "Expm1": (_expm1, [])}
"""Operator -> function and its arguments, as `custom_op_handlers` of tf2onnx."""
