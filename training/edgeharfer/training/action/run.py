"""What a run of action training leaves behind: model, figures, plots, the package's facts and a card."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import keras
import numpy as np

from edgeharfer.training.action.card import Run, model_card
from edgeharfer.training.plots import plot_confusion, plot_curves
from edgeharfer.training.records import class_table, environment, shares, write_history, write_json

Row = Mapping[str, Any]


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
            "clips": run.clip_set.clip_counts, "groups": run.clip_set.group_counts,
            "skipped": dict(run.skipped), "sha256": run.clip_set.digest,
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
        "prior": {"data": shares([*run.clip_set.clip_counts.values()])},
        "training": {
            "clips": len(run.clip_set.clips),
            "data": list(recipe.provenance),
            "data_sha256": run.clip_set.digest,
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
