"""Every action architecture: one kind of head, exported and streamed in the same way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

keras = pytest.importorskip("keras")

from edgeharfer.export import export_model  # noqa: E402
from edgeharfer.runtime.errors import ConfigError  # noqa: E402
from edgeharfer.runtime.inference.preprocess import preprocess_images  # noqa: E402
from edgeharfer.runtime.tasks.action import ActionModel, FeatureRing  # noqa: E402
from edgeharfer.runtime.types import Image  # noqa: E402
from edgeharfer.training.action.confidence import fold_temperature  # noqa: E402
from edgeharfer.training.action.networks import ACTION_NETWORKS, MOTION, action_head, action_model  # noqa: E402
from edgeharfer.training.action.recipe import ActionRecipe  # noqa: E402

FRAMES, SIDE, CLASSES = 6, 16, 3
HEADS: dict[str, dict[str, Any]] = {
    "lstm": {},
    "lstm, mean": {"pool": "mean"},
    "lstm alone": {"linear_branch": False, "feature_dropout": 0.0},
    "mean": {"arch": "mean", "squash": 2.0},
    "tcn": {"arch": "tcn", "squash": 2.0},
    "linear": {"arch": "linear"},
    "tcn, mean, alone": {"arch": "tcn", "pool": "mean", "linear_branch": False},
}


def encoder() -> Any:
    """A small CNN in place of MobileNetV2."""
    picture = keras.Input((SIDE, SIDE, 3))
    x = keras.layers.Conv2D(10, 3, strides=2, activation="relu")(picture)
    return keras.Model(picture, keras.layers.GlobalAveragePooling2D()(x))


def made_head(**settings: Any) -> Any:
    """A head with all its weights set, those of the linear branch too."""
    keras.utils.set_random_seed(3)
    head = action_head(FRAMES, 10, CLASSES, units=7, **settings)
    rng = np.random.default_rng(4)
    head.set_weights([array + rng.normal(0, 0.2, array.shape) for array in head.get_weights()])
    return head


def test_every_architecture_is_tried() -> None:
    assert {settings.get("arch", "lstm") for settings in HEADS.values()} == {*ACTION_NETWORKS} - {MOTION}


@pytest.mark.parametrize("name", HEADS)
def test_a_stream_gives_what_the_whole_model_gives(name: str, tmp_path: Path) -> None:
    model = action_model(encoder(), made_head(**HEADS[name]))
    model.save(tmp_path / "model.keras")
    window = {"frames": FRAMES, "seconds": 1.0, "max_gap_s": 0.5}
    package = export_model(
        tmp_path / "model.keras", tmp_path / "package", task="action", labels=["a", "b", "c"],
        normalize="symmetric", facts={"window": window},
    )  # fmt: skip
    rolls = {"rolling"} if name == "lstm alone" else set()
    assert set(package.manifest.files["fp32"]) == {"encoder", "head"} | rolls
    streamed = ActionModel(package)
    rolling = streamed.rolling()
    assert (rolling is not None) == bool(rolls)
    pictures = np.random.default_rng(5).integers(0, 256, (9, SIDE, SIDE, 3), np.uint8)
    ring = FeatureRing(streamed.window)
    last: list[Image] = []
    for i, picture in enumerate(pictures):
        assert ring.wants(i / FRAMES)
        features = streamed.encode(picture)
        ring.push(i / FRAMES, features)
        scores = rolling.push(features) if rolling is not None else None
        last = [*last, picture][-FRAMES:]
        if ring.ready:
            whole = np.asarray(model(preprocess_images(last, package.manifest.input)[None]))[0]
            np.testing.assert_allclose(streamed.classify(ring.window()), whole, atol=1e-5)
            if scores is not None:
                np.testing.assert_allclose(scores[0], whole, atol=1e-5)
    assert len(last) == FRAMES


def test_the_plain_head_is_an_lstm_and_a_dense_layer() -> None:
    head = action_head(16, 1280, 20, linear_branch=False, feature_dropout=0.0)
    kinds = [type(layer).__name__ for layer in head.layers]
    assert kinds == ["InputLayer", "LSTM", "Dropout", "Dense", "Activation"]
    assert head.get_layer("lstm").units == 128


@pytest.mark.parametrize("frames", [2, 7, 16, 40])
def test_convolutions_see_the_whole_window_and_nothing_later(frames: int) -> None:
    keras.utils.set_random_seed(1)
    head = action_head(frames, 5, 2, arch="tcn", units=6, linear_branch=False)
    trunk = keras.Model(head.input, head.get_layer("end").input)
    x = np.random.default_rng(0).normal(size=(1, frames, 5)).astype(np.float32)
    first, last = x.copy(), x.copy()
    first[0, 0] += 3
    last[0, -1] += 3
    plain = np.asarray(trunk(x))[0]
    assert np.abs(np.asarray(trunk(first))[0, -1] - plain[-1]).max() > 1e-6
    np.testing.assert_allclose(np.asarray(trunk(last))[0, :-1], plain[:-1], atol=1e-6)


@pytest.mark.parametrize("linear_branch", [True, False])
def test_a_temperature_goes_into_whatever_branches_there_are(linear_branch: bool) -> None:
    head = made_head(linear_branch=linear_branch)
    x = np.random.default_rng(0).random((4, FRAMES, 10)).astype(np.float32)
    sharp = np.log(np.asarray(head(x)))
    fold_temperature(head, 2.0)
    soft = np.log(np.asarray(head(x)))
    gaps = sharp[:, :1] - sharp[:, 1:]
    np.testing.assert_allclose(2 * (soft[:, :1] - soft[:, 1:]), gaps, atol=1e-4)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"arch": "gru"}, "arch = 'gru': choose from lstm, mean, tcn"),
        ({"pool": "max"}, "pool = 'max'"),
        ({"sampling": "random"}, "sampling = 'random'"),
        ({"schedule": "plateau"}, "schedule = 'plateau'"),
        ({"folds": 1}, "choose at least 2, or 0 for one fold per group"),
        ({"grouping": "people"}, "grouping = 'people'"),
        ({"grouping": "subject", "subject": "person"}, "expected one group, found 0"),
    ],
)
def test_settings_that_there_are_not(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ActionRecipe(**settings)
