"""Train an action head on clip features: balanced windows, mixup, averaged weights."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

import keras
import numpy as np
from numpy.typing import NDArray

from edgeharfer.runtime.errors import ConfigError
from edgeharfer.runtime.progress import step
from edgeharfer.runtime.types import Floats
from edgeharfer.training.action.clips import ClipFeatures, EncodedClip
from edgeharfer.training.action.confidence import scale_branch
from edgeharfer.training.action.find import BACKGROUND
from edgeharfer.training.action.linear import fit_linear, set_linear_branch
from edgeharfer.training.action.networks import action_head
from edgeharfer.training.action.sampling import SAMPLING_MODES, Sampler
from edgeharfer.training.action.summaries import SUMMARIES
from edgeharfer.training.loop import BatchMeter, WeightAverage, describe_epoch
from edgeharfer.training.optimizers import make_optimizer
from edgeharfer.training.registry import ACTION_NETWORKS

Row = dict[str, float]

_BATCH = 256


@dataclass(frozen=True)
class HeadRecipe:
    """Settings of a head and its training.

    Attributes:
        arch: A key of ACTION_NETWORKS.
        units: Hidden units; see `networks.action_head`, also for the next four.
        pool: "last" or "mean".
        squash: Gain of the features' squashing; 0 disables it.
        feature_dropout: Dropout rate of the features.
        dropout: Dropout rate before the last layer.
        optimizer: A key of `optimizers.LEARNING_RATES`.
        learning_rate: Peak learning rate; None uses the optimizer's default.
        schedule: "cosine" or "constant"; "plateau" is not available, since no clip is held out to detect one.
        weight_decay: Decoupled weight decay, with optimizer "adamw".
        batch: Batch size.
        epoch_windows: Windows per epoch.
        epochs: Number of epochs.
        ema: Decay of the moving average of the weights.
        label_smoothing: Label smoothing.
        evenness: Balance of classes with few and many clips; see `draw_weights`.
        aside_share: Share of the weight in the linear branch of background clips that are labelled with a
            class of the data (`EncodedClip.aside`). A large share reduces accuracy on the data's own clips.
        mixup_probability: Share of batches with mixup.
        mixup_alpha: Parameter of mixup's beta distribution.
        sampling: "time" or "uniform"; see `sampling`.
        speed: Largest relative change of playback speed.
        jitter: Largest shift of a frame, in steps.
        plain_share: Share of windows drawn from clips without augmentation.
        linear_branch: Add a linear classifier of summaries of the window.
        summaries: What it reads, keys of SUMMARIES.
        linear_gain: Gain of the linear branch's squashing.
        ridge: Ridge penalty of the linear branch.
        view_windows: Windows drawn from each augmented copy for the linear branch.
        clip_windows: Most windows of a clip itself for the linear branch, spread evenly; 0 takes all.
        background_bias: Added to the background's logit in the linear branch; a larger one names fewer
            actions.
        background_weight: Weight of the background in the linear branch, in multiples of the mean weight of
            the other classes; 0 leaves it as `evenness` makes it.
        background_outputs: Represent each source of background by an output of its own in the linear branch,
            of which the largest counts. A wall and a face have little in common.
        emphasised: Classes that count more in the linear branch: those of which hardly a clip is found.
        emphasis: How much more, as a factor.
        linear_scale: Factor from the linear branch's outputs to logits.
        temporal_weight: Factor of the temporal branch's logits before the branches are added.
        seed: Seed of all random draws.

    Raises:
        ConfigError: Unknown name, or a head without any branch.
    """

    arch: str = "lstm"
    units: int = 128
    pool: str = "mean"
    squash: float = 2.0
    feature_dropout: float = 0.5
    dropout: float = 0.5
    optimizer: str = "adamw"
    learning_rate: float | None = 1e-3
    schedule: str = "cosine"
    weight_decay: float = 0.05
    batch: int = 64
    epoch_windows: int = 1280
    epochs: int = 16
    ema: float = 0.99
    label_smoothing: float = 0.1
    evenness: float = 0.5
    aside_share: float = 0.1
    mixup_probability: float = 0.5
    mixup_alpha: float = 0.4
    sampling: str = "time"
    speed: float = 0.2
    jitter: float = 0.0
    plain_share: float = 0.2
    linear_branch: bool = True
    summaries: tuple[str, ...] = ("mean",)
    linear_gain: float = 20.0
    ridge: float = 3.0
    view_windows: int = 2
    clip_windows: int = 0
    background_bias: float = 0.0
    background_weight: float = 0.0
    background_outputs: bool = False
    emphasised: tuple[str, ...] = ()
    emphasis: float = 2.0
    linear_scale: float = 14.0
    temporal_weight: float = 0.5
    seed: int = 1

    def __post_init__(self) -> None:
        check_name("arch", self.arch, ACTION_NETWORKS)
        check_name("pool", self.pool, ("last", "mean"))
        check_name("schedule", self.schedule, ("cosine", "constant"))
        check_name("sampling", self.sampling, SAMPLING_MODES)
        for name in self.summaries:
            check_name("summaries", name, SUMMARIES)
        if self.solved and not self.linear_branch:
            raise ConfigError(f"arch = {self.arch!r} has only the linear branch: set linear_branch = true")

    @property
    def solved(self) -> bool:
        """Whether the whole head is solved in closed form, without epochs."""
        return ACTION_NETWORKS[self.arch].build is None


def check_name(setting: str, name: str, names: Collection[str]) -> None:
    """Check that `name` is one of `names`.

    Raises:
        ConfigError: It is not.
    """
    if name not in names:
        raise ConfigError(f"{setting} = {name!r}: choose from {', '.join(names)}")


def train_head(
    clips: Sequence[EncodedClip],
    labels: NDArray[np.int64],
    classes: int,
    sampler: Sampler,
    recipe: HeadRecipe,
    *,
    evaluate: Callable[[keras.Model], Row] = lambda head: {},
    report: Callable[[str], None] = lambda line: None,
    name: str = "head",
) -> tuple[keras.Model, list[Row]]:
    """Train a head for a fixed number of epochs; held-out clips never influence it.

    Args:
        clips: Training clips.
        labels: Class of each clip, (clips,).
        classes: Number of classes.
        sampler: Makes windows of clips.
        recipe: All settings.
        evaluate: Called after each epoch; its figures are added to the epoch's row.
        report: Receives progress messages.
        name: Name of the head, to report progress.

    Returns:
        The head and one row per epoch.
    """
    keras.utils.set_random_seed(recipe.seed)
    frames, features = sampler.evaluation_windows(clips[0]).shape[1:]
    outputs = branch_outputs(clips, labels, classes, recipe.background_outputs)
    further = outputs >= classes
    head = action_head(
        frames, features, classes, arch=recipe.arch, units=recipe.units,
        pool=recipe.pool, squash=recipe.squash, feature_dropout=recipe.feature_dropout,
        dropout=recipe.dropout, linear_branch=recipe.linear_branch, linear_gain=recipe.linear_gain,
        summaries=recipe.summaries,
        auxiliary_class=int(labels[further][0]) if further.any() else None,
        auxiliary_outputs=max(1, int(outputs.max()) + 1 - classes),
    )  # fmt: skip
    if recipe.solved:
        fit_linear_branch(head, clips, labels, classes, sampler, recipe)
        return head, [{"epoch": 1, "loss": _loss(head, clips, labels, sampler), **evaluate(head)}]
    steps = max(1, recipe.epoch_windows // recipe.batch)
    optimizer = make_optimizer(
        recipe.optimizer, recipe.learning_rate, recipe.weight_decay, steps * recipe.epochs,
        recipe.schedule,
    )  # fmt: skip
    head.compile(optimizer=optimizer, loss="categorical_crossentropy", metrics=["categorical_accuracy"])
    average, rows = WeightAverage(head, recipe.ema), []
    batch_sampler = BatchSampler(clips, labels, classes, sampler, recipe)
    with step(f"training {name}", steps * recipe.epochs) as advance:
        for epoch in range(recipe.epochs):
            title = f"{name}, epoch {epoch + 1}/{recipe.epochs}"
            meter = BatchMeter(steps)
            for x, y in batch_sampler.batches(steps, np.random.default_rng((recipe.seed, epoch))):
                note = meter.add(head.train_on_batch(x, y, return_dict=True))
                average.update()
                advance(1, note, title)
            raw = head.get_weights()
            head.set_weights(average.weights)
            rows.append({"epoch": epoch + 1, "loss": float(np.mean(meter.losses)), **evaluate(head)})
            report(f"epoch {epoch + 1}/{recipe.epochs}: {describe_epoch(rows[-1])}")
            head.set_weights(raw)
    head.set_weights(average.weights)
    if recipe.linear_branch:
        fit_linear_branch(head, clips, labels, classes, sampler, recipe)
    return head, rows


def fit_linear_branch(
    head: keras.Model,
    clips: Sequence[EncodedClip],
    labels: NDArray[np.int64],
    classes: int,
    sampler: Sampler,
    recipe: HeadRecipe,
) -> None:
    """Solve for the linear branch and scale both branches."""
    outputs = branch_outputs(clips, labels, classes, recipe.background_outputs)
    kernel, bias = fit_linear(
        clips, outputs, branch_weights(clips, labels, recipe), int(max(classes, outputs.max() + 1)), sampler,
        gain=recipe.linear_gain, ridge=recipe.ridge, view_windows=recipe.view_windows, seed=recipe.seed,
        summaries=recipe.summaries, clip_windows=recipe.clip_windows,
    )  # fmt: skip
    calm = np.array([clip.label == BACKGROUND for clip in clips])
    bias[np.unique(outputs[calm])] += recipe.background_bias / recipe.linear_scale
    set_linear_branch(head, kernel, bias, recipe.linear_scale)
    if not recipe.solved:
        scale_branch(head, "temporal", recipe.temporal_weight)


def branch_outputs(
    clips: Sequence[EncodedClip], labels: NDArray[np.int64], classes: int, by_source: bool
) -> NDArray[np.int64]:
    """Return the output of the linear branch that stands for each clip, (clips,).

    Args:
        clips: The clips.
        labels: Class of each clip, (clips,).
        classes: Number of classes. Background clips that are labelled with a class of the data have output
            `classes`.
        by_source: The first source of background has the output of its class, and each other one a further
            output.
    """
    outputs: NDArray[np.int64] = np.where([clip.aside for clip in clips], classes, labels)
    if by_source:
        calm = [clip.is_background and not clip.aside for clip in clips]
        sources = sorted({clip.source for clip, one in zip(clips, calm, strict=True) if one})
        for number, source in enumerate(sources[1:]):
            chosen = [one and clip.source == source for clip, one in zip(clips, calm, strict=True)]
            outputs[chosen] = classes + number
    return outputs


def branch_weights(
    clips: Sequence[EncodedClip], labels: NDArray[np.int64], recipe: HeadRecipe
) -> NDArray[np.float64]:
    """Return the weight of each clip in the linear branch, (clips,), summing to 1."""
    aside = np.array([clip.aside for clip in clips])
    calm = np.array([clip.is_background for clip in clips]) & ~aside
    weights = draw_weights(
        np.where(aside, labels.max() + 1, labels),
        [clip.source for clip in clips],
        recipe.evenness if recipe.solved else 1.0,
    )
    if aside.any():
        weights[aside] *= recipe.aside_share / weights[aside].sum()
        weights[~aside] *= (1 - recipe.aside_share) / weights[~aside].sum()
    if recipe.background_weight and calm.any():
        others = weights[~calm].sum() / max(1, len(np.unique(labels[~calm])))
        weights[calm] *= recipe.background_weight * others / weights[calm].sum()
    weights[[clip.label in recipe.emphasised for clip in clips]] *= recipe.emphasis
    normed: NDArray[np.float64] = weights / weights.sum()
    return normed


def _loss(
    head: keras.Model, clips: Sequence[EncodedClip], labels: NDArray[np.int64], sampler: Sampler
) -> float:
    """Return the mean cross-entropy of the clips' evaluation windows."""
    probs = read_windows(head, [sampler.evaluation_windows(clip) for clip in clips])
    losses = [-np.log(one[:, label]).mean() for one, label in zip(probs, labels, strict=True)]
    return float(np.mean(losses))


