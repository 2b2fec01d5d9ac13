"""Train an emotion model on FER-2013, with FER+ votes for a second head when they are given."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

from edgeharfer.runtime.faces.detector import Detector
from edgeharfer.runtime.preprocess import standardize
from edgeharfer.runtime.types import Floats
from edgeharfer.training.emotion.augment import FaceAugmentation, augment, mixup
from edgeharfer.training.emotion.data import Targets, make_targets, prepare_data, standardized, true_labels
from edgeharfer.training.emotion.faces import Faces
from edgeharfer.training.emotion.networks import emotion_model
from edgeharfer.training.emotion.run import save_run, score_heads
from edgeharfer.training.loop import Plan, blend, fit
from edgeharfer.training.losses import soft_cross_entropy
from edgeharfer.training.optimizers import make_optimizer


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
    finish_epochs: int = 6
    finish_learning_rate: float = 3e-4

    def finish(self) -> EmotionRecipe:
        """The last epochs: low rate, hardly mixed or erased, and mostly as the runtime cuts faces.

        What strong augmentation holds back, a few epochs on nearly plain pictures give.
        """
        plain = replace(self.augmentation, mixup_probability=0.0, erase_probability=0.1)
        return replace(
            self,
            epochs=self.finish_epochs,
            learning_rate=self.finish_learning_rate,
            aligned_share=0.75,
            augmentation=plain,
            seed=self.seed + 1,
        )


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


def make_validation(
    faces: Faces, votes: Mapping[str, Floats] | None
) -> Callable[[keras.Model], dict[str, float]]:
    """Top-1 of each head on the runtime's crops of held-out pictures; their mean is the score."""
    x = standardized(faces)
    truth = true_labels(faces, votes)

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


def train_emotion(
    data: Path,
    out: Path,
    recipe: EmotionRecipe,
    detector: Detector,
    *,
    votes_file: Path | None = None,
    weights=None,
    resume: bool = False,
    report: Callable[[str], None] = print,
) -> keras.Model:
    """Train on FER-2013 and leave the run in `out`; returns the best model, in float32.

    votes_file: FER+ votes; with them the model has a second head with eight classes.
    Raises SourceError for data that cannot be read or lacks a class.
    """
    out.mkdir(parents=True, exist_ok=True)
    prepared = prepare_data(
        data, votes_file, detector, validation_share=recipe.validation_share, seed=recipe.seed, report=report
    )
    keras.utils.set_random_seed(recipe.seed)
    classes = {head: len(labels) for head, labels in prepared.heads.items()}
    keras.config.set_dtype_policy(recipe.dtype)
    model = emotion_model(recipe.arch, classes, **({} if weights is None else {"weights": weights}))
    keras.config.set_dtype_policy("float32")
    validate = make_validation(prepared.validation, prepared.votes)
    targets = make_targets(prepared.train, prepared.votes, recipe.label_smoothing)
    history: list[dict[str, float]] = []
    for name, phase in (("main", recipe), ("finish", recipe.finish())):
        if not phase.epochs:
            continue
        (out / name).mkdir(exist_ok=True)
        steps = len(prepared.train) // phase.batch * phase.epochs
        optimizer = make_optimizer(phase.optimizer, phase.learning_rate, phase.weight_decay, steps)
        model.compile(optimizer=optimizer, loss=dict.fromkeys(classes, soft_cross_entropy))
        batches = make_batches(prepared.train, targets, phase)
        plan = Plan(phase.epochs, phase.ema, phase.patience)
        rows = fit(model, batches, validate, plan, out / name, resume=resume, report=report)
        history += [{**row, "epoch": len(history) + row["epoch"]} for row in rows]
    if recipe.finish_epochs:
        blend(model, out / "main", out / "finish", validate, report)
    plain = emotion_model(recipe.arch, classes)
    plain.set_weights(model.get_weights())
    logits = [predict(plain, standardized(faces)) for faces in (prepared.validation, prepared.test)]
    heads = score_heads(prepared, *logits)
    for one in heads:
        report(str(one))
    save_run(out, plain, recipe, prepared, heads, history)
    return plain
