"""Train an emotion model on FER-2013, with FER+ votes for a second head when they are given."""

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
from edgeharfer.training.emotion.run import TEMPERATURES, save_run, score_heads
from edgeharfer.training.emotion.sheets import augmentation_sheet
from edgeharfer.training.loop import TrainingPlan, fit, soup
from edgeharfer.training.losses import make_loss
from edgeharfer.training.optimizers import make_optimizer
from edgeharfer.training.records import open_board
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
    """Train on FER-2013 and leave the run in `out`; returns the best model, in float32.

    votes_file: FER+ votes; with them the model has a second head with eight classes.
    backbone_weights: for architectures with a backbone: "imagenet", a file, or None for random ones.
    Raises SourceError for data that cannot be read or lacks a class, ConfigError for weights that
    cannot be had and settings that do not fit.
    """
    out.mkdir(parents=True, exist_ok=True)
    prepared = prepare_data(
        data, votes_file, detector, validation_share=recipe.validation_share, seed=recipe.seed,
        drop_copies=recipe.drop_copies, limit=recipe.limit, report=report,
    )  # fmt: skip
    spec = replace(emotion_trunk(recipe.arch, recipe.side).input, clahe=recipe.clahe)
    augmentation_sheet(prepared.train, spec, recipe, out / "augmented.png")
    keras.utils.set_random_seed(recipe.seed)
    model = build_model(recipe, prepared, backbone_weights, recipe.dtype)
    board = open_board(out / "tensorboard") if tensorboard else None
    validate = make_validation(prepared, spec)
    history: list[dict[str, float]] = []
    if recipe.frozen_epochs and backbone_weights is None:
        report("no weights for the backbone: nothing to keep frozen, it trains from the start")
        recipe = replace(recipe, frozen_epochs=0)
    for name, phase in recipe.phases().items():
        rows = train_phase(
            model, phase, prepared, spec, validate, out / name, frozen=name == "frozen",
            resume=resume, report=report, board=board,
        )  # fmt: skip
        history += [{**row, "epoch": len(history) + row["epoch"]} for row in rows]
    if recipe.finish:
        soup(model, [out / name for name in recipe.phases()], held_back_loss(prepared, spec), report)
    plain = build_model(recipe, prepared, None, "float32")
    plain.set_weights(model.get_weights())
    logits = [predict(plain, faces.aligned, spec) for faces in (prepared.validation, prepared.test)]
    heads = score_heads(prepared, *logits, weight_cap=recipe.class_weight_cap)
    for one in heads:
        report(str(one))
    save_run(out, plain, recipe, spec, prepared, heads, history)
    return plain


def build_model(
    recipe: EmotionRecipe, prepared: TrainingData, weights: str | Path | None, dtype: str
) -> keras.Model:
    """The recipe's network with a head for each label set; dtype: of its computation."""
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
    """One part of a run: its own optimizer and schedule, its own folder; returns a row an epoch."""
    folder.mkdir(exist_ok=True)
    if phase.frozen_epochs:
        set_backbone_trainable(model, not frozen)
    steps = len(prepared.train) // phase.batch * phase.epochs
    optimizer = make_optimizer(
        phase.optimizer, phase.learning_rate, phase.weight_decay, steps, phase.schedule
    )
    model.compile(optimizer=optimizer, loss=dict.fromkeys(prepared.heads, make_loss(phase.focal_gamma)))
    targets = make_targets(
        prepared.train, prepared.votes, smoothing=phase.label_smoothing, majority=phase.majority,
        weight_cap=phase.class_weight_cap,
    )  # fmt: skip
    batches = make_batches(prepared.train, targets, phase, spec)
    plan = TrainingPlan(
        phase.epochs, phase.ema, phase.patience, phase.plateau * (phase.schedule == "plateau")
    )
    return fit(model, batches, validate, plan, folder, **options)


def make_batches(
    faces: Faces, targets: HeadTargets, recipe: EmotionRecipe, spec: InputSpec
) -> Callable[[int], Iterator[Any]]:
    """Augmented batches of an epoch; the epoch's number and the seed decide them entirely."""

    def batches(epoch: int) -> Iterator[tuple[Floats, dict[str, Floats]]]:
        rng = np.random.default_rng((recipe.seed, epoch))
        order = rng.permutation(len(faces))
        for start in range(0, len(order) - recipe.batch + 1, recipe.batch):
            index = order[start : start + recipe.batch]
            use_aligned = rng.random(len(index)) < recipe.aligned_share
            pictures = (
                faces.aligned[i] if cut else faces.pictures[i]
                for i, cut in zip(index, use_aligned, strict=True)
            )
            changed = [augment(as_input(picture, spec), recipe.augmentation, rng) for picture in pictures]
            x = normalize(np.stack(changed), spec.normalize)
            y = targets.rows(index)
            mix(x, y, recipe.augmentation, rng)
            yield x, y

    return batches


def as_input(picture: Image, spec: InputSpec) -> Image:
    """The picture in the network's size and colours, uint8 (height, width, 1 or 3), not yet normalised."""
    return match_color(resize(picture, spec.width, spec.height), spec)


def make_validation(prepared: TrainingData, spec: InputSpec) -> Callable[[keras.Model], dict[str, float]]:
    """Top-1 of each head on the runtime's crops of held-out pictures; their mean is the score."""
    truth = true_labels(prepared.validation, prepared.votes)

    def validate(model: keras.Model) -> dict[str, float]:
        logits = predict(model, prepared.validation.aligned, spec)
        figures = {}
        for head, labels in truth.items():
            known = labels >= 0
            figures[f"{head}_top1"] = float((logits[head].argmax(axis=1) == labels)[known].mean())
        return {"score": float(np.mean(list(figures.values()))), **figures}

    return validate


def held_back_loss(prepared: TrainingData, spec: InputSpec) -> Callable[[keras.Model], float]:
    """Mean cross-entropy of the heads, each at its best temperature: it moves less by chance than top-1."""
    targets = make_targets(prepared.validation, prepared.votes).by_head

    def loss(model: keras.Model) -> float:
        logits = predict(model, prepared.validation.aligned, spec)
        return float(np.mean([
            cross_entropy(logits[head], rows, fit_temperature(logits[head], rows, *TEMPERATURES))
            for head, rows in targets.items()
        ]))  # fmt: skip

    return loss


def predict(model: keras.Model, pictures: Image, spec: InputSpec, batch: int = 128) -> dict[str, Floats]:
    """Logits of every head, float32 (n, classes), for uint8 pictures (n, height, width[, 3]) of any size."""
    parts = [
        model.predict_on_batch(preprocess_images(list(pictures[i : i + batch]), spec))
        for i in range(0, len(pictures), batch)
    ]
    return {head: np.concatenate([np.asarray(part[head], np.float32) for part in parts]) for head in parts[0]}
