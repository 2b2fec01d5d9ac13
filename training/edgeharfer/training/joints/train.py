"""Train a head on windows of joints, and read tracks with it as `run` does."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeharfer.runtime.inference.manifest import WindowSpec
from edgeharfer.runtime.progress import step
from edgeharfer.runtime.tasks.action import TIME_CONSTANT_S
from edgeharfer.runtime.tasks.joints import JOINT_FEATURES, joint_features
from edgeharfer.runtime.tasks.smoothing import LabelDecision, Smoother
from edgeharfer.runtime.types import BACKGROUND, UNCERTAIN, Floats
from edgeharfer.training.action.networks import ACTION_NETWORKS
from edgeharfer.training.joints.recipe import JointRecipe
from edgeharfer.training.joints.tracks import FALL, JointTrack, to_hot
from edgeharfer.training.joints.windows import cut_window, draw_window, make_fall, vary
from edgeharfer.training.lazy_keras import keras, layers, ops

Report = Callable[[str], None]
OTHERS = "other true joints"
_BATCH = 512


@dataclass(frozen=True, eq=False)
class Windows:
    """Windows drawn for training.

    Attributes:
        features: Float32, (n, frames, JOINT_FEATURES).
        right: Float32, (n, labels): 1 for each right label.
        tracks: Index of the track of each window, (n,).
    """

    features: Floats
    right: Floats
    tracks: NDArray[np.int64]

    def of(self, kept: Sequence[bool]) -> Windows:
        """Return the windows of the tracks that are kept."""
        chosen = np.asarray(kept)[self.tracks]
        return Windows(self.features[chosen], self.right[chosen], self.tracks[chosen])


def draw_windows(tracks: Sequence[JointTrack], recipe: JointRecipe) -> Windows:
    """Draw windows of all classes: the same number for each action, and shares for falls and background."""
    rng = np.random.default_rng(recipe.seed)
    groups = _groups(tracks, recipe)
    features, right, owners = [], [], []
    for (name, members), count in zip(groups.items(), _counts(groups, recipe), strict=True):
        for _ in range(count):
            owner = int(members[rng.integers(len(members))])
            track = tracks[owner]
            joints, end = draw_window(track, recipe.window, rng)
            labels = track.right[end]
            joints = vary(joints, rng)
            if name == "made falls":
                joints, fallen = make_fall(joints, rng)
                labels = frozenset({FALL}) if fallen else None
            if track.source == "true joints":
                joints = recipe.disturbance.scaled(max(0.0, rng.uniform(-0.5, 1.5))).apply(joints, rng)
            if labels is None:
                continue
            features.append(joint_features(joints))
            right.append(to_hot(labels, recipe.labels))
            owners.append(owner)
    return Windows(np.stack(features), np.stack(right), np.array(owners))


def _groups(tracks: Sequence[JointTrack], recipe: JointRecipe) -> dict[str, list[int]]:
    """Return the tracks of each action with true joints, of each source, and those that can fall."""
    groups: dict[str, list[int]] = defaultdict(list)
    for index, track in enumerate(tracks):
        if track.source != "true joints":
            falls = FALL in track.right[-1] if track.right[-1] else False
            groups[f"{track.source} {'falls' if falls else ''}".strip()].append(index)
            continue
        [label] = track.right[0] or ("",)
        groups[label if label != BACKGROUND else OTHERS].append(index)
        if label in ("walk", "wave", "clap", "throw", "push", BACKGROUND):
            groups["made falls"].append(index)
    return dict(groups)


def _counts(groups: Mapping[str, Sequence[int]], recipe: JointRecipe) -> list[int]:
    """Return the number of windows of each group."""
    known = (*recipe.actions, OTHERS)
    backgrounds = [name for name in groups if name not in known and "falls" not in name]
    falls = [name for name in groups if "falls" in name]
    counts = []
    for name in groups:
        if name == OTHERS:
            share = recipe.other_share
        elif name in backgrounds:
            share = recipe.background_share / len(backgrounds)
        elif name in falls:
            share = recipe.fall_share / len(falls)
        else:
            actions = len(recipe.actions)
            share = (1 - recipe.background_share - recipe.fall_share - recipe.other_share) / actions
        counts.append(round(recipe.windows * share))
    return counts


def joint_head(recipe: JointRecipe) -> keras.Model:
    """Build a head: normalisation, dropout, a network of ACTION_NETWORKS, and a dense layer.

    Returns:
        A model from (n, frames, JOINT_FEATURES) to probabilities (n, labels).
    """
    window = keras.Input((recipe.frames, JOINT_FEATURES), name="window")
    x = layers.BatchNormalization(name="scale")(window)
    x = layers.Dropout(recipe.feature_dropout, noise_shape=(None, 1, JOINT_FEATURES), name="hide")(x)
    build = ACTION_NETWORKS[recipe.arch].build
    assert build is not None, "the recipe checks the network"
    x = build(x, recipe.units, recipe.pool)
    x = layers.Dropout(recipe.dropout, name="dropout")(x)
    x = layers.Dense(len(recipe.labels), name="temporal")(x)
    return keras.Model(window, layers.Activation("softmax", name="probs")(x), name="head")


def train_head(windows: Windows, recipe: JointRecipe, report: Report = lambda line: None) -> keras.Model:
    """Train a head; the loss is the negative logarithm of the probability of all right labels together."""
    keras.utils.set_random_seed(recipe.seed)
    head = joint_head(recipe)
    steps = recipe.epochs * -(-len(windows.features) // recipe.batch)
    rate = keras.optimizers.schedules.CosineDecay(recipe.learning_rate, steps)
    head.compile(
        optimizer=keras.optimizers.AdamW(rate, weight_decay=recipe.weight_decay),
        loss=any_of_loss(recipe.label_smoothing),
    )
    with step("training", recipe.epochs) as advance:

        def show(epoch: int, logs: Mapping[str, float]) -> None:
            advance(1, f"epoch {epoch + 1}/{recipe.epochs}  loss {logs['loss']:.3f}")

        fitted = head.fit(
            windows.features,
            windows.right,
            batch_size=recipe.batch,
            epochs=recipe.epochs,
            shuffle=True,
            verbose=0,
            callbacks=[keras.callbacks.LambdaCallback(on_epoch_end=show)],
        )
    report(f"trained on {len(windows.features)} windows: loss {fitted.history['loss'][-1]:.3f}")
    return head


def any_of_loss(smoothing: float) -> Callable[[object, object], object]:
    """Return the loss of windows with several right labels."""

    def loss(right: object, probs: object) -> object:
        eased = (1 - smoothing) * right + smoothing / right.shape[-1]  # type: ignore[operator, attr-defined]
        return -ops.log(ops.sum(eased * probs, axis=-1) + 1e-7)

    return loss


Classify = Callable[[Floats], Floats]
"""Features of windows (n, frames, JOINT_FEATURES) to probabilities (n, labels)."""


def classifier(head: keras.Model) -> Classify:
    """Return the function of a trained head."""

    def classify(features: Floats) -> Floats:
        parts = [head(features[at : at + _BATCH], training=False) for at in range(0, len(features), _BATCH)]
        return np.concatenate([np.asarray(ops.convert_to_numpy(part), np.float32) for part in parts])

    return classify


def classify_clips(
    classify: Classify,
    tracks: Sequence[JointTrack],
    window: WindowSpec,
    disturb: Callable[[Floats], Floats] = lambda joints: joints,
) -> Floats:
    """Return the mean probabilities of the windows that contain a whole clip, float32, (clips, labels)."""
    ends = (0.0, 0.125, 0.25, 0.375)
    features = [
        joint_features(disturb(cut_window(track, track.seconds + after, window)))
        for track in tracks
        for after in ends
    ]
    mean: Floats = classify(np.stack(features)).reshape(len(tracks), len(ends), -1).mean(axis=1)
    return mean


@dataclass(frozen=True)
class LiveReading:
    """What `run` reports at one moment of a track.

    Attributes:
        at_s: Time in the track.
        label: A label, "background" or "uncertain".
    """

    at_s: float
    label: str


def read_live(classify: Classify, track: JointTrack, recipe: JointRecipe) -> list[LiveReading]:
    """Return the readings of a track with joints at the rate of the window, as the action task makes them."""
    frames = recipe.frames
    if len(track.joints) < frames:
        return []
    starts = range(len(track.joints) - frames + 1)
    probs = classify(np.stack([joint_features(track.joints[start : start + frames]) for start in starts]))
    smoother = Smoother(TIME_CONSTANT_S)
    decision = LabelDecision(
        recipe.labels, recipe.threshold, background_threshold=recipe.background_threshold or None
    )
    readings = []
    for start, row in zip(starts, probs, strict=True):
        at_s = (start + frames - 1) / track.fps
        readings.append(LiveReading(at_s, decision.choose(smoother.update(row, at_s))[0]))
    return readings


def shares(readings: Sequence[LiveReading]) -> dict[str, float]:
    """Return the shares of ready readings that are named, "uncertain" and "background"."""
    count = max(1, len(readings))
    uncertain, background = (sum(one.label == name for one in readings) for name in (UNCERTAIN, BACKGROUND))
    return {
        "named": (len(readings) - uncertain - background) / count,
        UNCERTAIN: uncertain / count,
        BACKGROUND: background / count,
    }
