"""Train an emotion model on FER-2013, with an optional second head on FER+ votes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

from edgeharfer.runtime.errors import ConfigError
from edgeharfer.runtime.faces.detector import Detector
from edgeharfer.runtime.inference.manifest import InputSpec
from edgeharfer.runtime.inference.preprocess import match_color, normalize, preprocess_images, resize
from edgeharfer.runtime.types import Floats, Image
from edgeharfer.training.emotion.augment import augment, mix
from edgeharfer.training.emotion.blend import blend_faces
from edgeharfer.training.emotion.data import (
    HeadTargets,
    TrainingData,
    make_targets,
    prepare_data,
    true_labels,
)
from edgeharfer.training.emotion.distill import (
    Shares,
    Teacher,
    bias_offsets,
    class_shares,
    correct_biases,
    distil,
    inform_answers,
    join_labels,
    read_uncertain,
    read_unlabelled,
    sampling_chances,
    teach,
    uncertain_targets,
    with_more_chances,
)
from edgeharfer.training.emotion.expressions import make_expressions
from edgeharfer.training.emotion.face_mesh import FaceMesh
from edgeharfer.training.emotion.faces import NO_LABEL, Faces
from edgeharfer.training.emotion.networks import (
    add_l2,
    emotion_model,
    emotion_trunk,
    predict,
    set_backbone_trainable,
)
from edgeharfer.training.emotion.recipe import EmotionRecipe
from edgeharfer.training.emotion.run import TEMPERATURES, evaluate_heads, fit_head_biases, save_run
from edgeharfer.training.emotion.sheets import write_augmentation_sheet
from edgeharfer.training.loop import TrainingPlan, fit, greedy_soup
from edgeharfer.training.losses import make_loss
from edgeharfer.training.optimizers import make_optimizer
from edgeharfer.training.records import tensorboard_writer
from edgeharfer.training.temperature import cross_entropy, fit_temperature

Reporter = Callable[[str], None]
SAMPLED_FACES = 2500
"""Number of faces to which a pruned network is fitted."""


def train_emotion(
    data: Path,
    out: Path,
    recipe: EmotionRecipe,
    detector: Detector,
    *,
    votes_file: Path | None = None,
    backbone_weights: str | Path | None = None,
    teachers: Sequence[Teacher] = (),
    uncertain: Path | None = None,
    unlabelled: Sequence[Path] = (),
    mesh: FaceMesh | None = None,
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
        backbone_weights: For networks with a backbone: "imagenet", a file, or None for random weights. For
            networks that continue from another training: its file or folder.
        teachers: Runs whose answers are part of the targets.
        uncertain: Further photographs in folders by class, with labels that are not to be trusted; needs
            teachers.
        unlabelled: Folders of clips whose faces are added without labels; needs teachers.
        mesh: Finds the points of the faces whose expressions are changed.
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
    further = [read_uncertain(uncertain, detector)] if uncertain else []
    further += [read_unlabelled(folder, detector) for folder in unlabelled]
    lessons = make_lessons(prepared, recipe, teachers, further, mesh)
    on_epoch = tensorboard_writer(out / "tensorboard") if tensorboard else None
    validate = make_validation(prepared, spec, lessons.offsets)
    history: list[dict[str, float]] = []
    if recipe.frozen_epochs and backbone_weights is None:
        report("the backbone has random weights: skipping the frozen epochs")
        recipe = replace(recipe, frozen_epochs=0)
    for name, phase in recipe.phases().items():
        rows = train_phase(
            model, phase, lessons, spec, validate, out / name, frozen=name == "frozen",
            resume=resume, report=report, on_epoch=on_epoch,
        )  # fmt: skip
        history += [{**row, "epoch": len(history) + row["epoch"]} for row in rows]
    if recipe.finish:
        greedy_soup(
            model,
            [out / name for name in recipe.phases()],
            validation_loss(prepared, spec, lessons.offsets),
            report,
        )
    plain = build_model(recipe, prepared, None, "float32")
    plain.set_weights(model.get_weights())
    correct_biases(plain, lessons.offsets)
    if recipe.fit_biases:
        correct_biases(plain, fit_head_biases(prepared, predict(plain, prepared.validation.aligned, spec)))
    prepared.facts["teachers"] = [teacher.folder.name for teacher in teachers]
    prepared.facts["further_faces"] = dict(lessons.counts)
    if recipe.votes_share and teachers and prepared.votes is not None:
        prepared.facts["votes_share"] = recipe.votes_share
    logits = [predict(plain, faces.aligned, spec) for faces in (prepared.validation, prepared.test)]
    heads = evaluate_heads(
        prepared, *logits, evenness=recipe.prior_evenness, weight_cap=recipe.class_weight_cap
    )
    for result in heads:
        report(str(result))
    save_run(out, plain, recipe, spec, prepared, heads, history)
    return plain


def build_model(
    recipe: EmotionRecipe, prepared: TrainingData, weights: str | Path | None, dtype: str
) -> keras.Model:
    """Build the recipe's network with a head for each label set, computing in `dtype`.

    Initial weights are always computed in float32.
    """
    classes = {head: len(labels) for head, labels in prepared.heads.items()}

    def faces() -> Floats:
        return sample_faces(prepared.train, recipe)

    model = emotion_model(recipe.arch, classes, weights=weights, side=recipe.side, faces=faces)
    if dtype != "float32":
        initial = model.get_weights()
        keras.config.set_dtype_policy(dtype)
        try:
            model = emotion_model(recipe.arch, classes, side=recipe.side)
        finally:
            keras.config.set_dtype_policy("float32")
        model.set_weights(initial)
    if recipe.l2:
        add_l2(model, recipe.l2)
    return model


def sample_faces(faces: Faces, recipe: EmotionRecipe) -> Floats:
    """Return random training faces as the network reads them, aligned ones in the share of the recipe."""
    spec = emotion_trunk(recipe.arch, recipe.side).input
    rng = np.random.default_rng(recipe.seed)
    chosen = rng.permutation(len(faces))[:SAMPLED_FACES]
    aligned = rng.random(len(chosen)) < recipe.aligned_share
    pictures = [
        faces.aligned[i] if one else faces.pictures[i] for i, one in zip(chosen, aligned, strict=True)
    ]
    return preprocess_images(pictures, replace(spec, clahe=recipe.clahe))


def loss_weights(heads: Sequence[str], label_weight: float) -> dict[str, float]:
    """Return head -> weight of its loss; their sum is the number of heads."""
    if len(heads) == 1:
        return {heads[0]: 1.0}
    return {head: label_weight if head == "fer7" else 2 - label_weight for head in heads}


def train_phase(
    model: keras.Model,
    phase: EmotionRecipe,
    lessons: Lessons,
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
    steps = lessons.drawn // phase.batch * phase.epochs
    optimizer = make_optimizer(
        phase.optimizer, phase.learning_rate, phase.weight_decay, steps, phase.schedule
    )
    model.compile(
        optimizer=optimizer,
        loss=dict.fromkeys(model.output_names, make_loss(phase.focal_gamma)),
        loss_weights=loss_weights(model.output_names, phase.label_weight),
        metrics={head: ["categorical_accuracy"] for head in model.output_names},
    )
    batches = make_batches(lessons, phase, spec)
    plan = TrainingPlan(
        phase.epochs,
        phase.ema,
        phase.patience,
        phase.plateau * (phase.schedule == "plateau"),
        lessons.drawn // phase.batch,
    )
    return fit(model, batches, validate, plan, folder, **options)


@dataclass(frozen=True, eq=False)
class Lessons:
    """What a network is taught.

    Attributes:
        faces: Training faces and, at the end, those with uncertain labels, without labels, made of two, and
            with made expressions.
        targets: Their targets.
        drawn: Number of faces in an epoch.
        counts: Number of further faces by kind: "uncertain", "counted" (those of which the label counts),
            "unlabelled", "blends" and "expressions".
        chances: Chance of each to be drawn; None shows each once an epoch.
        offsets: Head -> what its biases lack, see `distill.bias_offsets`.
    """

    faces: Faces
    targets: HeadTargets
    drawn: int
    counts: Mapping[str, int]
    chances: Shares | None = None
    offsets: Mapping[str, Floats] = field(default_factory=dict)


def make_lessons(
    prepared: TrainingData,
    recipe: EmotionRecipe,
    teachers: Sequence[Teacher],
    further: Sequence[Faces] = (),
    mesh: FaceMesh | None = None,
) -> Lessons:
    """Make the targets of a run.

    Raises:
        ConfigError: A teacher is not a finished run, there are further faces without one, or expressions
            without votes or a mesh.
    """
    if (further or recipe.blends or recipe.expressions) and not teachers:
        raise ConfigError(
            "--uncertain, --unlabelled, blends and expressions require --teacher RUN, whose answers are "
            "learned"
        )
    if recipe.expressions and (mesh is None or prepared.votes is None):
        raise ConfigError("expressions require --mesh FILE and --ferplus CSV")
    faces = prepared.train
    targets = make_targets(
        faces, prepared.votes, smoothing=recipe.label_smoothing, majority=recipe.majority,
        weight_cap=recipe.class_weight_cap,
    )  # fmt: skip
    plain = class_shares(targets)
    labels = faces.labels
    number = len(labels)
    counts = {"uncertain": 0, "counted": 0, "unlabelled": 0}
    counts |= {"blends": recipe.blends, "expressions": recipe.expressions}
    for more in further:
        faces = faces.with_more(more)
    answers = teach(teachers, faces.aligned) if teachers else {}
    informed = inform_answers(answers, targets, labels, recipe.votes_share)
    join_labels(targets, labels, recipe.joined_share)
    distil(targets, {head: rows[:number] for head, rows in informed.items()}, recipe.distillation)
    if further:
        labels = np.concatenate([more.labels for more in further])
        of_further = {head: rows[number:] for head, rows in answers.items()}
        added = uncertain_targets(labels, of_further, plain, recipe.distillation, recipe.min_lift)
        targets = targets.with_more(added.targets)
        counts |= {
            "uncertain": int((labels != NO_LABEL).sum()),
            "counted": int(added.counted.sum()),
            "unlabelled": int((labels == NO_LABEL).sum()),
        }
    drawn = len(faces.labels)
    chances = sampling_chances(targets, plain, recipe.sampling_power) if recipe.sampling_power else None
    if recipe.blends:
        blended = blend_faces(
            faces, recipe.blends, recipe.aligned_share, np.random.default_rng(recipe.seed), chances
        )
        faces = faces.with_more(blended)
        of_blends = teach(teachers, blended.aligned)
        targets = targets.with_more(of_blends)
        answers = {head: np.concatenate([rows, of_blends[head]]) for head, rows in answers.items()}
        chances = with_more_chances(chances, drawn, recipe.blends, recipe.blend_share)
    offsets = {} if chances is None else bias_offsets(targets, answers, plain, chances)
    if recipe.expressions and mesh is not None:
        rng = np.random.default_rng(recipe.seed)
        made = make_expressions(faces, targets.by_head["fer8"][:number], recipe.expressions, mesh, rng)
        targets = targets.with_more(made.targets(teach(teachers, made.faces.aligned)))
        chances = with_more_chances(chances, len(faces), len(made.faces), recipe.expression_share)
        faces = faces.with_more(made.faces)
    return Lessons(faces, targets, drawn, counts, chances, offsets)


def make_batches(lessons: Lessons, recipe: EmotionRecipe, spec: InputSpec) -> Callable[[int], Iterator[Any]]:
    """Return a function that yields the augmented batches of an epoch, determined by epoch and seed."""
    faces = lessons.faces

    def batches(epoch: int) -> Iterator[tuple[Floats, dict[str, Floats]]]:
        rng = np.random.default_rng((recipe.seed, epoch))
        augmentation = recipe.augmentation
        if recipe.mixup_epochs is not None and epoch >= recipe.mixup_epochs:
            augmentation = replace(augmentation, mixup_probability=0, cutmix_probability=0)
        if lessons.chances is None:
            order = rng.permutation(len(faces))
        else:
            order = rng.choice(len(faces), lessons.drawn, p=lessons.chances)
        for start in range(0, len(order) - recipe.batch + 1, recipe.batch):
            index = order[start : start + recipe.batch]
            use_aligned = rng.random(len(index)) < recipe.aligned_share
            pictures = (
                faces.aligned[i] if is_aligned else faces.pictures[i]
                for i, is_aligned in zip(index, use_aligned, strict=True)
            )
            changed = [augment(to_input_format(picture, spec), augmentation, rng) for picture in pictures]
            x = normalize(np.stack(changed), spec)
            y = lessons.targets.rows(index)
            mix(x, y, augmentation, rng)
            yield x, y

    return batches


def to_input_format(picture: Image, spec: InputSpec) -> Image:
    """Convert an image to the network's size and colour, uint8 (height, width, 1 or 3), not normalised."""
    return match_color(resize(picture, spec.width, spec.height), spec)


