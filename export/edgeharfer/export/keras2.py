"""Models of Keras 2 (standalone and tf.keras before 3): their configuration and weights, read for Keras 3.

Keras 3 refuses keys that no longer do anything, and gives a few others another meaning. So the configuration
is rewritten to the form of Keras 3 before a layer is created, and weights are assigned here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeharfer.export import backend, tf_functions
from edgeharfer.runtime.errors import ModelError

Config = dict[str, Any]
Array = NDArray[Any]

WAY_OUT = "save it as a SavedModel with the Keras 2 that wrote it"

# Classes by the names of Keras 2, and settings that they had without a key.
_RENAMED: Mapping[str, tuple[str, Config]] = {
    "BatchNormalizationV1": ("BatchNormalization", {}),
    "BatchNormalizationV2": ("BatchNormalization", {}),
    "SyncBatchNormalization": ("BatchNormalization", {}),
    "UnifiedLSTM": ("LSTM", {}),
    "UnifiedGRU": ("GRU", {}),
    "CuDNNLSTM": ("LSTM", {"recurrent_activation": "sigmoid"}),
    "CuDNNGRU": ("GRU", {"recurrent_activation": "sigmoid", "reset_after": True}),
    "ThresholdedReLU": ("ReLU", {}),
    "GRU": ("GRU", {"reset_after": False}),
    "Functional": ("Model", {}),
    # A Dropout with another shape of its noise, of the package efficientnet.
    "FixedDropout": ("Dropout", {}),
}
# Layers that Keras 3 does not have and that only change pictures in training.
_ONLY_TRAINING = ("RandomHeight", "RandomWidth")
_MODELS = ("Model", "Sequential")
_RENAMED_KEYS = {("LeakyReLU", "alpha"): "negative_slope", ("ThresholdedReLU", "theta"): "threshold"}

# Keys that only training or other backends used.
_UNUSED = (
    "implementation",
    "rng_type",
    "batch_input_shape",
    "input_dtype",
    "input_length",
    "noise_shape",
    "seed",
    # Shapes of MultiHeadAttention, and how it treats masks, which pictures and clips do not have.
    *("query_shape", "key_shape", "value_shape", "softmax_robust_masking"),
)
_UNUSED_ENDINGS = ("_initializer", "_regularizer", "_constraint")
# Keys that Keras 3 does not have, with the values that changed nothing.
_NEUTRAL: Mapping[str, Sequence[object]] = {
    "time_major": (False,),
    "ragged": (False, None),
    "renorm": (False,),
    "virtual_batch_size": (None,),
    "num_constants": (0, None),
}
# Keys without which a layer is a class of the author's with the name of one of Keras.
_OWN_KEYS = {"Attention": "use_scale", "AdditiveAttention": "use_scale"}
_UNGROUPED = ("DepthwiseConv1D", "DepthwiseConv2D", "SeparableConv1D", "SeparableConv2D")


def is_keras2(version: str | None, config: Config) -> bool:
    """Whether Keras 2 wrote a file.

    Args:
        version: The file's `keras_version`; without it the form of the configuration decides.
        config: The configuration.
    """
    if version is not None:
        return version.startswith("2.")
    return any("batch_input_shape" in one.get("config", ()) for one in _objects(config))


def build(config: Config, name: str) -> Any:
    """Create the Keras 3 model of a Keras 2 configuration, without weights.

    Args:
        config: `class_name` and `config` of the model.
        name: The file, for errors.

    Raises:
        ModelError: A layer has no equal in Keras 3.
    """
    keras = backend.load("keras")
    hard_sigmoid()
    return keras.saving.deserialize_keras_object(_without_slashes(modern(config, name)), safe_mode=True)


def hard_sigmoid() -> Any:
    """Return Keras 2's `hard_sigmoid`, 0.2 x + 0.5 limited to 0 ... 1; that of Keras 3 is x / 6 + 0.5.

    It is registered under a name of its own, because Keras finds its own activations by their plain names.
    """
    keras = backend.load("keras")
    known = keras.saving.get_registered_object(_HARD_SIGMOID["registered_name"])
    if known is not None:
        return known

    @keras.saving.register_keras_serializable(package="edgeharfer")
    def keras2_hard_sigmoid(x: Any) -> Any:
        return keras.ops.clip(0.2 * x + 0.5, 0.0, 1.0)

    return keras2_hard_sigmoid


_HARD_SIGMOID: Config = {
    "module": None,
    "class_name": "function",
    "config": "edgeharfer>keras2_hard_sigmoid",
    "registered_name": "edgeharfer>keras2_hard_sigmoid",
}


def modern(config: Any, name: str) -> Any:
    """Rewrite a configuration, or a part of one, to the form of Keras 3.

    Raises:
        ModelError: A layer or setting has no equal in Keras 3.
    """
    if isinstance(config, list):
        return [modern(one, name) for one in config]
    if not isinstance(config, dict):
        return config
    for key in ("value", "items"):  # Numbers that were kept as an array, and tuples.
        if config.keys() in ({"type", key}, {"class_name", key}):
            return modern(config[key], name)
    if isinstance(config.get("class_name"), str) and "config" in config:
        return _modern_object(config, name)
    return {key: modern(value, name) for key, value in config.items()}


def _modern_object(one: Config, name: str) -> Config:
    kind = one["class_name"]
    if kind == "function":
        return {**one, "module": "builtins"}
    if kind in ("Policy", "DTypePolicy"):
        policy: Config = one["config"]["name"]
        return policy
    if kind in tf_functions.LAYERS:
        registered = tf_functions.register(kind)
        return {**one, "module": None, "class_name": registered, "registered_name": registered}
    if kind in _ONLY_TRAINING:
        one = {**one, "config": {"name": one["config"]["name"]}}
    new_kind, defaults = _RENAMED.get(kind, ("Identity" if kind in _ONLY_TRAINING else kind, {}))
    settings = one["config"]
    if kind == "Sequential":
        settings = _with_input(settings, one.get("build_config") or {})
    elif new_kind == "Model":
        settings = _with_calls_from_zero(settings)
    elif kind == "InputLayer" and "batch_input_shape" in settings:
        settings = {**settings, "batch_shape": settings["batch_input_shape"]}
    where = f"{name}: layer {settings.get('name', '?')!r} ({kind})"
    if new_kind not in _MODELS and not hasattr(backend.load("keras").layers, new_kind):
        raise ModelError(f"{where} does not exist in Keras 3: replace it, or {WAY_OUT}")
    if kind in _OWN_KEYS and _OWN_KEYS[kind] not in settings:
        raise ModelError(f"{where} is not the layer of Keras with that name: replace it, or {WAY_OUT}")
    changed = {key: value for key, value in settings.items() if not _dropped(new_kind, key, value, where)}
    changed = {
        _RENAMED_KEYS.get((kind, key), key): _modern_value(key, value, name) for key, value in changed.items()
    }
    outer: Config = {key: modern(one[key], name) for key in ("name", "inbound_nodes") if key in one}
    if isinstance(outer.get("inbound_nodes"), list):
        outer["inbound_nodes"] = [_modern_node(node) for node in outer["inbound_nodes"]]
    module = "keras" if new_kind in _MODELS else "keras.layers"
    made = {"module": module, "class_name": new_kind, "config": {**defaults, **changed}}
    return {**outer, **made, "registered_name": None}


def _modern_node(node: Any) -> Any:
    """Write a call with further tensors by name, as of attention, in the form of Keras 3."""
    if not isinstance(node, list) or not any(
        isinstance(one, list) and len(one) == 4 and any(map(_is_tensor, one[3].values())) for one in node
    ):
        return node
    named = {key: value for one in node for key, value in one[3].items()}
    arguments = {key: _tensor(value) if _is_tensor(value) else value for key, value in named.items()}
    return {"args": [_tensor(one) for one in node], "kwargs": arguments}


def _is_tensor(value: Any) -> bool:
    kinds = (str, int, int)
    return isinstance(value, list) and len(value) == 3 and all(map(isinstance, value, kinds))


def _tensor(reference: Any) -> Config:
    # Keras looks the tensor up by its history; the shape is not used.
    where = {"shape": [], "dtype": "float32", "keras_history": reference[:3]}
    return {"class_name": "__keras_tensor__", "config": where}


def _dropped(kind: str, key: str, value: Any, where: str) -> bool:
    """Whether a key can go.

    Raises:
        ModelError: Keras 3 does not have it, but its value changes the result.
    """
    if key in _UNUSED or key.endswith(_UNUSED_ENDINGS):
        return True
    if key == "trainable" and kind.startswith("SpatialDropout"):
        return True
    ungrouped = key == "groups" and (kind in _UNGROUPED or kind.endswith("Transpose"))
    neutral = (1,) if ungrouped else _NEUTRAL.get(key)
    if neutral is not None and value not in neutral:
        raise ModelError(
            f"{where} has {key} = {value}, which Keras 3 does not support: change it, or {WAY_OUT}"
        )
    return neutral is not None


def _modern_value(key: str, value: Any, name: str) -> Any:
    if key.endswith("activation"):
        given = (
            value.get("config")
            if isinstance(value, dict) and value.get("class_name") == "function"
            else value
        )
        if given == "softmax_v2":
            return "softmax"
        return _HARD_SIGMOID if given == "hard_sigmoid" else modern(given, name)
    # Keras 3 takes one axis as a number, and a list of one input or output for a model with lists of tensors.
    if key in ("axis", "input_layers", "output_layers") and isinstance(value, list) and len(value) == 1:
        return value[0]
    return modern(value, name)


def _with_input(settings: Config | list[Config], build_config: Config) -> Config:
    """Return the settings of a Sequential as in later versions: a name, and layers that begin with the input.

    Until 2.2.2 the settings were the list of layers alone, and the first layer had the shape of the input.
    """
    given: Config = {"layers": settings} if isinstance(settings, list) else settings
    settings = {"name": "sequential", **given}
    shape = settings.pop("build_input_shape", None) or build_config.get("input_shape")
    first = settings["layers"][0] if settings["layers"] else {}
    if first.get("class_name") in ("InputLayer", "Sequential", "Model", "Functional"):
        return settings
    if shape := first.get("config", {}).get("batch_input_shape", shape):
        feed = {"batch_shape": shape, "dtype": first["config"].get("dtype"), "name": "keras2_input"}
        settings["layers"] = [{"class_name": "InputLayer", "config": feed}, *settings["layers"]]
    return settings


def _with_calls_from_zero(settings: Config) -> Config:
    """Count the calls of nested models from 0; in Keras 2 call 0 was the one that created the model."""
    nested = {one["name"]: one for one in settings["layers"] if one["class_name"] in (*_MODELS, "Functional")}
    ends = settings["output_layers"]
    listed = isinstance(ends, list) and all(isinstance(one, list) for one in ends)
    nodes = [node for one in settings["layers"] for node in one["inbound_nodes"]]
    used = [*(reference for node in nodes for reference in node), *(ends if listed else ())]
    counts = {key: len(one["inbound_nodes"]) for key, one in nested.items()}
    from_one = {one[0] for one in used if one[0] in counts and one[1] >= counts[one[0]]}

    def counted(reference: Any, own: int = 0) -> Any:
        name, call, *rest = reference
        return [name, call - 1 + own, *rest] if name in from_one else reference

    layers = [
        {**one, "inbound_nodes": [[counted(used) for used in node] for node in one["inbound_nodes"]]}
        for one in settings["layers"]
    ]
    # For outputs Keras 3 itself subtracts 1 if the nested model is functional.
    own = {key: int(one["class_name"] != "Sequential") for key, one in nested.items()}
    outputs = [counted(one, own.get(one[0], 0)) for one in ends] if listed else ends
    return {**settings, "layers": layers, "output_layers": outputs}


def _without_slashes(config: Config) -> Config:
    """Replace slashes in the names of layers, which Keras 3 refuses, wherever they are referred to."""
    names = {one["config"].get("name") for one in _objects(config) if isinstance(one.get("config"), dict)}
    renamed = {name: _plain_name(name) for name in names if isinstance(name, str) and "/" in name}

    def replaced(part: Any) -> Any:
        if isinstance(part, dict):
            return {key: replaced(value) for key, value in part.items()}
        if isinstance(part, list):
            return [replaced(value) for value in part]
        return renamed.get(part, part) if isinstance(part, str) else part

    return {key: replaced(value) for key, value in config.items()}


def _plain_name(name: str) -> str:
    return name.replace("/", "_")


def _objects(config: Any) -> Iterator[Config]:
    if isinstance(config, dict):
        if "class_name" in config:
            yield config
        for value in config.values():
            yield from _objects(value)
    elif isinstance(config, list):
        for value in config:
            yield from _objects(value)


# Weights ----------------------------------------------------------------------------------------


def assign_weights(model: Any, group: Any, name: str) -> None:
    """Set the weights of a model from HDF5.

    Args:
        model: The model that `build` created.
        group: The group that has one group of weights for each layer.
        name: The file, for errors.

    Raises:
        ModelError: The weights do not fit the layers, or their order is unknown.
    """
    if _text(group.attrs.get("backend", "tensorflow")) == "theano":
        raise ModelError(
            f"{name}: written with Theano, whose convolutions are mirrored: load it with Keras 2 on "
            "TensorFlow and save it again"
        )
    saved = {
        key: weights for key in _texts(group, "layer_names") if (weights := _weights(_member(group, key)))
    }
    layers = [one for one in model.layers if one.weights]
    by_name = {_plain_name(key): weights for key, weights in saved.items()}
    if len(saved) != len(layers):
        raise ModelError(
            f"{name}: has weights for {len(saved)} layers, but {len(layers)} layers of the model have weights"
        )
    named = all(one.name in by_name for one in layers)
    for layer, weights in zip(layers, saved.values(), strict=True):
        _assign(layer, by_name[layer.name] if named else weights, name)
    for one in model._flatten_layers():
        if hasattr(one, "finalize_state"):
            one.finalize_state()


def _assign(layer: Any, weights: Sequence[tuple[str, Any]], name: str) -> None:
    variables = [*layer.trainable_weights, *layer.non_trainable_weights]
    shapes, given = [tuple(one.shape) for one in variables], [one.shape for _, one in weights]
    unfit = ModelError(f"{name}: layer {layer.name!r} takes weights of {shapes}, but the file has {given}")
    # Only a file that does not fit is larger than the two biases of cuDNN explain; it is not read.
    if sum(math.prod(one) for one in given) > 2 * sum(math.prod(one) for one in shapes):
        raise unfit
    arrays = [(key, np.asarray(one)) for key, one in weights]
    values = _from_cudnn(_in_order(arrays, variables, f"{name}: layer {layer.name!r}"), variables)
    if [one.shape for one in values] != shapes:
        raise unfit
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def _in_order(weights: Sequence[tuple[str, Array]], variables: Sequence[Any], where: str) -> list[Array]:
    """Return the weights in the order of the variables.

    Both list trainable weights first, so the orders differ if other layers of a nested model were frozen when
    the file was written. Thus weights are found by their names, or else by their order if their kinds agree.
    """
    by_name = {_key(key): value for key, value in weights}
    found = [next((one for one in _tails(variable.path) if one in by_name), None) for variable in variables]
    if set(found) == set(by_name) and len(found) == len(by_name) == len(weights):
        return [by_name[key] for key in found if key is not None]
    if [_kind(key) for key, _ in weights] != [_kind(variable.path) for variable in variables]:
        raise ModelError(f"{where} has weights in an unknown order: load the file with Keras 2, or {WAY_OUT}")
    return [value for _, value in weights]


def _tails(path: str) -> Iterator[str]:
    """Yield the name of a variable within each of the models that contain it, the longest first."""
    parts = path.split("/")
    return (_key("/".join(parts[at:])) for at in range(len(parts)))


def _kind(key: str) -> str:
    """Return the last part of a variable's name without a number: `kernel` of `dense_1/kernel_2`."""
    kind = key.rpartition("/")[2].rstrip("0123456789").rstrip("_")
    return "kernel" if kind == "depthwise_kernel" else kind


