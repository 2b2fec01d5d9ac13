"""What a run of action training leaves behind: the model, its figures, plots, the package's facts and a card."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from edgeharfer.training.action_recipe import ActionRecipe
from edgeharfer.training.clips import BACKGROUND
from edgeharfer.training.plots import plot_confusion, plot_curves
from edgeharfer.training.records import class_table, environment, markdown_table, shares, write_json

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Run:
    """A finished training.

    figures: out-of-fold, as `summarize_clips` gives them. folds: top-1 of each. history: a row per head
    and epoch. backbone: architecture, weights and hash. groups: number of them in each class.
    """

    recipe: ActionRecipe
    labels: tuple[str, ...]
    figures: Mapping[str, Any]
    folds: Sequence[Row]
    history: Sequence[Row]
    temperature: float
    threshold: float
    skipped: Mapping[str, str]
    backbone: Mapping[str, str]
    counts: Mapping[str, int]
    groups: Mapping[str, int]
    data_sha256: str

    @property
    def settings(self) -> dict[str, Any]:
        """The recipe as plain values."""
        return asdict(self.recipe)

    @property
    def split(self) -> str:
        """How clips were kept apart, in words."""
        by = "scenes found by their looks" if self.recipe.grouping == "scenes" else "blocks of ten numbers"
        return f"{self.recipe.folds} folds of whole groups (gNN in the name, else {by})"


def save_run(out: Path, model: keras.Model, run: Run) -> None:
    """Write everything into the folder `out`."""
    model.save(out / "model.keras")
    write_json(out / "labels.json", list(run.labels))
    write_json(out / "metrics.json", metrics(run))
    write_json(out / "package.json", package_facts(run))
    write_history(out / "history.csv", run.history)
    plot_curves(mean_curves(run.history), out / "curves.png")
    plot_confusion(run.figures["confusion"], run.labels, out / "confusion.png")
    (out / "report.txt").write_text(report_text(run), encoding="utf-8")
    (out / "MODELCARD.md").write_text(model_card(run), encoding="utf-8")


def metrics(run: Run) -> dict[str, object]:
    """All figures, and all that they depend on."""
    return {
        "cross_validation": run.figures,
        "folds": list(run.folds),
        "split": run.split,
        "temperature": run.temperature,
        "threshold": run.threshold,
        "data": {
            "clips": dict(run.counts), "groups": dict(run.groups), "skipped": dict(run.skipped),
            "sha256": run.data_sha256,
        },
        "backbone": dict(run.backbone),
        "recipe": run.settings,
        **environment(),
    }  # fmt: skip


def package_facts(run: Run) -> dict[str, object]:
    """What the exporter puts into the manifest."""
    recipe, spec = run.recipe, run.recipe.clip_spec
    return {
        "task": "action",
        "name": recipe.name,
        "labels": list(run.labels),
        "input": asdict(spec.input),
        "output": "probs",
        "window": asdict(spec.window),
        "threshold": run.threshold,
        "prior": {"data": shares([run.counts[label] for label in run.labels])},
        "training": {
            "clips": sum(run.counts.values()),
            "data": list(recipe.provenance),
            "data_sha256": run.data_sha256,
            "backbone": dict(run.backbone),
            "temperature_folded_in": round(run.temperature, 4),
        },
        "accuracy": {
            "split": run.split,
            "clips": run.figures["n"],
            "top1": round(run.figures["top1"], 4),
            "top3": round(run.figures["top3"], 4),
            "macro_f1": round(run.figures["macro_f1"], 4),
            "window_top1": round(run.figures["window_top1"], 4),
        },
    }


def write_history(path: Path, history: Sequence[Row]) -> None:
    """One row for each head and epoch."""
    names = list(dict.fromkeys(name for row in history for name in row))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(history)


def mean_curves(history: Sequence[Row]) -> list[dict[str, float]]:
    """Mean over the folds, epoch by epoch, and the loss of the final head."""
    by_epoch: dict[float, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in history:
        figures = by_epoch[row["epoch"]]
        kind = "final" if row["run"] == "final" else "fold"
        figures[f"{kind} loss"].append(row["loss"])
        if "held_out_top1" in row:
            figures["held-out top-1 (middle window)"].append(row["held_out_top1"])
    return [
        {"epoch": epoch, **{name: float(np.mean(values)) for name, values in figures.items()}}
        for epoch, figures in by_epoch.items()
    ]


def report_text(run: Run) -> str:
    """The figures for people."""
    lines = [
        f"{run.recipe.name}: {run.split}",
        f"clip top-1 {run.figures['top1']:.4f}, window top-1 {run.figures['window_top1']:.4f} "
        f"of {run.figures['windows']} windows",
        "folds: " + ", ".join(f"{row['top1']:.3f} of {row['clips']}" for row in run.folds),
        f"temperature {run.temperature:.3f} (folded into the model), threshold {run.threshold:g}",
        "", class_table(run.figures),
        "", "wrong clips:",
        *(f"  {one['clip']}: {one['predicted']} ({one['score']:.2f})" for one in run.figures["mistakes"]),
    ]  # fmt: skip
    lines += (
        ["", "skipped:", *(f"  {name}: {why}" for name, why in run.skipped.items())] if run.skipped else []
    )
    return "\n".join(lines) + "\n"


def model_card(run: Run) -> str:
    """The card of the package."""
    recipe, figures = run.recipe, run.figures
    actions = [label for label in run.labels if label != BACKGROUND]
    provenance = [f"- {line}" for line in recipe.provenance] or ["- Not stated by whoever trained it."]
    calm = (
        [
            "`background` stands for ordinary scenes in which none of the others happens; it is only as wide as its clips."
        ]
        if BACKGROUND in run.labels
        else []
    )
    return "\n".join([
        f"# {recipe.name}",
        "",
        f"Tells which of {len(actions)} actions the last {recipe.seconds:g} s of video show: {', '.join(actions)}.",
        *calm,
        "",
        "## Model",
        "",
        f"{run.backbone['architecture']} (width {recipe.alpha:g}, frozen, {recipe.side}x{recipe.side} RGB in [-1, 1], the "
        f"whole picture stretched) on {recipe.frames} pictures spread over {recipe.seconds:g} s, then "
        f"LSTM({recipe.units}) and softmax. Backbone weights: {run.backbone['weights']}.",
        "",
        "## Data and its terms",
        "",
        f"{sum(run.counts.values())} clips, {len(run.skipped)} more skipped as unreadable or copies. No clip is part of "
        "this package.",
        "",
        *provenance,
        "",
        "## Accuracy",
        "",
        f"Cross-validated in {run.split}: every clip was judged by a model that had seen no clip of its group. The "
        "model here was then trained on all clips in the same way.",
        "",
        f"- clips, their windows averaged: top-1 **{100 * figures['top1']:.1f} %**, top-3 {100 * figures['top3']:.1f} %, "
        f"macro F1 {figures['macro_f1']:.3f}, n = {figures['n']}",
        f"- single live windows: top-1 **{100 * figures['window_top1']:.1f} %** of {figures['windows']}",
        f"- below a score of {run.threshold:g} the runtime says `uncertain`; scores are calibrated on held-out clips",
        "",
        markdown_table(figures),
        "",
        "## Limits",
        "",
        "- It goes by what a scene looks like more than by how it moves: the place or tool of an action may be taken "
        "for the action.",
        "- Scenes unlike the training clips are named too: the score is low more often, not always.",
        "- The classes have few clips; a figure of one class above rests on its column n.",
        "",
        "## Use",
        "",
        "- Intended: demonstrations, sorting of one's own video, a start for training on one's own clips.",
        "- Not for: decisions about people, surveillance of persons, alarms on which anyone's safety rests.",
        "",
    ])  # fmt: skip
