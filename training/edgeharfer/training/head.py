"""Train an action head on the features of clips: balanced windows, mixed and shaken, averaged weights."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import keras
import numpy as np
from numpy.typing import NDArray

from edgeharfer.runtime.manifest import WindowSpec
from edgeharfer.runtime.types import Floats
from edgeharfer.training.architectures import action_head
from edgeharfer.training.clips import Clip
from edgeharfer.training.loop import Average
from edgeharfer.training.optimizers import make_optimizer

Row = dict[str, float]

_BATCH = 256


@dataclass(frozen=True)
class HeadRecipe:
    """The head and how it is trained. epoch_windows: drawn in an epoch, as many from each class."""

    units: int = 128
    pool: str = "mean"
    squash: float = 2.0
    feature_dropout: float = 0.5
    dropout: float = 0.5
    optimizer: str = "adamw"
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    batch: int = 64
    epoch_windows: int = 1280
    epochs: int = 24
    ema: float = 0.99
    label_smoothing: float = 0.1
    mixup_probability: float = 0.5
    mixup_alpha: float = 0.4
    speed: float = 0.2
    plain_share: float = 0.2
    seed: int = 1


def train_head(
    clips: Sequence[Clip],
    labels: NDArray[np.int64],
    classes: int,
    window: WindowSpec,
    recipe: HeadRecipe,
    *,
    watch: Callable[[keras.Model], Row] = lambda head: {},
    report: Callable[[str], None] = lambda line: None,
) -> tuple[keras.Model, list[Row]]:
    """A head trained on clips of given classes, and a row per epoch.

    The length of the training is fixed and nothing is chosen by held-out clips: what `watch` measures
    after each epoch only goes into the rows.
    """
    keras.utils.set_random_seed(recipe.seed)
    head = action_head(
        window.frames, clips[0].plain.features.shape[1], classes, units=recipe.units, pool=recipe.pool, squash=recipe.squash,
        feature_dropout=recipe.feature_dropout, dropout=recipe.dropout,
    )  # fmt: skip
    steps = max(1, recipe.epoch_windows // recipe.batch)
    optimizer = make_optimizer(
        recipe.optimizer, recipe.learning_rate, recipe.weight_decay, steps * recipe.epochs
    )
    head.compile(optimizer=optimizer, loss="categorical_crossentropy")
    average, rows = Average(head, recipe.ema), []
    drawer = WindowDrawer(clips, labels, classes, window, recipe)
    for epoch in range(recipe.epochs):
        losses = []
        for x, y in drawer.batches(steps, np.random.default_rng((recipe.seed, epoch))):
            losses.append(float(head.train_on_batch(x, y, return_dict=True)["loss"]))
            average.update()
        raw = head.get_weights()
        head.set_weights(average.weights)
        rows.append({"epoch": epoch + 1, "loss": float(np.mean(losses)), **watch(head)})
        report("  ".join(f"{key} {value:.4g}" for key, value in rows[-1].items()))
        head.set_weights(raw)
    head.set_weights(average.weights)
    return head, rows


class WindowDrawer:
    """Draws training windows: each class as often as any other, in it each source, in that each clip."""

    def __init__(
        self,
        clips: Sequence[Clip],
        labels: NDArray[np.int64],
        classes: int,
        window: WindowSpec,
        recipe: HeadRecipe,
    ) -> None:
        self._clips, self._recipe, self._window = clips, recipe, window
        self._targets = np.eye(classes, dtype=np.float32) * (1 - recipe.label_smoothing)
        self._targets += recipe.label_smoothing / classes
        by_class: dict[int, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
        for i, label in enumerate(labels):
            by_class[int(label)][clips[i].source].append(i)
        self._by_class = {label: list(sources.values()) for label, sources in by_class.items()}

    def batches(self, steps: int, rng: np.random.Generator) -> Iterator[tuple[Floats, Floats]]:
        """Windows (batch, frames, size) and soft targets (batch, classes)."""
        labels = list(self._by_class)
        for _ in range(steps):
            drawn = rng.choice(labels, self._recipe.batch)
            x = np.stack([self._draw(int(label), rng) for label in drawn])
            y = self._targets[drawn]
            if rng.random() < self._recipe.mixup_probability:
                x, y = self._mix(x, y, rng)
            yield x, y

    def _draw(self, label: int, rng: np.random.Generator) -> Floats:
        sources = self._by_class[label]
        source = sources[rng.integers(len(sources))]
        clip = self._clips[source[rng.integers(len(source))]]
        plain = not clip.views or rng.random() < self._recipe.plain_share
        track = clip.plain if plain else clip.views[rng.integers(len(clip.views))]
        step_s = (
            self._window.seconds
            / self._window.frames
            * rng.uniform(1 - self._recipe.speed, 1 + self._recipe.speed)
        )
        return clip.play(track, rng.uniform(0, 1), step_s, self._window.frames)

    def _mix(self, x: Floats, y: Floats, rng: np.random.Generator) -> tuple[Floats, Floats]:
        """Blend each window with another of the batch, frame by frame (mixup, Zhang et al. 2018)."""
        order = rng.permutation(len(x))
        share = rng.beta(self._recipe.mixup_alpha, self._recipe.mixup_alpha, len(x)).astype(np.float32)
        a, b = share[:, None, None], share[:, None]
        return a * x + (1 - a) * x[order], b * y + (1 - b) * y[order]


def read_windows(head: keras.Model, clips: Sequence[Floats]) -> list[Floats]:
    """Probabilities (windows, classes) for the windows (windows, frames, size) of each clip."""
    windows = np.concatenate(clips)
    # Called, not predict(): no graph is traced again for each head and each size of batch.
    parts = [head(windows[i : i + _BATCH], training=False) for i in range(0, len(windows), _BATCH)]
    probs = np.concatenate([np.asarray(keras.ops.convert_to_numpy(part), np.float32) for part in parts])
    return np.split(probs, np.cumsum([len(windows) for windows in clips])[:-1])
