"""Evaluate an emotion training and write its artifacts: figures, plots, package facts and model cards."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from edgeharfer.evaluate.metrics import calibration_error, score
from edgeharfer.runtime.faces.align import FER_CROP
from edgeharfer.runtime.inference.manifest import InputSpec
from edgeharfer.runtime.staging import write_json
from edgeharfer.runtime.tasks.emotion import prior_ratio, reweight
from edgeharfer.runtime.tasks.smoothing import softmax
from edgeharfer.runtime.types import Floats
from edgeharfer.training.emotion.card import describe_lessons, mean_recall, model_card
from edgeharfer.training.emotion.data import TrainingData, make_targets, true_labels
from edgeharfer.training.emotion.recipe import EmotionRecipe
from edgeharfer.training.emotion.sheets import write_mistakes_sheet
from edgeharfer.training.plots import plot_confusion, plot_curves, plot_reliability
from edgeharfer.training.records import RUN_MODEL, class_table, environment, normalize_weights, write_history
from edgeharfer.training.temperature import fit_biases, fit_temperature

MIN_RECALL, MIN_PICTURES = 0.48, 20
"""A class with at least MIN_PICTURES held-out images and a lower recall gets a larger prior."""
BOOST_STEP, MAX_TOP1_LOSS = 1.05, 0.005
"""Factor of one boost step, and the largest loss of held-out top-1 that all steps may cause."""
SPLIT_DISPLAY_NAMES = {"val": "PublicTest"}
"""Names that FER-2013's authors use for the splits."""
THRESHOLD = 0.4
"""Probability below which a package reports "uncertain"."""
TEMPERATURES = (0.3, 3.0, 121)
"""Lowest and highest temperature, and the number of steps between them."""

Shares = NDArray[np.float64]


@dataclass(frozen=True)
class HeadEvaluation:
    """Results of one head on the evaluation split.

    Attributes:
        head: "fer7" or "fer8".
        labels: Its classes.
        temperature: Fitted temperature.
        training_prior: Class shares of the training targets.
        assumed: Class shares of the runtime's default prior.
        evenness: How much the default prior is flattened, see `flatten_prior`.
        boosts: Class -> factor by which its share in `assumed` was raised to improve its recall.
        by_prior: Result of `metrics.score` under the priors "data", "package" and "uniform".
        split: Name of the evaluation split.
        truth: True labels (n,), -1 where there is none.
        uncalibrated_probs: Probabilities (n, classes) under the data's prior, before temperature scaling.
        probs: The same, after temperature scaling.
    """

    head: str
    labels: tuple[str, ...]
    temperature: float
    training_prior: Shares
    assumed: Shares
    evenness: float
    boosts: Mapping[str, float]
    by_prior: Mapping[str, Any]
    split: str
    truth: NDArray[np.int64]
    uncalibrated_probs: Floats
    probs: Floats

    @property
    def chosen(self) -> Any:
        """The figures under the runtime's default prior."""
        return self.by_prior["package"]

    @property
    def calibration(self) -> dict[str, float]:
        """Expected calibration error under the data's prior, before and after temperature scaling."""
        known = self.truth >= 0
        return {
            name: round(calibration_error(probs[known], self.truth[known]), 4)
            for name, probs in (("before", self.uncalibrated_probs), ("after", self.probs))
        }

    def package_facts(self) -> dict[str, Any]:
        """Return the entries of this head's manifest that differ between heads."""
        priors = self.by_prior.items()
        return {
            "head": self.head,
            "labels": list(self.labels),
            "temperature": self.temperature,
            "prior": {"data": self.training_prior.tolist(), "package": self.assumed.tolist()},
            "accuracy": {
                "split": self.split,
                "n": self.chosen["n"],
                "expected_calibration_error": self.calibration["after"],
                **{f"top1_{prior}_prior": round(figures["top1"], 4) for prior, figures in priors},
                **{f"mean_recall_{prior}_prior": round(mean_recall(figures), 4) for prior, figures in priors},
            },
        }

    def __str__(self) -> str:
        figures = (
            f"{prior} prior: top-1 {found['top1']:.4f}, mean recall {mean_recall(found):.4f}"
            for prior, found in self.by_prior.items()
        )
        return f"{self.head}: {'; '.join(figures)}"


