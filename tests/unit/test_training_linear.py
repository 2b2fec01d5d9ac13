"""The linear branch of an action head, solved in closed form, on made-up features."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest

from edgeharfer.runtime.inference.manifest import WindowSpec
from edgeharfer.training.action.clips import EncodedClip
from edgeharfer.training.action.confidence import fold_temperature, scale_branch
from edgeharfer.training.action.head import HeadRecipe, branch_outputs, branch_weights
from edgeharfer.training.action.linear import fit_linear, set_linear_branch
from edgeharfer.training.action.networks import action_head
from edgeharfer.training.action.sampling import TimedWindows
from edgeharfer.training.action.summaries import SUMMARIES, summarize

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


class MovingClip(MadeClip):
    """A clip of given windows."""

    def __init__(self, windows: np.ndarray) -> None:
        self._windows = windows


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


def squash(x: np.ndarray, gain: float) -> np.ndarray:
    return np.asarray(gain * x / (1 + np.abs(gain * x)))


def test_a_window_is_summarised_by_mean_change_and_deviation() -> None:
    window = np.random.default_rng(7).normal(0, 1, (5, 4, 12)).astype(np.float32)
    expected = [window.mean(1), np.abs(np.diff(window, axis=1)).mean(1), window.std(1)]
    np.testing.assert_allclose(
        summarize(window, [*SUMMARIES], 7.0), squash(np.concatenate(expected, axis=1), 7.0), atol=1e-5
    )


def test_actions_that_differ_in_motion_alone_are_told_apart_by_their_change() -> None:
    """Both kinds of clips have the same mean; in one the features change from frame to frame."""
    rng = np.random.default_rng(8)
    labels = np.arange(20) % 2
    swing = np.array([1.0, -1.0, 1.0, -1.0])[:, None]
    clips: list[EncodedClip] = [
        MovingClip((0.5 + 0.3 * label * swing + rng.normal(0, 0.05, (3, 4, 12))).astype(np.float32))  # type: ignore[misc]
        for label in labels
    ]

    def right(summaries: tuple[str, ...]) -> float:
        kernel, bias = fit_linear(
            clips, labels, np.full(20, 1 / 20), 2, SAMPLER, gain=5.0, ridge=0.1, view_windows=0, seed=0,
            summaries=summaries,
        )  # fmt: skip
        found = np.stack([summarize(one.windows(WINDOW), summaries, 5.0)[0] for one in clips])
        return float(((found @ kernel + bias).argmax(axis=1) == labels).mean())

    assert right(("mean", "change")) == 1.0
    assert right(("deviation",)) == 1.0


def test_the_bias_holds_the_shares_of_the_classes() -> None:
    clips, labels = made_clips(30, 0)
    weights = np.where(labels == 2, 0.08, 0.01)
    kernel, bias = fit_linear(
        clips, labels, weights, 3, SAMPLER, gain=5.0, ridge=1e9, view_windows=0, seed=0
    )  # fmt: skip
    assert np.abs(kernel).max() < 1e-5
    np.testing.assert_allclose(bias, [0.1, 0.1, 0.8], atol=1e-4)


@pytest.mark.parametrize("further", [1, 3])
def test_of_several_outputs_of_a_class_the_largest_counts(further: int) -> None:
    head = action_head(4, 12, 2, arch="linear", linear_gain=5.0, auxiliary_class=1, auxiliary_outputs=further)
    rng = np.random.default_rng(6)
    window = np.abs(rng.normal(0, 1, (40, 4, 12))).astype(np.float32)
    features = squash(window.mean(axis=1), 5.0)
    kernel = rng.normal(0, 1, (12, 2 + further)).astype(np.float32)
    bias = -features.mean(axis=0) @ kernel
    set_linear_branch(head, kernel, bias, 1.0)
    scores = features @ kernel + bias
    assert 0 < (scores[:, 2:].max(axis=1) > scores[:, 1]).sum() < 40
    logits = np.stack([scores[:, 0], scores[:, 1:].max(axis=1)], axis=1)
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(np.asarray(head(window)), expected, atol=1e-5)


@dataclass(frozen=True)
class NamedClip:
    """As much of a clip as its output and weight depend on."""

    source: str
    label: str = "background"
    is_background: bool = True
    aside: bool = False


def test_each_source_of_background_has_an_output_and_all_together_a_weight() -> None:
    actions = [NamedClip("data", label, is_background=False) for label in ("sit", "wave")]
    clips = [
        *actions[:1] * 4,
        *actions[1:] * 2,
        *[NamedClip("hall")] * 4,
        NamedClip("street"),
        NamedClip("yard"),
    ]
    labels = np.array([0, 0, 0, 0, 1, 1, *[2] * 6])
    outputs = branch_outputs(clips, labels, 3, by_source=True)  # type: ignore[arg-type]
    assert outputs.tolist() == [0, 0, 0, 0, 1, 1, 2, 2, 2, 2, 3, 4]
    assert branch_outputs(clips, labels, 3, by_source=False).tolist() == labels.tolist()  # type: ignore[arg-type]
    recipe = HeadRecipe(arch="linear", evenness=1.0, background_weight=3.0)
    weights = branch_weights(clips, labels, recipe)  # type: ignore[arg-type]
    assert [weights[labels == label].sum() for label in range(3)] == pytest.approx([0.2, 0.2, 0.6])
    assert weights[6:10].sum() == pytest.approx(weights[10])
    more = branch_weights(clips, labels, replace(recipe, emphasised=("wave",)))  # type: ignore[arg-type]
    assert [more[labels == label].sum() for label in range(3)] == pytest.approx([1 / 6, 1 / 3, 1 / 2])


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
