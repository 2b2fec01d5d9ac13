"""Splitting of a clip model, TimeDistributed(CNN) and a recurrent head, into a frame encoder and a head.

A frame belongs to many windows, so its features are computed once and the head runs on the most recent ones.
The split point is found in the layer graph: from the input on, layers that process each frame separately
belong to the encoder, and their output is the window of features that the head reads.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any

from edgeharfer.export import backend
from edgeharfer.runtime.errors import ConfigError, ModelError


class NotSplitError(ModelError):
    """A clip model does not consist of a frame encoder and a head; the message gives the reason."""


# Layers that apply the same function to every value, or do nothing at inference, whatever the axes.
_ELEMENTWISE = ("Rescaling", "Activation", "ReLU", "LeakyReLU", "ELU", "Identity")
_TRAINING_ONLY = ("Dropout", "SpatialDropout1D", "GaussianNoise", "GaussianDropout", "AlphaDropout")
_RECURRENT = ("LSTM", "GRU", "SimpleRNN")


@dataclass(frozen=True)
class SplitModel:
    """Two functional models.

    Attributes:
        encoder: (batch, height, width, channels) to (batch, features).
        head: (batch, frames, features) to (batch, classes).
        frames: Number of frames in a window.
        features: Number of features of a frame.
    """

    encoder: Any
    head: Any
    frames: int
    features: int


def split_model(model: Any, name: str, frames: int | None = None) -> SplitModel:
    """Split a functional clip model.

    Args:
        model: The Keras model.
        name: The model, for errors.
        frames: Number of frames, required if the time axis is free.

    Raises:
        NotSplitError: The model does not consist of a frame encoder and a head.
        ConfigError: The number of frames is unknown.
    """
    keras = backend.load("keras")
    model = inline_models(model)
    shape = model.inputs[0].shape
    length = shape[1] or frames
    if length is None:
        raise ConfigError(
            f"{name}: the number of frames is not fixed: pass --frames, or set window.frames in package.json"
        )
    frame = keras.Input(shape[2:], name="image")
    features, window = _walk(model, frame, length, name)
    head = plain_recurrence(keras.Model(window, model.outputs[0]))
    return SplitModel(keras.Model(frame, features), head, length, int(features.shape[-1]))


def plain_recurrence(model: Any) -> Any:
    """Replace recurrent layers by equal ones that convert to ONNX without loops.

    An LSTM with the usual activations converts to one operator if it is neither unrolled nor has recurrent
    dropout, which does nothing at inference but makes TensorFlow build a loop. Other recurrent layers would
    become loops, so they are unrolled.
    """
    keras = backend.load("keras")
    if not any(_needs_plain(one) for one in model._flatten_layers()):
        return model

    def clone(layer: Any) -> Any:
        config = layer.get_config()
        config.update(_plain(type(layer).__name__, config))
        for key in ("layer", "backward_layer"):
            if inner := config.get(key):
                inner["config"].update(_plain(inner["class_name"], inner["config"]))
        return type(layer).from_config(config)

    plain = keras.models.clone_model(model, clone_function=clone)
    plain.set_weights(model.get_weights())
    return plain


def _plain(kind: str, config: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of a layer that have to change."""
    usual = (config.get("activation"), config.get("recurrent_activation")) == ("tanh", "sigmoid")
    wanted = {"unroll": kind != "LSTM" or not usual, "recurrent_dropout": 0.0, "stateful": False}
    return {key: value for key, value in wanted.items() if kind in _RECURRENT and config.get(key) != value}


def _needs_plain(layer: Any) -> bool:
    kind = type(layer).__name__
    return kind in _RECURRENT and bool(_plain(kind, layer.get_config()))


def inline_models(model: Any) -> Any:
    """Replace nested models of a functional model by their layers, with shared weights."""
    keras = backend.load("keras")
    if not any(isinstance(one, keras.Model) for one in model.operations):
        return model
    given = keras.Input(model.inputs[0].shape[1:], name=model.inputs[0].name)
    return keras.Model(given, _inline(model, given))


def _inline(model: Any, given: Any) -> Any:
    keras = backend.load("keras")
    functional = keras.Model(model.inputs, model.outputs) if isinstance(model, keras.Sequential) else model

    def operation(one: Any) -> Any:
        nested = isinstance(one, keras.Model) and len(getattr(one, "inputs", None) or ()) == 1
        return (lambda tensor, **kwargs: _inline(one, tensor)) if nested else one

    # Keras has no public method that traverses a graph of layers and keeps them.
    outputs = functional._run_through_graph([given], operation_fn=operation)
    return outputs[0] if isinstance(outputs, list) else outputs


def _walk(model: Any, frame: Any, length: int, name: str) -> tuple[Any, Any]:
    """Return the encoder's output, and the tensor of the whole model that it corresponds to."""
    per_frame = {id(model.inputs[0]): (model.inputs[0], frame)}
    cuts: dict[int, Any] = {}
    # Keras has no public access to the calls of its graph; depth decreases towards the outputs.
    for _, nodes in sorted(model._nodes_by_depth.items(), reverse=True):
        for node in nodes:
            known = [per_frame[id(one)] for one in node.input_tensors if id(one) in per_frame]
            result = _one_frame(node.operation, known[0][1], length) if len(known) == 1 else None
            if result is not None and len(node.input_tensors) == 1:
                per_frame[id(node.output_tensors[0])] = node.output_tensors[0], result
            elif known:
                cuts.update({id(tensor): node.operation for tensor, _ in known})
    return _only_cut(model, per_frame, cuts, name)


def _only_cut(model: Any, per_frame: Any, cuts: dict[int, Any], name: str) -> tuple[Any, Any]:
    if not cuts:
        raise NotSplitError(f"{name}: cannot be split: no layer combines frames")
    mixer = next(iter(cuts.values()))
    shown = f"layer {mixer.name!r} ({type(mixer).__name__})"
    if id(model.inputs[0]) in cuts:
        raise NotSplitError(f"{name}: cannot be split: {shown} mixes frames before any TimeDistributed layer")
    tensor, features = per_frame[next(iter(cuts))] if len(cuts) == 1 else _common(model, per_frame)
    if tensor is None:
        raise NotSplitError(
            f"{name}: cannot be split: {shown} is not the only layer that reads features of frames"
        )
    if len(features.shape) != 2 or features.shape[-1] is None:
        raise NotSplitError(f"{name}: cannot be split: a frame's features are not one vector before {shown}")
    return features, tensor


def _common(model: Any, per_frame: Any) -> tuple[Any, Any]:
    """Return the last frame features that all paths to the output pass, or None twice.

    A head may read them both before and after a layer that processes frames separately, such as dropout.
    """
    keras = backend.load("keras")
    for tensor, features in reversed(per_frame.values()):
        if len(features.shape) == 2:
            # Keras raises ValueError if the output depends on more than this tensor.
            with contextlib.suppress(ValueError):
                keras.Model(tensor, model.outputs[0])
                return tensor, features
    return None, None


def _one_frame(operation: Any, frame: Any, length: int) -> Any:
    """Apply an operation on all frames to one of them; None if it combines frames."""
    keras = backend.load("keras")
    kind = type(operation).__name__
    if kind == "TimeDistributed":
        return operation.layer(frame)
    if kind in _TRAINING_ONLY:
        return frame
    if kind in _ELEMENTWISE and getattr(operation, "activation", None) is not keras.activations.softmax:
        return operation(frame)
    target = getattr(operation, "target_shape", None)
    if kind == "Reshape" and target and target[0] == length and len(target) > 1:
        return keras.layers.Reshape(target[1:])(frame)
    return None