def evaluate_heads(
    prepared: TrainingData,
    validation_logits: Mapping[str, Floats],
    test_logits: Mapping[str, Floats],
    *,
    evenness: float,
    weight_cap: float = 0.0,
) -> list[HeadEvaluation]:
    """Fit temperatures and priors on the held-out images and score the evaluation split.

    Args:
        prepared: Data of the run.
        validation_logits: Head -> logits of the held-out images, (n, classes).
        test_logits: Head -> logits of the evaluation images, (n, classes).
        evenness: How much the runtime's default prior is flattened, see `flatten_prior`.
        weight_cap: Largest class weight in training, since class weights change the learned prior.
    """
    held_back = make_targets(prepared.validation, prepared.votes).by_head
    taught = make_targets(prepared.train, prepared.votes, weight_cap=weight_cap).by_head
    truth = true_labels(prepared.test, prepared.votes)
    known_labels = true_labels(prepared.validation, prepared.votes)
    results = []
    for head, labels in prepared.heads.items():
        temperature = fit_temperature(validation_logits[head], held_back[head], *TEMPERATURES)
        training_prior = np.asarray(normalize_weights(taught[head].sum(axis=0).tolist()))
        held_back_probs = softmax(validation_logits[head], temperature)
        flattened = flatten_prior(training_prior, evenness)
        boosts = boost_weak_classes(
            reweight(held_back_probs, prior_ratio(flattened, training_prior)), known_labels[head], labels
        )
        raised = flattened * [boosts.get(label, 1.0) for label in labels]
        priors = {
            "data": training_prior,
            "package": np.asarray(normalize_weights(raised.tolist())),
            "uniform": flatten_prior(training_prior, 1.0),
        }
        known = truth[head] >= 0
        probs = softmax(test_logits[head], temperature)
        by_prior = {
            name: score(
                "emotion",
                reweight(probs[known], prior_ratio(prior, training_prior)),
                truth[head][known],
                labels,
            )
            for name, prior in priors.items()
        }
        result = HeadEvaluation(
            head, labels, temperature, training_prior, priors["package"], evenness, boosts, by_prior,
            split=SPLIT_DISPLAY_NAMES.get(prepared.test.split, prepared.test.split),
            truth=truth[head], uncalibrated_probs=softmax(test_logits[head], 1.0), probs=probs,
        )  # fmt: skip
        results.append(result)
    return results


def fit_head_biases(prepared: TrainingData, logits: Mapping[str, Floats]) -> dict[str, Floats]:
    """Return head -> what to add to its biases, fitted on the held-out images.

    Args:
        prepared: Data of the run.
        logits: Head -> logits of the held-out images, (n, classes).
    """
    targets = make_targets(prepared.validation, prepared.votes).by_head
    return {
        head: fit_biases(rows, targets[head], fit_temperature(rows, targets[head], *TEMPERATURES))
        for head, rows in logits.items()
    }


