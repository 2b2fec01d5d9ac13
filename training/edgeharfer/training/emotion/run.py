"""What a run of emotion training leaves behind: figures, plots, the packages' facts and cards."""

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
from edgeharfer.training.emotion.card import mean_recall, model_card
from edgeharfer.training.emotion.data import TrainingData, make_targets, true_labels
from edgeharfer.training.emotion.recipe import EmotionRecipe
from edgeharfer.training.emotion.sheets import mistakes_sheet
from edgeharfer.training.plots import plot_confusion, plot_curves, plot_reliability
from edgeharfer.training.records import class_table, environment, shares, write_history
from edgeharfer.training.temperature import fit_temperature

EVENNESS = {"fer7": 0.0, "fer8": 0.5}
"""How far `run` evens out the classes' shares of the training data: to their power 1 - evenness.
Over a third of FER+ is neutral; with that prior a live face would seldom be told to show anything else, and
contempt never. FER-2013's own labels are even enough. Chosen on training and held-back pictures: the most
that costs them hardly any top-1."""
ASSUMED_IN_WORDS = {0.0: "those shares", 0.5: "their square roots"}
MIN_RECALL, MIN_PICTURES = 0.48, 20
"""A class of that many held-back pictures of which fewer are found gets a larger share."""
LIFT, MAX_LOST = 1.05, 0.005
"""Factor of one step, and the most that all steps may cost in top-1 on those pictures."""
SPLITS_IN_WORDS = {"val": "PublicTest"}
"""What FER-2013's authors call a split of the usual folders."""
THRESHOLD = 0.4
"""Below this probability a package says "uncertain"."""
TEMPERATURES = (0.3, 3.0, 121)
"""Lowest, highest, and how many are tried."""

Shares = NDArray[np.float64]


