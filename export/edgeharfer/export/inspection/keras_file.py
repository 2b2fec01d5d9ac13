"""Facts of Keras files and SavedModels, also of those that cannot be loaded."""

from __future__ import annotations

import math
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from edgeharfer.export import backend
from edgeharfer.export.inspection.description import ModelDescription, TensorDescription
from edgeharfer.export.keras_model import config_parts, read_config
from edgeharfer.export.saved_model import read_signature
from edgeharfer.export.source import ModelSource
from edgeharfer.runtime.errors import EdgeharferError, ModelError, first_line

_SCALING = ("Rescaling", "Normalization")
_MODELS = ("Functional", "Model", "Sequential")
_NO_LAYERS = (*_MODELS, "InputLayer", "__tuple__", "__numpy__")
_WRAPPERS = ("TimeDistributed", "Bidirectional")
_CELLS = ("LSTMCell", "GRUCell", "SimpleRNNCell", "ConvLSTM2DCell")
_ENDINGS = {"softmax": "softmax", "sigmoid": "sigmoid", "linear": "logits"}


def describe_keras(source: ModelSource) -> ModelDescription:
    """Describe a Keras file from its configuration; its code is neither built nor run.

    Raises:
        ModelError: The file is damaged, or holds no model.
    """
    try:
        config, version = read_config(source)
    except EdgeharferError:
        raise
    except Exception as error:  # h5py, zipfile and json raise many types for damaged files
        raise ModelError(f"{source.model}: cannot be read: {first_line(error)}") from error
    layers = list(_layers(config))
    names = dict(Counter(one["class_name"] for one in layers))
    return ModelDescription(
        str(source.model),
        source.kind,
        f"Keras {version}" if version else None,
        list(_inputs(config)),
        operators=names,
        parameters=_parameters(source),
        size_bytes=source.model.stat().st_size,
        scaling=[one["class_name"] for one in layers[:1] if one["class_name"] in _SCALING],
        ending=_ending(layers[-1]) if layers else None,
    ).completed()


def _layers(config: Any) -> Iterator[dict[str, Any]]:
    """Yield the layers in the order of the file, without the models that contain them."""
    for part, _ in config_parts(config, "?"):
        inner = part.get("config")
        is_layer = isinstance(inner, dict) and ("trainable" in inner or "batch_input_shape" in inner)
        if is_layer and part["class_name"] not in (*_NO_LAYERS, *_WRAPPERS, *_CELLS):
            yield part


def _inputs(config: Mapping[str, Any]) -> Iterator[TensorDescription]:
    """Yield the inputs of the model, but not those of models inside it."""
    inner = config.get("config", {})
    layers = inner if isinstance(inner, list) else inner.get("layers", []) if isinstance(inner, dict) else []
    wanted = {str(one[0]) for one in inner.get("input_layers", ()) if isinstance(one, list) and one} if (
        isinstance(inner, dict)) else set()  # fmt: skip
    for number, layer in enumerate(layers):
        about = layer.get("config", {}) if isinstance(layer, dict) else {}
        shape = about.get("batch_shape", about.get("batch_input_shape"))
        name = str(about.get("name", layer.get("name", "?") if isinstance(layer, dict) else "?"))
        is_input = layer.get("class_name") == "InputLayer" and (not wanted or name in wanted)
        if isinstance(shape, list) and (is_input or number == 0):
            dtype = about.get("dtype") or "float32"
            yield TensorDescription(name, tuple(shape), dtype if isinstance(dtype, str) else "float32")
            if not wanted:
                return
    first = layers[0] if layers and not wanted else None
    if isinstance(first, dict) and first.get("class_name") in _MODELS:
        yield from _inputs(first)


def _ending(layer: Mapping[str, Any]) -> str:
    if layer["class_name"] == "Softmax":
        return "softmax"
    activation = layer["config"].get("activation", "linear")
    if isinstance(activation, dict):
        activation = activation.get("config", {}).get("name") or activation.get("class_name", "?")
    return _ENDINGS.get(str(activation), str(activation))


def _parameters(source: ModelSource) -> int | None:
    """Count the weights that the file holds, without those of the optimizer."""
    h5py = backend.load("h5py")
    try:
        if source.kind == "keras":
            with (
                zipfile.ZipFile(source.model) as archive,
                archive.open("model.weights.h5") as weights,
                h5py.File(weights, "r") as file,
            ):
                return _sizes(file.get("layers", file))
        with h5py.File(source.weights or source.model, "r") as file:
            return _sizes(file.get("model_weights", file))
    except (OSError, KeyError, zipfile.BadZipFile):
        return None


def _sizes(group: Any) -> int:
    sizes: list[int] = []
    group.visititems(lambda _, one: sizes.append(math.prod(one.shape)) if hasattr(one, "shape") else None)
    return sum(sizes)


def describe_saved_model(source: ModelSource) -> ModelDescription:
    """Describe a SavedModel by its serving signature.

    Raises:
        ModelError: It cannot be loaded, has no signature, or has unsafe operators.
    """
    signature = read_signature(source.model)
    return ModelDescription(
        str(source.model),
        source.kind,
        None,
        [TensorDescription(signature.feed, signature.shape, signature.dtype.name)],
        [
            TensorDescription(name, tuple(one.shape), one.dtype.name)
            for name, one in signature.outputs.items()
        ],
        size_bytes=sum(path.stat().st_size for path in source.model.rglob("*") if path.is_file()),
    ).completed()