def save_run(
    out: Path,
    model: keras.Model,
    recipe: EmotionRecipe,
    spec: InputSpec,
    prepared: TrainingData,
    heads: list[HeadEvaluation],
    history: list[dict[str, float]],
) -> None:
    """Write all artifacts of the run to the folder `out`."""
    model.save(out / RUN_MODEL)
    common = {
        "arch": recipe.arch,
        "input": spec,
        "parameters": model.count_params(),
        "pictures": len(prepared.train),
        "validation": len(prepared.validation),
        "votes": prepared.votes is not None,
        "dropped": prepared.facts["dropped"],
        "provenance": (*recipe.provenance, *describe_lessons(prepared.facts)),
    }
    for result in heads:
        name = f"emotion-{result.head}"
        facts = {
            **common,
            "temperature": result.temperature,
            "calibration": result.calibration,
            "split": result.split,
            "assumed": describe_prior(result),
        }
        card = model_card(name, result.head, facts, result.by_prior)
        (out / f"MODELCARD.{name}.md").write_text(card, encoding="utf-8")
        plot_confusion(result.chosen["confusion"], result.labels, out / f"confusion-{result.head}.png")
        known = result.truth >= 0
        curves = {"before": result.uncalibrated_probs[known], "after the temperature": result.probs[known]}
        plot_reliability(curves, result.truth[known], out / f"reliability-{result.head}.png")
        write_mistakes_sheet(
            prepared.test, result.probs, result.truth, result.labels, out / f"mistakes-{result.head}.png"
        )
    plot_confusion(heads[0].by_prior["data"]["confusion"], heads[0].labels, out / "confusion.png")
    plot_curves(history, out / "curves.png")
    write_history(out / "history.csv", history)
    tables = [f"{result}\n{class_table(result.by_prior['data'])}" for result in heads]
    (out / "report.txt").write_text("\n\n".join(tables) + "\n", encoding="utf-8")
    write_json(out / "labels.json", list(heads[-1].labels))
    write_json(out / "package.json", package_facts(prepared, spec, heads))
    write_json(
        out / "metrics.json",
        {
            "evaluation": {result.head: result.by_prior for result in heads},
            "expected_calibration_error": {result.head: result.calibration for result in heads},
            "best_epoch": max(history, key=lambda row: row["score"]),
            "recipe": asdict(recipe),
            "data": prepared.facts,
            **environment(),
        },
    )


def package_facts(prepared: TrainingData, spec: InputSpec, heads: list[HeadEvaluation]) -> dict[str, object]:
    """Return what the exporter writes to the manifests."""
    learned_from = "FER-2013" + (" with FER+ votes" if prepared.votes else "")
    return {
        "task": "emotion",
        "input": spec.to_dict(),
        "crop": asdict(FER_CROP),
        "threshold": THRESHOLD,
        "options": {"portraits": "cut"},
        "training": {"data": learned_from, **prepared.facts},
        "packages": {f"emotion-{result.head}": result.package_facts() for result in heads},
    }


def boost_weak_classes(probs: Floats, truth: NDArray[np.int64], labels: tuple[str, ...]) -> dict[str, float]:
    """Find prior factors that raise the recall of rarely predicted classes.

    Classes with a recall below MIN_RECALL are raised step by step, until none is left or held-out top-1 drops
    by more than MAX_TOP1_LOSS.

    Args:
        probs: Probabilities of the held-out images, (n, classes).
        truth: True labels (n,), -1 where there is none.
        labels: Class names.

    Returns:
        Class -> factor, for the raised classes.
    """
    probs, truth = probs[truth >= 0], truth[truth >= 0]
    weights = np.ones(len(labels), np.float32)
    counts = np.bincount(truth, minlength=len(labels))
    min_top1 = float((probs.argmax(axis=1) == truth).mean()) - MAX_TOP1_LOSS
    for _ in range(100):
        correct = (probs * weights).argmax(axis=1) == truth
        recalls = np.bincount(truth, correct, len(labels)) / np.maximum(counts, 1)
        weak = (recalls < MIN_RECALL) & (counts >= MIN_PICTURES)
        raised = np.where(weak, weights * BOOST_STEP, weights).astype(np.float32)
        if not weak.any() or float(((probs * raised).argmax(axis=1) == truth).mean()) < min_top1:
            break
        weights = raised
    return {label: round(float(w), 3) for label, w in zip(labels, weights, strict=True) if w > 1}


def describe_prior(result: HeadEvaluation) -> str:
    """Describe the runtime's default prior for the model card."""
    boosts = (f"that of {label} {factor:.2g} times as large" for label, factor in result.boosts.items())
    power = f" to the power {1 - result.evenness:.2g}" if result.evenness else ""
    return ", ".join([f"those shares{power}", *boosts])


def flatten_prior(training_prior: Shares, evenness: float) -> Shares:
    """Flatten class shares to the power 1 - evenness: 0 leaves them, 1 makes them equal."""
    return np.asarray(normalize_weights((training_prior ** (1 - evenness)).tolist()))
