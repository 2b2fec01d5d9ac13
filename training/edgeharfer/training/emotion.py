"""Train an emotion model on FER-2013, with FER+ votes for a second head when they are given."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from edgeharfer.evaluate import ferplus
from edgeharfer.runtime.faces.detector import Detector
from edgeharfer.runtime.preprocess import standardize
from edgeharfer.runtime.types import Floats
from edgeharfer.training.architectures import emotion_model
from edgeharfer.training.augment import FaceAugmentation, augment, mixup
from edgeharfer.training.faces import FER7, Faces, align, read_faces, without_copies
from edgeharfer.training.loop import Plan, fit
from edgeharfer.training.optimizers import make_optimizer

HEADS = {"fer7": FER7, "fer8": ferplus.LABELS}


@dataclass(frozen=True)
class EmotionRecipe:
    """All that decides what a training run gives."""

    arch: str = "resse"
    optimizer: str = "adamw"
    learning_rate: float = 2e-3
    weight_decay: float = 0.05
    batch: int = 128
    epochs: int = 30
    patience: int = 10
    ema: float = 0.999
    label_smoothing: float = 0.1
    validation_share: float = 0.05
    aligned_share: float = 0.5
    dtype: str = "float32"
    seed: int = 1
    augmentation: FaceAugmentation = field(default_factory=FaceAugmentation)


@dataclass
class Targets:
    """What the heads should say: float32 (n, classes) each; a row of zeros teaches nothing."""

    by_head: dict[str, Floats]

    def rows(self, index: NDArray[np.int64]) -> dict[str, Floats]:
        """Copies of some rows."""
        return {head: rows[index] for head, rows in self.by_head.items()}


def make_targets(faces: Faces, votes: Mapping[str, Floats] | None, smoothing: float) -> Targets:
    """Smoothed FER-2013 labels, and the distribution of the FER+ votes where there are any."""
    one_hot = np.eye(len(FER7), dtype=np.float32)[faces.labels]
    by_head = {"fer7": one_hot * (1 - smoothing) + smoothing / len(FER7)}
    if votes is not None:
        nobody = np.zeros(10, np.float32)
        by_head["fer8"] = np.stack([ferplus.distribution(votes.get(name, nobody)) for name in faces.names])
    return Targets(by_head)


def make_batches(faces: Faces, targets: Targets, recipe: EmotionRecipe) -> Callable[[int], Iterator[Any]]:
    """Augmented batches of an epoch; the epoch's number and the seed decide them entirely."""

    def batches(epoch: int) -> Iterator[tuple[Floats, dict[str, Floats]]]:
        rng = np.random.default_rng((recipe.seed, epoch))
        order = rng.permutation(len(faces))
        for start in range(0, len(order) - recipe.batch + 1, recipe.batch):
            index = order[start : start + recipe.batch]
            use_aligned = rng.random(len(index)) < recipe.aligned_share
            x = np.stack([
                augment(faces.aligned[i] if cut else faces.pictures[i], recipe.augmentation, rng)
                for i, cut in zip(index, use_aligned, strict=True)
            ])[..., None]  # fmt: skip
            standardize(x)
            y = targets.rows(index)
            if rng.random() < recipe.augmentation.mixup_probability:
                mixup(x, y, recipe.augmentation.mixup_alpha, rng)
            yield x, y

    return batches


def make_validation(faces: Faces, votes: Mapping[str, Floats] | None) -> Callable[[keras.Model], dict[str, float]]:
    """Top-1 of each head on the runtime's crops of held-out pictures; their mean is the score."""
    x = faces.aligned[..., None].astype(np.float32)
    standardize(x)
    truth: dict[str, NDArray[np.int64]] = {"fer7": faces.labels}
    if votes is not None:
        found = [ferplus.majority(votes[name]) if name in votes else None for name in faces.names]
        truth["fer8"] = np.array([-1 if label is None else label for label in found])

    def validate(model: keras.Model) -> dict[str, float]:
        logits = predict(model, x)
        figures = {}
        for head, labels in truth.items():
            known = labels >= 0
            figures[f"{head}_top1"] = float((logits[head].argmax(axis=1) == labels)[known].mean())
        return {"score": float(np.mean(list(figures.values()))), **figures}

    return validate


def predict(model: keras.Model, x: Floats, batch: int = 256) -> dict[str, Floats]:
    """Logits of every head, float32 (n, classes)."""
    parts = [model.predict_on_batch(x[i : i + batch]) for i in range(0, len(x), batch)]
    return {head: np.concatenate([np.asarray(part[head], np.float32) for part in parts]) for head in parts[0]}


def split_validation(faces: Faces, share: float, seed: int) -> tuple[Faces, Faces]:
    """Take a share of the training pictures away for choosing the best epoch."""
    order = np.random.default_rng(seed).permutation(len(faces))
    held = round(len(faces) * share)
    return faces.take(np.sort(order[held:])), faces.take(np.sort(order[:held]))


def train_emotion(
    data: Path,
    out: Path,
    recipe: EmotionRecipe,
    detector: Detector,
    *,
    votes_file: Path | None = None,
    resume: bool = False,
    report: Callable[[str], None] = print,
) -> keras.Model:
    """Train, and leave the run's state in `out`; returns the best model, in float32.

    The evaluation split is used for one thing only: to drop its copies from the training pictures.
    """
    out.mkdir(parents=True, exist_ok=True)
    everything, test = read_faces(data)
    clean = without_copies(everything, test)
    report(f"{len(clean)} training pictures; dropped {dict(clean.dropped)}")
    found = align(clean, detector)
    report(f"face found and aligned in {found} of {len(clean)}")
    votes = ferplus.read_votes(votes_file) if votes_file else None
    train, validation = split_validation(clean, recipe.validation_share, recipe.seed)

    keras.utils.set_random_seed(recipe.seed)
    heads = {head: len(labels) for head, labels in HEADS.items() if head == "fer7" or votes is not None}
    keras.config.set_dtype_policy(recipe.dtype)
    model = emotion_model(recipe.arch, heads)
    keras.config.set_dtype_policy("float32")
    steps = len(train) // recipe.batch * recipe.epochs
    model.compile(
        optimizer=make_optimizer(recipe.optimizer, recipe.learning_rate, recipe.weight_decay, steps),
        loss={head: keras.losses.CategoricalCrossentropy(from_logits=True) for head in heads},
    )
    targets = make_targets(train, votes, recipe.label_smoothing)
    plan = Plan(recipe.epochs, recipe.ema, recipe.patience)
    fit(model, make_batches(train, targets, recipe), make_validation(validation, votes), plan, out,
        resume=resume, report=report)  # fmt: skip
    plain = emotion_model(recipe.arch, heads)
    plain.set_weights(model.get_weights())
    return plain
