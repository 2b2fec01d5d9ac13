"""Train an emotion model on FER-2013, with an optional second head on FER+ votes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

from edgeharfer.runtime.faces.detector import Detector
from edgeharfer.runtime.inference.manifest import InputSpec
from edgeharfer.runtime.inference.preprocess import match_color, normalize, preprocess_images, resize
from edgeharfer.runtime.types import Floats, Image
from edgeharfer.training.emotion.augment import augment, mix
from edgeharfer.training.emotion.data import (
    HeadTargets,
    TrainingData,
    make_targets,
    prepare_data,
    true_labels,
)
from edgeharfer.training.emotion.faces import Faces
from edgeharfer.training.emotion.networks import (
    add_l2,
    emotion_model,
    emotion_trunk,
    set_backbone_trainable,
)
from edgeharfer.training.emotion.recipe import EmotionRecipe
from edgeharfer.training.emotion.run import TEMPERATURES, evaluate_heads, save_run
from edgeharfer.training.emotion.sheets import write_augmentation_sheet
from edgeharfer.training.loop import TrainingPlan, fit, greedy_soup
from edgeharfer.training.losses import make_loss
from edgeharfer.training.optimizers import make_optimizer
from edgeharfer.training.records import tensorboard_writer
from edgeharfer.training.temperature import cross_entropy, fit_temperature

Reporter = Callable[[str], None]


def train_emotion(
    data: Path,
    out: Path,
    recipe: EmotionRecipe,
    detector: Detector,
    *,
    votes_file: Path | None = None,
    backbone_weights: str | Path | None = None,
    resume: bool = False,
    tensorboard: bool = False,
    report: Reporter = print,
) -> keras.Model:
    """Train on FER-2013 and write the run to `out`.

    Args:
        data: Folder, zip or Kaggle CSV.
        out: Folder of the run.
        recipe: All settings.
        detector: Face detector for the alignment.
        votes_file: FER+ votes; adds a second head with eight classes.
        backbone_weights: For networks with a backbone: "imagenet", a file, or None for random weights.
        resume: Continue an interrupted run in `out`.
        tensorboard: Also write TensorBoard event files.
        report: Receives progress messages.

    Returns:
        The best model, in float32.

    Raises:
        SourceError: The data cannot be read or lacks a class.
        ConfigError: The weights cannot be loaded or settings do not fit.
    """
    out.mkdir(parents=True, exist_ok=True)
    prepared = prepare_data(
        data, votes_file, detector, validation_share=recipe.validation_share, seed=recipe.seed,
        drop_copies=recipe.drop_copies, limit=recipe.limit, report=report,
    )  # fmt: skip
    spec = replace(emotion_trunk(recipe.arch, recipe.side).input, clahe=recipe.clahe)
    write_augmentation_sheet(prepared.train, spec, recipe, out / "augmented.png")
    keras.utils.set_random_seed(recipe.seed)
    model = build_model(recipe, prepared, backbone_weights, recipe.dtype)
    on_epoch = tensorboard_writer(out / "tensorboard") if tensorboard else None
    validate = make_validation(prepared, spec)
    history: list[dict[str, float]] = []
    if recipe.frozen_epochs and backbone_weights is None:
        report("the backbone has random weights: skipping the frozen epochs")
        recipe = replace(recipe, frozen_epochs=0)
    for name, phase in recipe.phases().items():
        rows = train_phase(
            model, phase, prepared, spec, validate, out / name, frozen=name == "frozen",
            resume=resume, report=report, on_epoch=on_epoch,
        )  # fmt: skip
        history += [{**row, "epoch": len(history) + row["epoch"]} for row in rows]
    if recipe.finish:
        greedy_soup(model, [out / name for name in recipe.phases()], validation_loss(prepared, spec), report)
    plain = build_model(recipe, prepared, None, "float32")
    plain.set_weights(model.get_weights())
    logits = [predict(plain, faces.aligned, spec) for faces in (prepared.validation, prepared.test)]
    heads = evaluate_heads(prepared, *logits, weight_cap=recipe.class_weight_cap)
    for result in heads:
        report(str(result))
    save_run(out, plain, recipe, spec, prepared, heads, history)
    return plain


def build_model(
    recipe: EmotionRecipe, prepared: TrainingData, weights: str | Path | None, dtype: str
) -> keras.Model:
    """Build the recipe's network with a head for each label set, computing in `dtype`."""
    classes = {head: len(labels) for head, labels in prepared.heads.items()}
    keras.config.set_dtype_policy(dtype)
    try:
        model = emotion_model(recipe.arch, classes, weights=weights, side=recipe.side)
    finally:
        keras.config.set_dtype_policy("float32")
    if recipe.l2:
        add_l2(model, recipe.l2)
    return model