@dataclass(frozen=True)
class HeadFigures:
    """One head, scored once on the evaluation split.

    by_prior: the object of `evaluate --json` under the priors "data", "package" and "uniform".
    trained: class shares of the training targets. assumed: those that `run` assumes; lifts: the classes
    among them whose share was raised for their recall, and how many times.
    truth: (pictures,), -1 where the head's labels say nothing. uncalibrated, probs: (pictures, classes)
    under the data's prior, before and after the temperature.
    """

    head: str
    labels: tuple[str, ...]
    temperature: float
    trained: Shares
    assumed: Shares
    lifts: Mapping[str, float]
    by_prior: Mapping[str, Any]
    split: str
    truth: NDArray[np.int64]
    uncalibrated: Floats
    probs: Floats

    @property
    def chosen(self) -> Any:
        """The figures under the prior that `run` assumes."""
        return self.by_prior["package"]

    @property
    def calibration(self) -> dict[str, float]:
        """Expected calibration error under the data's prior, before and after the temperature."""
        known = self.truth >= 0
        return {
            name: round(calibration_error(probs[known], self.truth[known]), 4)
            for name, probs in (("before", self.uncalibrated), ("after", self.probs))
        }

    def package_facts(self) -> dict[str, Any]:
        """What the manifest of this head's package says beside what all heads share."""
        priors = self.by_prior.items()
        return {
            "head": self.head,
            "labels": list(self.labels),
            "temperature": self.temperature,
            "prior": {"data": self.trained.tolist(), "package": self.assumed.tolist()},
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


def score_heads(
    prepared: TrainingData,
    validation_logits: Mapping[str, Floats],
    test_logits: Mapping[str, Floats],
    *,
    weight_cap: float = 0.0,
) -> list[HeadFigures]:
    """Temperatures from the held-back pictures, figures from the evaluation split.

    weight_cap: of the class weights in training, which change the shares that the network has learned.
    """
    held_back = make_targets(prepared.validation, prepared.votes).by_head
    taught = make_targets(prepared.train, prepared.votes, weight_cap=weight_cap).by_head
    truth = true_labels(prepared.test, prepared.votes)
    known_labels = true_labels(prepared.validation, prepared.votes)
    found = []
    for head, labels in prepared.heads.items():
        temperature = fit_temperature(validation_logits[head], held_back[head], *TEMPERATURES)
        trained = np.asarray(shares(taught[head].sum(axis=0).tolist()))
        held_back_probs = softmax(validation_logits[head], temperature)
        even = evened(trained, EVENNESS[head])
        lifts = weak_lifts(reweight(held_back_probs, prior_ratio(even, trained)), known_labels[head], labels)
        raised = even * [lifts.get(label, 1.0) for label in labels]
        priors = {
            "data": trained,
            "package": np.asarray(shares(raised.tolist())),
            "uniform": evened(trained, 1.0),
        }
        known = truth[head] >= 0
        probs = softmax(test_logits[head], temperature)
        by_prior = {
            name: score(
                "emotion", reweight(probs[known], prior_ratio(prior, trained)), truth[head][known], labels
            )
            for name, prior in priors.items()
        }
        one = HeadFigures(
            head, labels, temperature, trained, priors["package"], lifts, by_prior,
            split=SPLITS_IN_WORDS.get(prepared.test.split, prepared.test.split),
            truth=truth[head], uncalibrated=softmax(test_logits[head], 1.0), probs=probs,
        )  # fmt: skip
        found.append(one)
    return found


def save_run(
    out: Path,
    model: keras.Model,
    recipe: EmotionRecipe,
    spec: InputSpec,
    prepared: TrainingData,
    heads: list[HeadFigures],
    history: list[dict[str, float]],
) -> None:
    """Write everything into the folder `out`."""
    model.save(out / "model.keras")
    common = {
        "arch": recipe.arch,
        "input": spec,
        "parameters": model.count_params(),
        "pictures": len(prepared.train),
        "validation": len(prepared.validation),
        "votes": prepared.votes is not None,
        "dropped": prepared.facts["dropped"],
        "provenance": recipe.provenance,
    }
    for one in heads:
        name = f"emotion-{one.head}"
        facts = {
            **common,
            "temperature": one.temperature,
            "calibration": one.calibration,
            "split": one.split,
            "assumed": assumed_in_words(one),
        }
        card = model_card(name, one.head, facts, one.by_prior)
        (out / f"MODELCARD.{name}.md").write_text(card, encoding="utf-8")
        plot_confusion(one.chosen["confusion"], one.labels, out / f"confusion-{one.head}.png")
        known = one.truth >= 0
        curves = {"before": one.uncalibrated[known], "after the temperature": one.probs[known]}
        plot_reliability(curves, one.truth[known], out / f"reliability-{one.head}.png")
        mistakes_sheet(prepared.test, one.probs, one.truth, one.labels, out / f"mistakes-{one.head}.png")
    plot_confusion(heads[0].by_prior["data"]["confusion"], heads[0].labels, out / "confusion.png")
    plot_curves(history, out / "curves.png")
    write_history(out / "history.csv", history)
    tables = [f"{one}\n{class_table(one.by_prior['data'])}" for one in heads]
    (out / "report.txt").write_text("\n\n".join(tables) + "\n", encoding="utf-8")
    write_json(out / "labels.json", list(heads[-1].labels))
    write_json(out / "package.json", run_facts(prepared, spec, heads))
    write_json(
        out / "metrics.json",
        {
            "evaluation": {one.head: one.by_prior for one in heads},
            "expected_calibration_error": {one.head: one.calibration for one in heads},
            "best_epoch": max(history, key=lambda row: row["score"]),
            "recipe": asdict(recipe),
            "data": prepared.facts,
            **environment(),
        },
    )


def run_facts(prepared: TrainingData, spec: InputSpec, heads: list[HeadFigures]) -> dict[str, object]:
    """What the exporter puts into the manifests."""
    learned_from = "FER-2013" + (" with FER+ votes" if prepared.votes else "")
    return {
        "task": "emotion",
        "input": asdict(spec),
        "crop": asdict(FER_CROP),
        "threshold": THRESHOLD,
        "options": {"portraits": "cut"},
        "training": {"data": learned_from, **prepared.facts},
        "packages": {f"emotion-{one.head}": one.package_facts() for one in heads},
    }


def weak_lifts(probs: Floats, truth: NDArray[np.int64], labels: tuple[str, ...]) -> dict[str, float]:
    """How many times more the classes that are seldom found must be assumed, so that they are.

    probs: (pictures, classes) of held-back pictures; truth: (pictures,), -1 where nothing is said. A network
    that calls a class too seldom gains by it; where it does not, MAX_LOST bounds the price.
    """
    probs, truth = probs[truth >= 0], truth[truth >= 0]
    weights = np.ones(len(labels), np.float32)
    counts = np.bincount(truth, minlength=len(labels))
    least = float((probs.argmax(axis=1) == truth).mean()) - MAX_LOST
    for _ in range(100):
        right = (probs * weights).argmax(axis=1) == truth
        recalls = np.bincount(truth, right, len(labels)) / np.maximum(counts, 1)
        weak = (recalls < MIN_RECALL) & (counts >= MIN_PICTURES)
        raised = np.where(weak, weights * LIFT, weights).astype(np.float32)
        if not weak.any() or float(((probs * raised).argmax(axis=1) == truth).mean()) < least:
            break
        weights = raised
    return {label: round(float(w), 3) for label, w in zip(labels, weights, strict=True) if w > 1}


def assumed_in_words(one: HeadFigures) -> str:
    """The shares that `run` assumes, for the card."""
    lifts = (f"that of {label} {factor:.2g} times as large" for label, factor in one.lifts.items())
    return ", ".join([ASSUMED_IN_WORDS[EVENNESS[one.head]], *lifts])


def evened(trained: Shares, evenness: float) -> Shares:
    """Class shares made more alike: their power 1 - evenness, from 0 (as they are) to 1 (all the same)."""
    return np.asarray(shares((trained ** (1 - evenness)).tolist()))
