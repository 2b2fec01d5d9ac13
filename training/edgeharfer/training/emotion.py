"""Train an emotion model on FER-2013, with FER+ votes for a second head when they are given."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from edgeharfer.evaluate import ferplus
from edgeharfer.evaluate.metrics import score
from edgeharfer.runtime.faces.align import FER_CROP
from edgeharfer.runtime.faces.detector import Detector
from edgeharfer.runtime.preprocess import standardize
from edgeharfer.runtime.smoothing import softmax
from edgeharfer.runtime.types import Floats
from edgeharfer.training.architectures import emotion_model
from edgeharfer.training.augment import FaceAugmentation, augment, mixup
from edgeharfer.training.faces import FER7, SIDE, Faces, align, read_faces, without_copies
from edgeharfer.training.loop import Plan, fit
from edgeharfer.training.losses import soft_cross_entropy
from edgeharfer.training.optimizers import make_optimizer
from edgeharfer.training.plots import plot_confusion, plot_curves
from edgeharfer.training.records import class_table, environment, file_hash, shares, write_json

HEADS = {"fer7": FER7, "fer8": ferplus.LABELS}
THRESHOLD = 0.4
"""Below this probability a package says "uncertain"."""


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


def standardized(faces: Faces) -> Floats:
    """The runtime's crops as the model takes them, (n, 48, 48, 1)."""
    x = faces.aligned[..., None].astype(np.float32)
    standardize(x)
    return x


def true_labels(faces: Faces, votes: Mapping[str, Floats] | None) -> dict[str, NDArray[np.int64]]:
    """What each head is held against: FER-2013's label; the majority of the FER+ votes, or -1."""
    truth: dict[str, NDArray[np.int64]] = {"fer7": faces.labels}
    if votes is not None:
        found = [ferplus.majority(votes[name]) if name in votes else None for name in faces.names]
        truth["fer8"] = np.array([-1 if label is None else label for label in found])
    return truth


def predict(model: keras.Model, x: Floats, batch: int = 256) -> dict[str, Floats]:
    """Logits of every head, float32 (n, classes)."""
    parts = [model.predict_on_batch(x[i : i + batch]) for i in range(0, len(x), batch)]
    return {head: np.concatenate([np.asarray(part[head], np.float32) for part in parts]) for head in parts[0]}


def split_validation(faces: Faces, share: float, seed: int) -> tuple[Faces, Faces]:
    """Take a share of the training pictures away for choosing the best epoch."""
    order = np.random.default_rng(seed).permutation(len(faces))
    held = round(len(faces) * share)
    return faces.take(np.sort(order[held:])), faces.take(np.sort(order[:held]))


def fit_temperature(logits: Floats, targets: Floats) -> float:
    """The temperature at which softmax(logits / T) fits held-out targets best (Guo et al. 2017).

    logits, targets: (n, classes); rows of zeros in targets do not count. Searched on a fine grid.
    """
    known = targets.sum(axis=1) > 0
    grid = np.exp(np.linspace(np.log(0.3), np.log(3.0), 121))
    losses = [-(targets[known] * np.log(softmax(logits[known], t) + 1e-9)).sum(axis=1).mean() for t in grid]
    return round(float(grid[int(np.argmin(losses))]), 4)


@dataclass(frozen=True)
class Prepared:
    """All that training needs, read once."""

    train: Faces
    validation: Faces
    test: Faces
    votes: Mapping[str, Floats] | None
    facts: dict[str, object]

    @property
    def heads(self) -> dict[str, tuple[str, ...]]:
        """Label sets that can be learned from what there is."""
        return {head: labels for head, labels in HEADS.items() if head == "fer7" or self.votes is not None}