def train_phase(
    model: keras.Model,
    phase: EmotionRecipe,
    prepared: TrainingData,
    spec: InputSpec,
    validate: Callable[[keras.Model], dict[str, float]],
    folder: Path,
    *,
    frozen: bool,
    **options: Any,
) -> list[dict[str, float]]:
    """Train one phase with its own optimizer, schedule and folder; returns one row per epoch."""
    folder.mkdir(exist_ok=True)
    if phase.frozen_epochs:
        set_backbone_trainable(model, not frozen)
    steps = len(prepared.train) // phase.batch * phase.epochs
    optimizer = make_optimizer(
        phase.optimizer, phase.learning_rate, phase.weight_decay, steps, phase.schedule
    )
    model.compile(
        optimizer=optimizer,
        loss=dict.fromkeys(prepared.heads, make_loss(phase.focal_gamma)),
        metrics={head: ["categorical_accuracy"] for head in prepared.heads},
    )
    targets = make_targets(
        prepared.train, prepared.votes, smoothing=phase.label_smoothing, majority=phase.majority,
        weight_cap=phase.class_weight_cap,
    )  # fmt: skip
    batches = make_batches(prepared.train, targets, phase, spec)
    plan = TrainingPlan(
        phase.epochs,
        phase.ema,
        phase.patience,
        phase.plateau * (phase.schedule == "plateau"),
        len(prepared.train) // phase.batch,
    )
    return fit(model, batches, validate, plan, folder, **options)


def make_batches(
    faces: Faces, targets: HeadTargets, recipe: EmotionRecipe, spec: InputSpec
) -> Callable[[int], Iterator[Any]]:
    """Return a function that yields the augmented batches of an epoch, determined by epoch and seed."""

    def batches(epoch: int) -> Iterator[tuple[Floats, dict[str, Floats]]]:
        rng = np.random.default_rng((recipe.seed, epoch))
        order = rng.permutation(len(faces))
        for start in range(0, len(order) - recipe.batch + 1, recipe.batch):
            index = order[start : start + recipe.batch]
            use_aligned = rng.random(len(index)) < recipe.aligned_share
            pictures = (
                faces.aligned[i] if is_aligned else faces.pictures[i]
                for i, is_aligned in zip(index, use_aligned, strict=True)
            )
            changed = [
                augment(to_input_format(picture, spec), recipe.augmentation, rng) for picture in pictures
            ]
            x = normalize(np.stack(changed), spec)
            y = targets.rows(index)
            mix(x, y, recipe.augmentation, rng)
            yield x, y

    return batches


def to_input_format(picture: Image, spec: InputSpec) -> Image:
    """Convert an image to the network's size and colour, uint8 (height, width, 1 or 3), not normalised."""
    return match_color(resize(picture, spec.width, spec.height), spec)


def make_validation(prepared: TrainingData, spec: InputSpec) -> Callable[[keras.Model], dict[str, float]]:
    """Return a function that computes each head's top-1 on the aligned validation faces; "score" is their
    mean.
    """
    truth = true_labels(prepared.validation, prepared.votes)

    def validate(model: keras.Model) -> dict[str, float]:
        logits = predict(model, prepared.validation.aligned, spec)
        figures = {}
        for head, labels in truth.items():
            known = labels >= 0
            figures[f"{head}_top1"] = float((logits[head].argmax(axis=1) == labels)[known].mean())
        return {"score": float(np.mean(list(figures.values()))), **figures}

    return validate


def validation_loss(prepared: TrainingData, spec: InputSpec) -> Callable[[keras.Model], float]:
    """Return a function that computes the mean cross-entropy of the heads, each at its best temperature.

    It is less noisy than top-1 for comparing weights.
    """
    targets = make_targets(prepared.validation, prepared.votes).by_head

    def loss(model: keras.Model) -> float:
        logits = predict(model, prepared.validation.aligned, spec)
        return float(np.mean([
            cross_entropy(logits[head], rows, fit_temperature(logits[head], rows, *TEMPERATURES))
            for head, rows in targets.items()
        ]))  # fmt: skip

    return loss


def predict(model: keras.Model, pictures: Image, spec: InputSpec, batch: int = 128) -> dict[str, Floats]:
    """Compute the logits of every head.

    Args:
        model: A model of `build_model`.
        pictures: uint8 (n, height, width[, 3]), of any size.
        spec: Input of the network.
        batch: Batch size.

    Returns:
        Head -> logits, float32 (n, classes).
    """
    parts = [
        model.predict_on_batch(preprocess_images(list(pictures[i : i + batch]), spec))
        for i in range(0, len(pictures), batch)
    ]
    return {head: np.concatenate([np.asarray(part[head], np.float32) for part in parts]) for head in parts[0]}