class BatchSampler:
    """Draws training batches; clips are chosen by `draw_weights`."""

    def __init__(
        self,
        clips: Sequence[EncodedClip],
        labels: NDArray[np.int64],
        classes: int,
        sampler: Sampler,
        recipe: HeadRecipe,
    ) -> None:
        self._clips, self._labels, self._sampler, self._recipe = clips, labels, sampler, recipe
        self._weights = draw_weights(labels, [clip.source for clip in clips], recipe.evenness)
        self._targets = np.eye(classes, dtype=np.float32) * (1 - recipe.label_smoothing)
        self._targets += recipe.label_smoothing / classes

    def batches(self, steps: int, rng: np.random.Generator) -> Iterator[tuple[Floats, Floats]]:
        """Yield windows (batch, frames, size) and soft targets (batch, classes)."""
        for _ in range(steps):
            drawn = rng.choice(len(self._clips), self._recipe.batch, p=self._weights)
            x = np.stack([self._draw(self._clips[i], rng) for i in drawn])
            y = self._targets[self._labels[drawn]]
            if rng.random() < self._recipe.mixup_probability:
                x, y = self._mix(x, y, rng)
            yield x, y

    def _draw(self, clip: EncodedClip, rng: np.random.Generator) -> Floats:
        return self._sampler.draw(clip, self._choose(self._sampler.tracks(clip), rng), rng)

    def _choose(self, tracks: Sequence[ClipFeatures], rng: np.random.Generator) -> ClipFeatures:
        plain, *views = tracks
        if not views or rng.random() < self._recipe.plain_share:
            return plain
        return views[rng.integers(len(views))]

    def _mix(self, x: Floats, y: Floats, rng: np.random.Generator) -> tuple[Floats, Floats]:
        """Blend each window with another of the batch, frame by frame (mixup, Zhang et al. 2018)."""
        order = rng.permutation(len(x))
        share = rng.beta(self._recipe.mixup_alpha, self._recipe.mixup_alpha, len(x)).astype(np.float32)
        a, b = share[:, None, None], share[:, None]
        return a * x + (1 - a) * x[order], b * y + (1 - b) * y[order]


