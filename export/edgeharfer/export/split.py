"""A clip model TimeDistributed(CNN) -> recurrent head, cut into an encoder per frame and a head.

A frame stands in many windows, so its features are computed once and the head runs on the last few.
The cut is found in the layer graph: from the input on, layers that treat each frame by itself belong
to the encoder; the tensor that leaves them is the window of features that the head takes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edgeharfer.export import backend
from edgeharfer.runtime.errors import ConfigError, ModelError

# Layers that do the same to every value, or nothing at inference, whatever axes there are.
_ELEMENTWISE = ("Rescaling", "Activation", "ReLU", "LeakyReLU", "ELU", "Identity")
_TRAINING_ONLY = ("Dropout", "SpatialDropout1D", "GaussianNoise", "GaussianDropout", "AlphaDropout")
_RECURRENT = ("LSTM", "GRU", "SimpleRNN")


@dataclass(frozen=True)
class Split:
    """Two functional models.

    encoder: (batch, height, width, channels) -> (batch, features).
    head: (batch, frames, features) -> (batch, classes).
    """

    encoder: Any
    head: Any
    frames: int
    features: int


def split_model(model: Any, name: str, frames: int | None = None) -> Split:
    """Cut a functional clip model. `frames` is needed where its time axis is free.

    Raises ModelError with the reason where it is not of this family.
    """
    keras = backend.load("keras")
    shape = model.inputs[0].shape
    length = shape[1] or frames
    if length is None:
        raise ConfigError(f"{name}: the number of frames is free: its record must give window.frames")
    frame = keras.Input(shape[2:], name="image")
    features, window = _walk(model, frame, length, name)
    head = plain_recurrence(keras.Model(window, model.outputs[0]))
    return Split(keras.Model(frame, features), head, length, int(features.shape[-1]))


def plain_recurrence(model: Any) -> Any:
    """The same model with recurrent layers that convert to one operator each.

    `unroll` writes out every step, `recurrent_dropout` (idle at inference) makes a loop.
    """
    keras = backend.load("keras")
    if not any(_needs_plain(one) for one in model._flatten_layers()):
        return model

    def clone(layer: Any) -> Any:
        config = layer.get_config()
        for part in (
            config,
            *(config[key]["config"] for key in ("layer", "backward_layer") if config.get(key)),
        ):
            part.update({key: value for key, value in _PLAIN.items() if key in part})
        return type(layer).from_config(config)

    plain = keras.models.clone_model(model, clone_function=clone)
    plain.set_weights(model.get_weights())
    return plain


_PLAIN = {"unroll": False, "recurrent_dropout": 0.0, "stateful": False}


def _needs_plain(layer: Any) -> bool:
    return type(layer).__name__ in _RECURRENT and any(
        getattr(layer, key, value) != value for key, value in _PLAIN.items()
    )


def _walk(model: Any, frame: Any, length: int, name: str) -> tuple[Any, Any]:
    """The encoder's last tensor, and the tensor of the whole model that it stands for."""
    per_frame = {id(model.inputs[0]): (model.inputs[0], frame)}
    cuts: dict[int, Any] = {}
    # Keras has no public way to see the calls of its graph; depth runs down towards the outputs.
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
        raise ModelError(f"{name}: cannot be split: no layer looks at several frames")
    mixer = next(iter(cuts.values()))
    shown = f"layer {mixer.name!r} ({type(mixer).__name__})"
    if id(model.inputs[0]) in cuts:
        raise ModelError(f"{name}: cannot be split: {shown} mixes frames before any TimeDistributed layer")
    if len(cuts) > 1:
        raise ModelError(
            f"{name}: cannot be split: {shown} is not the only one that takes features of frames"
        )
    tensor, features = per_frame[next(iter(cuts))]
    if len(features.shape) != 2 or features.shape[-1] is None:
        raise ModelError(f"{name}: cannot be split: a frame's features are not one vector before {shown}")
    return features, tensor


def _one_frame(operation: Any, frame: Any, length: int) -> Any:
    """What an operation on all frames does to one of them, or None if it mixes frames."""
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
