"""The linear branch of an action head, solved in closed form, on made-up features."""

from __future__ import annotations

import keras
import numpy as np

from edgeharfer.runtime.inference.manifest import WindowSpec
from edgeharfer.training.action.clips import EncodedClip
from edgeharfer.training.action.confidence import fold_temperature, scale_branch
from edgeharfer.training.action.linear import fit_linear, set_linear_branch, squash
from edgeharfer.training.action.networks import action_head
from edgeharfer.training.action.sampling import TimedWindows

WINDOW = WindowSpec(frames=4, seconds=2.0, max_gap_s=0.5)
SAMPLER = TimedWindows(WINDOW)


class MadeClip:
    """As much of a clip as the fit looks at: windows of features around its class's own direction."""

    views = ()

    def __init__(self, label: int, rng: np.random.Generator) -> None:
        base = np.full(12, 0.2)
        base[label] = 1.0
        self._windows = np.abs(base + rng.normal(0, 0.1, (3, 4, 12))).astype(np.float32)

    def windows(self, window: WindowSpec) -> np.ndarray:
        return self._windows


def made_clips(count: int, seed: int) -> tuple[list[EncodedClip], np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    return [MadeClip(int(label), rng) for label in labels], labels  # type: ignore[misc]


def fitted(ridge: float) -> tuple[np.ndarray, np.ndarray]:
    clips, labels = made_clips(30, 0)
    weights = np.full(30, 1 / 30)
    return fit_linear(clips, labels, weights, 3, SAMPLER, gain=5.0, ridge=ridge, view_windows=0, seed=0)


def test_unseen_clips_are_told_apart() -> None:
    kernel, bias = fitted(0.1)
    clips, labels = made_clips(60, 1)
    means = np.stack([clip.windows(WINDOW).mean(axis=(0, 1)) for clip in clips])
    assert ((squash(means, 5.0) @ kernel + bias).argmax(axis=1) == labels).mean() == 1.0


def test_a_larger_penalty_gives_smaller_weights_and_an_endless_one_none() -> None:
    sizes = [np.abs(fitted(ridge)[0]).sum() for ridge in (0.01, 1.0, 100.0, 1e9)]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] < 1e-5


def test_squashing_is_what_the_network_does() -> None:
    x = np.linspace(0, 3, 50, dtype=np.float32)
    np.testing.assert_allclose(
        squash(x, 7.0), keras.ops.convert_to_numpy(keras.ops.softsign(7 * x)), atol=1e-6
    )


def test_the_bias_holds_the_shares_of_the_classes() -> None:
    clips, labels = made_clips(30, 0)
    weights = np.where(labels == 2, 0.08, 0.01)
    kernel, bias = fit_linear(
        clips, labels, weights, 3, SAMPLER, gain=5.0, ridge=1e9, view_windows=0, seed=0
    )  # fmt: skip
    assert np.abs(kernel).max() < 1e-5
    np.testing.assert_allclose(bias, [0.1, 0.1, 0.8], atol=1e-4)


def test_of_two_guises_of_a_class_the_likelier_counts() -> None:
    head = action_head(4, 12, 2, arch="linear", linear_gain=5.0, auxiliary_class=1)
    rng = np.random.default_rng(6)
    window = np.abs(rng.normal(0, 1, (40, 4, 12))).astype(np.float32)
    features = squash(window.mean(axis=1), 5.0)
    kernel = rng.normal(0, 1, (12, 3)).astype(np.float32)
    bias = -features.mean(axis=0) @ kernel
    set_linear_branch(head, kernel, bias, 1.0)
    scores = features @ kernel + bias
    assert 0 < (scores[:, 2] > scores[:, 1]).sum() < 40
    logits = np.stack([scores[:, 0], scores[:, 1:].max(axis=1)], axis=1)
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(np.asarray(head(window)), expected, atol=1e-5)


def test_a_head_adds_the_logits_of_both_branches() -> None:
    head = action_head(4, 12, 3, units=5, pool="mean", linear_gain=5.0)
    kernel, bias = fitted(0.1)
    set_linear_branch(head, kernel, bias, 10.0)
    scale_branch(head, "temporal", 0.0)
    window = np.abs(np.random.default_rng(2).normal(0, 1, (6, 4, 12))).astype(np.float32)
    logits = 10 * (squash(window.mean(axis=1), 5.0) @ kernel + bias)
    expected = np.exp(logits - logits.max(axis=1, keepdims=True))
    expected /= expected.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(np.asarray(head(window)), expected, atol=1e-5)
    fold_temperature(head, 2.0)
    softer = np.sqrt(expected) / np.sqrt(expected).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(np.asarray(head(window)), softer, atol=1e-5)
