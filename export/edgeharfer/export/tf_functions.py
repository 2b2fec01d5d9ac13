"""TensorFlow functions in Keras 2 models: arithmetic on tensors, rewritten as layers.

Keras 2 saved `x / 127.5 - 1` or `tf.concat` in a functional model as layers of the class TFOpLambda, with the
name of the function and its constant arguments. Keras 3 has no such layers. The usual ones are rewritten
here as layers of Keras; no function is ever looked up by its name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from edgeharfer.export import backend

Config = dict[str, Any]

CLASSES = ("TFOpLambda", "SlicingOpLambda")
REVERSE = "ReverseChannels"
APPLY = "ApplyOperation"
LAYERS = (REVERSE, APPLY)
"""Layers of this module, see `register`."""
_CONSTANT = "_CONSTANT_VALUE"
_ELLIPSIS = {"class_name": "__ellipsis__"}
_ALL: Config = {"start": None, "stop": None, "step": None}

_ACTIVATIONS = {
    **{f"nn.{name}": name for name in ("relu", "relu6", "sigmoid", "softmax", "tanh", "elu", "selu", "gelu")},
    **{"nn.swish": "silu", "nn.silu": "silu", "math.sigmoid": "sigmoid", "math.tanh": "tanh"},
    **{"nn.softplus": "softplus", "math.softplus": "softplus", "identity": "linear"},
}
# TensorFlow's function -> that of keras.ops, and the names of its arguments in both.
_REDUCED = {"axis": "axis", "keepdims": "keepdims"}
_OPERATIONS: Mapping[str, tuple[str, Mapping[str, str]]] = {
    **{f"math.reduce_{name}": (name, _REDUCED) for name in ("mean", "max", "min", "sum", "std")},
    **{f"math.{name}": (name, {}) for name in ("square", "sqrt", "abs", "exp", "log")},
    **{f"math.{name}": (name, {"y": "x2"}) for name in ("maximum", "minimum")},
    "math.pow": ("power", {"y": "x2"}),
    "clip_by_value": ("clip", {"clip_value_min": "x_min", "clip_value_max": "x_max"}),
    "expand_dims": ("expand_dims", {"axis": "axis"}),
    "compat.v1.squeeze": ("squeeze", {"axis": "axis"}),
    "compat.v1.transpose": ("transpose", {"perm": "axes"}),
    "repeat": ("repeat", {"repeats": "repeats", "axis": "axis"}),
    "tile": ("tile", {"multiples": "repeats"}),
}
_OF_TWO = {
    "math.maximum": "Maximum",
    "math.minimum": "Minimum",
    "math.add": "Add",
    "__operators__.add": "Add",
    "math.subtract": "Subtract",
    "math.multiply": "Multiply",
}


def rewrite(config: Any) -> Any:
    """Return a configuration in which functions are layers where that is possible."""
    if isinstance(config, list):
        return [rewrite(one) for one in config]
    if not isinstance(config, dict):
        return config
    if config.get("class_name") in CLASSES:
        return _layer(config) or config
    return {key: rewrite(value) for key, value in config.items()}


def register(kind: str) -> str:
    """Register a layer of LAYERS with Keras, and return its registered name."""
    keras: Any = backend.load("keras")
    name = f"edgeharfer>{kind}"
    if keras.saving.get_registered_object(name) is None:
        made = {REVERSE: _reverse_layer, APPLY: _apply_layer}[kind](keras)
        keras.saving.register_keras_serializable(package="edgeharfer", name=kind)(made)
    return name


def _reverse_layer(keras: Any) -> type:
    """The layer that turns RGB into BGR."""

    def call(layer: Any, x: Any) -> Any:
        return keras.ops.take(x, list(range(x.shape[-1]))[::-1], axis=-1)

    return type(REVERSE, (keras.layers.Layer,), {"call": call})


def _apply_layer(keras: Any) -> type:
    """The layer that calls an operation of `_OPERATIONS`, or takes a part of a tensor."""

    def create(layer: Any, operation: str, arguments: Config, **settings: Any) -> None:
        keras.layers.Layer.__init__(layer, **settings)
        layer.operation, layer.arguments = operation, arguments

    def call(layer: Any, x: Any) -> Any:
        if layer.operation == "getitem":
            return x[tuple(map(_index, layer.arguments["parts"]))]
        return getattr(keras.ops, layer.operation)(x, **layer.arguments)

    def get_config(layer: Any) -> Config:
        own = {"operation": layer.operation, "arguments": dict(layer.arguments)}
        return {**keras.layers.Layer.get_config(layer), **own}

    return type(APPLY, (keras.layers.Layer,), {"__init__": create, "call": call, "get_config": get_config})


def _index(part: Any) -> Any:
    if isinstance(part, int):
        return part
    return Ellipsis if part == _ELLIPSIS else slice(part["start"], part["stop"], part["step"])


def _layer(one: Config) -> Config | None:
    """Return the layer that computes what a function with constant arguments does; None if there is none."""
    nodes = one.get("inbound_nodes")
    function = one["config"].get("function")
    if not isinstance(nodes, list) or len(nodes) != 1 or not isinstance(function, str):
        return None
    calls = nodes[0] if isinstance(nodes[0][0], list) else [nodes[0]]
    made = _many(function, calls) if len(calls) > 1 else _one(function, calls[0])
    if made is None:
        return None
    kind, settings, feeds = made
    base = {key: one["config"][key] for key in ("name", "dtype") if key in one["config"]}
    node = [[*feed[:3], {}] for feed in feeds]
    outer = {key: one[key] for key in ("name",) if key in one}
    return {**outer, "class_name": kind, "config": {**base, **settings}, "inbound_nodes": [node]}


Made = tuple[str, Config, list[Any]]


def _many(function: str, calls: list[Any]) -> Made | None:
    """Functions of a list of tensors."""
    if function == "concat":
        return "Concatenate", {"axis": calls[0][3].get("axis", -1)}, calls
    return ("Add", {}, calls) if function == "math.add_n" else None


def _one(function: str, call: Any) -> Made | None:
    """Functions of one tensor, or of two."""
    arguments = {key: value for key, value in call[3].items() if key != "name"}
    other = arguments.get("y")
    if call[0] == _CONSTANT:
        return _of_constant(function, call[2], other)
    if function in _OF_TWO and _is_tensor(other):
        return _OF_TWO[function], {}, [call, other]
    if function in _ACTIVATIONS and arguments.get("axis", -1) in (-1, None):
        return "Activation", {"activation": _ACTIVATIONS[function]}, [call]
    if function == "nn.softmax":
        return "Softmax", {"axis": arguments["axis"]}, [call]
    make = _FUNCTIONS.get(function)
    made = make(arguments) if make is not None else _operation(function, arguments)
    return None if made is None else (*made, [call])


def _operation(function: str, arguments: Config) -> tuple[str, Config] | None:
    operation, names = _OPERATIONS.get(function, ("", {}))
    given = {key: value for key, value in arguments.items() if value is not None and value is not False}
    if not operation or not set(given) <= set(names) or not all(map(_is_constant, given.values())):
        return None
    return APPLY, {"operation": operation, "arguments": {names[key]: given[key] for key in given}}


def _is_constant(value: Any) -> bool:
    return isinstance(value, int | float) or (
        isinstance(value, list) and all(isinstance(one, int) for one in value)
    )


def _of_constant(function: str, value: Any, other: Any) -> Made | None:
    """Functions whose first argument is a constant."""
    if not _is_tensor(other) or not _is_number(value):
        return None
    settings = {
        "math.add": {"scale": 1.0, "offset": value},
        "__operators__.add": {"scale": 1.0, "offset": value},
        "math.multiply": {"scale": value, "offset": 0.0},
        "math.subtract": {"scale": -1.0, "offset": value},
    }.get(function)
    return None if settings is None else ("Rescaling", settings, [other])


def _is_tensor(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 3 and isinstance(value[0], str)


def _is_number(value: Any) -> bool:
    """Whether a constant is a number, or one for each channel."""
    values = value if isinstance(value, list) else [value]
    return bool(values) and all(isinstance(one, int | float) for one in values)


def _rescaling(
    scale: Callable[[Any], Any], offset: Callable[[Any], Any], key: str = "y"
) -> Callable[[Config], tuple[str, Config] | None]:
    def make(arguments: Config) -> tuple[str, Config] | None:
        value = arguments.get(key)
        if not _is_number(value):
            return None
        array = np.asarray(value, np.float64)
        return "Rescaling", {"scale": scale(array), "offset": offset(array)}

    return make


def _mean(arguments: Config) -> tuple[str, Config] | None:
    axes: object = arguments.get("axis")
    if axes not in ([1, 2], [2, 1], [-3, -2]):
        return _operation("math.reduce_mean", arguments)
    return "GlobalAveragePooling2D", {"keepdims": bool(arguments.get("keepdims"))}


def _reshape(arguments: Config) -> tuple[str, Config] | None:
    shape = arguments.get("shape")
    if not isinstance(shape, list) or len(shape) < 2 or not all(isinstance(one, int) for one in shape):
        return None
    return ("Reshape", {"target_shape": shape[1:]}) if shape[0] == -1 else None


def _slice(arguments: Config) -> tuple[str, Config] | None:
    """Return the layer for a part of a tensor; `x[..., ::-1]` is the change of RGB to BGR."""
    spec = arguments.get("slice_spec")
    if not isinstance(spec, list) or not all(map(_is_index, spec)):
        return None
    *others, last = spec
    if others in ([_ELLIPSIS], [_ALL] * 3) and last == {**_ALL, "step": -1}:
        return REVERSE, {}
    return APPLY, {"operation": "getitem", "arguments": {"parts": spec}}


def _is_index(part: Any) -> bool:
    if isinstance(part, dict) and part != _ELLIPSIS:
        return part.keys() == _ALL.keys() and all(isinstance(one, int | None) for one in part.values())
    return isinstance(part, int) or part == _ELLIPSIS


def _reverse(arguments: Config) -> tuple[str, Config] | None:
    return (REVERSE, {}) if arguments.get("axis") in ([-1], [3], -1, 3) else None


_FUNCTIONS: Mapping[str, Callable[[Config], tuple[str, Config] | None]] = {
    "math.truediv": _rescaling(lambda y: (1 / y).tolist(), lambda y: 0.0),
    "math.divide": _rescaling(lambda y: (1 / y).tolist(), lambda y: 0.0),
    "math.multiply": _rescaling(lambda y: y.tolist(), lambda y: 0.0),
    "math.add": _rescaling(lambda y: 1.0, lambda y: y.tolist()),
    "__operators__.add": _rescaling(lambda y: 1.0, lambda y: y.tolist()),
    "math.subtract": _rescaling(lambda y: 1.0, lambda y: (-y).tolist()),
    "nn.bias_add": _rescaling(lambda y: 1.0, lambda y: y.tolist(), "bias"),
    "math.reduce_mean": _mean,
    "reshape": _reshape,
    "math.l2_normalize": lambda arguments: (
        ("UnitNormalization", {"axis": arguments["axis"]}) if isinstance(arguments.get("axis"), int) else None
    ),
    "reverse": _reverse,
    "__operators__.getitem": _slice,
    "cast": lambda arguments: (
        ("Activation", {"activation": "linear"}) if arguments.get("dtype") == "float32" else None
    ),
}