def _key(name: str) -> str:
    """Return the name of a variable as a key; Keras 3 calls a depthwise kernel plainly a kernel."""
    return _plain_name(name.replace("/depthwise_kernel", "/kernel"))


def _from_cudnn(values: list[Array], variables: Sequence[Any]) -> list[Array]:
    """Convert the weights of CuDNNLSTM and CuDNNGRU, which have two biases, and transposed kernels."""
    kinds = [_kind(one.path) for one in variables]
    done = list(values)
    for at in range(2, min(len(values), len(variables))):
        shape, bias = tuple(variables[at].shape), values[at]
        recurrent = kinds[at - 2 : at + 1] == ["kernel", "recurrent_kernel", "bias"]
        if not recurrent or bias.shape not in ((2 * shape[-1],), (2 * shape[0],)):
            continue
        gates = shape[-1] // values[at - 1].shape[0]
        done[at - 2] = _by_gate(values[at - 2], gates, lambda one: one.T.reshape(one.shape, order="F"))
        done[at - 1] = _by_gate(values[at - 1], gates, lambda one: one.T)
        both = bias.reshape(2, -1)
        done[at] = both if len(shape) == 2 else both.sum(axis=0)
    return done


def _by_gate(kernel: Array, gates: int, change: Callable[[Array], Array]) -> Array:
    return np.hstack([change(one) for one in np.hsplit(kernel, gates)])


def _weights(group: Any) -> list[tuple[str, Any]]:
    """Return the datasets of a layer by name, unread."""
    return [(key.removesuffix(":0"), _member(group, key)) for key in _texts(group, "weight_names")]


def _member(group: Any, path: str) -> Any:
    """Return a group or dataset that is inside the file; HDF5 can also refer to other files.

    Raises:
        ValueError: It is elsewhere.
    """
    h5py = backend.load("h5py")
    for part in path.split("/"):
        if group.get(part, getclass=True, getlink=True) is not h5py.HardLink:
            raise ValueError(f"its weights {path!r} are not in the file")
        group = group[part]
    if isinstance(group, h5py.Dataset) and (group.external or group.is_virtual):
        raise ValueError(f"its weights {path!r} are not in the file")
    return group


def _texts(group: Any, key: str) -> list[str]:
    """Read a list of names; long lists are stored in parts."""
    if key in group.attrs:
        return [_text(one) for one in group.attrs[key]]
    parts = [f"{key}{part}" for part in range(len(group.attrs))]
    return [_text(one) for part in parts if part in group.attrs for one in group.attrs[part]]


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
