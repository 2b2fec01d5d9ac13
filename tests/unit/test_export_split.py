"""The cut of clip models into encoder and head, found in the layer graph."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgeharfer.export import backend
from edgeharfer.export.keras_model import as_functional
from edgeharfer.export.split import NotSplitError, plain_recurrence, split_model
from edgeharfer.runtime.errors import ConfigError

keras: Any = backend.load("keras")
layers: Any = keras.layers

FRAMES, SIZE, CLASSES = 4, 12, 3


def cnn() -> Any:
    return keras.Sequential(
        [keras.Input((SIZE, SIZE, 3)), layers.Conv2D(5, 3), layers.ReLU(), layers.GlobalAveragePooling2D()]
    )


def clip(frames: int | None = FRAMES) -> Any:
    return keras.Input((frames, SIZE, SIZE, 3))


def scores(x: Any) -> Any:
    return layers.Dense(CLASSES, activation="softmax")(x)


def sequential() -> Any:
    return keras.Sequential(
        [clip(), layers.TimeDistributed(cnn()), layers.LSTM(4), layers.Dropout(0.5), layers.Dense(CLASSES)]
    )


def chain() -> Any:
    """Single layers wrapped one by one, with others between that treat each frame by itself."""
    x = layers.Rescaling(1 / 127.5, -1)(given := clip())
    x = layers.TimeDistributed(layers.Conv2D(4, 3))(x)
    x = layers.Activation("relu")(x)
    x = layers.Dropout(0.3)(x)
    x = layers.TimeDistributed(layers.MaxPooling2D())(x)
    x = layers.TimeDistributed(layers.Flatten())(x)
    return keras.Model(given, scores(layers.GRU(4)(layers.SpatialDropout1D(0.2)(x))))


def reshaped() -> Any:
    x = layers.TimeDistributed(layers.Conv2D(2, 3, strides=3))(given := clip())
    x = layers.Reshape((FRAMES, -1))(x)
    return keras.Model(given, scores(layers.Bidirectional(layers.LSTM(3))(x)))


def nested() -> Any:
    return keras.Sequential([clip(), sequential()])


def residual_head() -> Any:
    """A head that uses its window twice."""
    x = layers.TimeDistributed(cnn())(given := clip())
    x = layers.Concatenate()([layers.LSTM(4)(x), layers.GlobalAveragePooling1D()(x)])
    return keras.Model(given, scores(x))


def dropped_for_one() -> Any:
    """A head that takes its window as it is and through a dropout."""
    x = layers.TimeDistributed(cnn())(given := clip())
    x = layers.Concatenate()([layers.LSTM(4)(layers.Dropout(0.5)(x)), layers.GlobalAveragePooling1D()(x)])
    return keras.Model(given, scores(x))


def distributed_head() -> Any:
    """TimeDistributed stands in the head too."""
    x = layers.TimeDistributed(cnn())(given := clip())
    x = layers.TimeDistributed(layers.Dense(4))(layers.LSTM(4, return_sequences=True)(x))
    return keras.Model(given, scores(layers.GlobalAveragePooling1D()(x)))


def nested_in_the_middle() -> Any:
    inner = keras.Model(given := clip(), layers.LSTM(4)(layers.TimeDistributed(cnn())(given)))
    return keras.Model(outer := clip(), scores(inner(layers.Rescaling(1 / 255)(outer))))


@pytest.mark.parametrize(
    "make",
    [
        sequential,
        chain,
        reshaped,
        nested,
        residual_head,
        dropped_for_one,
        distributed_head,
        nested_in_the_middle,
    ],
)
def test_encoder_and_head_are_the_whole_model(make: Any) -> None:
    model = as_functional(make())
    split = split_model(model, "m")
    clips = np.random.default_rng(3).random((2, FRAMES, SIZE, SIZE, 3), np.float32)
    window = np.stack([np.asarray(split.encoder(one, training=False)) for one in clips])
    assert window.shape == (2, split.frames, split.features)
    streamed = np.asarray(split.head(window, training=False))
    np.testing.assert_allclose(streamed, np.asarray(model(clips, training=False)), atol=1e-6)


def test_a_free_number_of_frames_must_be_given() -> None:
    x = layers.TimeDistributed(cnn())(given := clip(None))
    model = keras.Model(given, scores(layers.LSTM(4)(x)))
    assert split_model(model, "m", 6).frames == 6
    with pytest.raises(ConfigError, match=r"window\.frames"):
        split_model(model, "m")


def conv3d() -> Any:
    x = layers.Conv3D(2, 3, name="cube")(given := clip())
    return keras.Model(given, scores(layers.GlobalAveragePooling3D()(x)))


def two_streams() -> Any:
    given = clip()
    one, other = layers.TimeDistributed(cnn())(given), layers.TimeDistributed(cnn())(given)
    return keras.Model(given, scores(layers.LSTM(4)(layers.Concatenate(name="both")([one, other]))))


def maps() -> Any:
    x = layers.TimeDistributed(layers.Conv2D(2, 3))(given := clip())
    return keras.Model(given, scores(layers.Flatten()(layers.ConvLSTM2D(2, 3, name="maps")(x))))


def per_frame_only() -> Any:
    return keras.Model(given := clip(), layers.TimeDistributed(cnn())(given))


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (conv3d, r"layer 'cube' \(Conv3D\) mixes frames before any TimeDistributed"),
        (two_streams, r"layer 'both' \(Concatenate\) is not the only layer"),
        (maps, r"features are not one vector before layer 'maps' \(ConvLSTM2D\)"),
        (per_frame_only, "no layer combines frames"),
    ],
)
def test_what_cannot_be_split_says_why(make: Any, reason: str) -> None:
    with pytest.raises(NotSplitError, match=f"^m: cannot be split: .*{reason}"):
        split_model(make(), "m")


def test_recurrent_layers_lose_what_only_training_needs() -> None:
    given = keras.Input((FRAMES, 5))
    x = layers.LSTM(4, unroll=True, return_sequences=True)(given)
    x = layers.Bidirectional(layers.GRU(4, recurrent_dropout=0.3))(x)
    model = keras.Model(given, scores(x))
    plain = plain_recurrence(model)
    assert plain is not model
    assert plain.layers[1].unroll is False
    assert plain.layers[2].forward_layer.recurrent_dropout == 0.0
    assert plain.layers[2].backward_layer.unroll is True
    window = np.random.default_rng(4).random((2, FRAMES, 5), np.float32)
    np.testing.assert_allclose(
        np.asarray(plain(window, training=False)), np.asarray(model(window, training=False)), atol=1e-6
    )
    assert plain_recurrence(plain) is plain