def prepare_data(
    data: Path,
    votes_file: Path | None,
    recipe: EmotionRecipe,
    detector: Detector,
    report: Callable[[str], None],
) -> Prepared:
    """Read, drop copies, align, and take the validation share away.

    The evaluation split serves two ends only: its copies leave the training pictures, and it is scored
    once, after training.
    """
    everything, test = read_faces(data)
    clean = without_copies(everything, test)
    report(f"{len(clean)} training pictures; dropped {dict(clean.dropped)}")
    found, found_test = align(clean, detector), align(test, detector)
    report(f"face found and aligned in {found} of {len(clean)}; {found_test} of {len(test)} for evaluation")
    votes = ferplus.read_votes(votes_file) if votes_file else None
    train, validation = split_validation(clean, recipe.validation_share, recipe.seed)
    facts: dict[str, object] = {
        "pictures": len(train),
        "validation_pictures": len(validation),
        "dropped": dict(clean.dropped),
        "aligned": found,
        "data_sha256": file_hash(data) if data.is_file() else None,
        "votes_sha256": file_hash(votes_file) if votes_file else None,
    }
    return Prepared(train, validation, test, votes, facts)


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
    """Train on FER-2013 and leave the run in `out`; returns the best model, in float32.

    votes_file: FER+ votes; with them the model has a second head with eight classes.
    Raises SourceError for data that cannot be read or lacks a class.
    """
    out.mkdir(parents=True, exist_ok=True)
    prepared = prepare_data(data, votes_file, recipe, detector, report)
    keras.utils.set_random_seed(recipe.seed)
    classes = {head: len(labels) for head, labels in prepared.heads.items()}
    keras.config.set_dtype_policy(recipe.dtype)
    model = emotion_model(recipe.arch, classes)
    keras.config.set_dtype_policy("float32")
    steps = len(prepared.train) // recipe.batch * recipe.epochs
    model.compile(
        optimizer=make_optimizer(recipe.optimizer, recipe.learning_rate, recipe.weight_decay, steps),
        loss=dict.fromkeys(classes, soft_cross_entropy),
    )
    targets = make_targets(prepared.train, prepared.votes, recipe.label_smoothing)
    history = fit(
        model,
        make_batches(prepared.train, targets, recipe),
        make_validation(prepared.validation, prepared.votes),
        Plan(recipe.epochs, recipe.ema, recipe.patience),
        out,
        resume=resume,
        report=report,
    )
    plain = emotion_model(recipe.arch, classes)
    plain.set_weights(model.get_weights())
    plain.save(out / "model.keras")
    record_run(out, plain, prepared, recipe, history, report)
    return plain


def record_run(
    out: Path,
    model: keras.Model,
    prepared: Prepared,
    recipe: EmotionRecipe,
    history: list[dict[str, float]],
    report: Callable[[str], None],
) -> None:
    """Score the finished model and write everything that the run leaves behind."""
    held_out = make_targets(prepared.validation, prepared.votes, 0.0)
    shown = make_targets(prepared.train, prepared.votes, 0.0)
    validation_logits = predict(model, standardized(prepared.validation))
    test_logits = predict(model, standardized(prepared.test))
    truth = true_labels(prepared.test, prepared.votes)
    packages: dict[str, Any] = {}
    scores: dict[str, Any] = {}
    for head, labels in prepared.heads.items():
        temperature = fit_temperature(validation_logits[head], held_out.by_head[head])
        known = truth[head] >= 0
        scores[head] = score(
            "emotion", softmax(test_logits[head][known], temperature), truth[head][known], labels
        )
        packages[f"emotion-{head}"] = {
            "head": head,
            "labels": list(labels),
            "temperature": temperature,
            "prior": {"data": shares(shown.by_head[head].sum(axis=0).tolist())},
            "accuracy": {
                "evaluation_split_top1": round(float(scores[head]["top1"]), 4),
                "n": scores[head]["n"],
            },
        }
        plot_confusion(scores[head]["confusion"], labels, out / f"confusion-{head}.png")
        report(f"{head}: evaluation split top-1 {scores[head]['top1']:.4f}")
    plot_confusion(scores["fer7"]["confusion"], FER7, out / "confusion.png")
    plot_curves(history, out / "curves.png")
    (out / "report.txt").write_text("\n\n".join(class_table(figures) for figures in scores.values()) + "\n")
    write_json(out / "labels.json", list(prepared.heads[list(prepared.heads)[-1]]))
    write_json(out / "metrics.json", {
        "evaluation": scores, "best_epoch": max(history, key=lambda row: row["score"]),
        "recipe": asdict(recipe), "data": prepared.facts, **environment(),
    })  # fmt: skip
    write_json(out / "package.json", {
        "task": "emotion",
        "input": {"width": SIDE, "height": SIDE, "color": "gray", "normalize": "standardize"},
        "crop": asdict(FER_CROP),
        "threshold": THRESHOLD,
        "options": {"portraits": "cut"},
        "training": {"data": "FER-2013" + (" with FER+ votes" if prepared.votes else ""), **prepared.facts},
        "packages": packages,
    })  # fmt: skip