def make_validation(
    prepared: TrainingData, spec: InputSpec, offsets: Mapping[str, Floats] | None = None
) -> Callable[[keras.Model], dict[str, float]]:
    """Return a function that computes each head's top-1 on the aligned validation faces; "score" is their
    mean. `offsets` are added to the logits of a head.
    """
    truth = true_labels(prepared.validation, prepared.votes)

    def validate(model: keras.Model) -> dict[str, float]:
        logits = predict(model, prepared.validation.aligned, spec)
        figures = {}
        for head, labels in truth.items():
            known = labels >= 0
            corrected = logits[head] + (offsets or {}).get(head, 0)
            figures[f"{head}_top1"] = float((corrected.argmax(axis=1) == labels)[known].mean())
        return {"score": float(np.mean(list(figures.values()))), **figures}

    return validate


def validation_loss(
    prepared: TrainingData, spec: InputSpec, offsets: Mapping[str, Floats]
) -> Callable[[keras.Model], float]:
    """Return a function that computes the mean cross-entropy of the heads, each at its best temperature.

    It is less noisy than top-1 for comparing weights.
    """
    targets = make_targets(prepared.validation, prepared.votes).by_head

    def loss(model: keras.Model) -> float:
        logits = predict(model, prepared.validation.aligned, spec)
        logits = {head: rows + offsets.get(head, 0) for head, rows in logits.items()}
        return float(np.mean([
            cross_entropy(logits[head], rows, fit_temperature(logits[head], rows, *TEMPERATURES))
            for head, rows in targets.items()
        ]))  # fmt: skip

    return loss