def draw_weights(labels: NDArray[np.int64], sources: Sequence[str], evenness: float) -> NDArray[np.float64]:
    """Compute the probability of drawing each clip.

    A class of n clips is drawn in proportion to n^(1 - evenness): 1 balances classes, 0 balances clips. The
    same holds for the sources within a class, so that a small source is not drowned by a large one. Clips of
    one class and source are equally likely.

    Args:
        labels: Class of each clip, (clips,).
        sources: Source of each clip.
        evenness: From 0 to 1.

    Returns:
        float64 (clips,), summing to 1.
    """
    share = 1 - evenness
    by_class = Counter(labels.tolist())
    by_source = Counter(zip(labels.tolist(), sources, strict=True))
    total = {label: sum(n**share for (one, _), n in by_source.items() if one == label) for label in by_class}
    weights = np.array([
        by_class[label] ** share * by_source[label, source] ** share / total[label] / by_source[label, source]
        for label, source in zip(labels.tolist(), sources, strict=True)
    ])  # fmt: skip
    normed: NDArray[np.float64] = weights / weights.sum()
    return normed


def read_windows(head: keras.Model, clips: Sequence[Floats]) -> list[Floats]:
    """Predict the windows of each clip.

    Args:
        head: A head.
        clips: Windows (windows, frames, size) of each clip.

    Returns:
        Probabilities (windows, classes) of each clip.
    """
    windows = np.concatenate(clips)
    # Not predict(), which traces the graph again for each head and batch size.
    parts = [head(windows[i : i + _BATCH], training=False) for i in range(0, len(windows), _BATCH)]
    probs = np.concatenate([np.asarray(keras.ops.convert_to_numpy(part), np.float32) for part in parts])
    return np.split(probs, np.cumsum([len(windows) for windows in clips])[:-1])
