"""Write the artifacts of an action training: model, figures, plots, package facts and model card."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import keras
import numpy as np

from edgeharfer.runtime.staging import write_json
from edgeharfer.training.action.card import TrainingRun, model_card
from edgeharfer.training.plots import plot_confusion, plot_curves, plot_reliability
from edgeharfer.training.records import RUN_MODEL, class_table, environment, normalize_weights, write_history

Row = Mapping[str, Any]

_MAX_FOLDS = 10
"""Folds listed individually in report.txt."""

SILENCE_LINE = (
    "never trained on {source}: named {named:.1%}, uncertain {uncertain:.1%}, background {background:.1%} of "
    "{windows} windows"
)

CURVE_LABELS = {
    "epoch": "epoch",
    "loss": "loss, mean of the folds",
    "final_loss": "loss, all clips",
    "score": "held-out top-1 (middle window{part})",
}
"""Column of history.csv -> legend of curves.png."""


def save_run(out: Path, model: keras.Model, run: TrainingRun) -> None:
    """Write all artifacts of the run to the folder `out`."""
    model.save(out / RUN_MODEL)
    write_json(out / "labels.json", list(run.labels))
    write_json(out / "metrics.json", metrics(run))
    write_json(out / "package.json", package_facts(run))
    write_history(out / "heads.csv", run.history)
    curves = mean_curves(run.history)
    write_history(out / "history.csv", curves)
    part = "" if run.recipe.solved else ", without the linear branch" * run.recipe.linear_branch
    legend = {name: text.format(part=part) for name, text in CURVE_LABELS.items()}
    plot_curves([{legend[name]: value for name, value in row.items()} for row in curves], out / "curves.png")
    plot_confusion(run.figures["confusion"], run.labels, out / "confusion.png")
    confidence = {"before": run.result.raw, "after the temperature": run.result.probs}
    plot_reliability(confidence, run.result.truth, out / "reliability.png")
    (out / "report.txt").write_text(report_text(run), encoding="utf-8")
    (out / "MODELCARD.md").write_text(model_card(run), encoding="utf-8")


def metrics(run: TrainingRun) -> dict[str, object]:
    """Return the content of metrics.json: all figures and what they depend on."""
    return {
        "cross_validation": run.figures,
        "live_windows": run.result.live,
        "aside": run.result.aside,
        "unknown_sources": list(run.silence),
        "folds": list(run.result.folds),
        "split": run.recipe.split,
        "temperature": run.result.temperature,
        "threshold": run.result.threshold,
        "expected_calibration_error": run.result.calibration,
        "data": {
            "clips": run.clip_set.clip_counts, "groups": run.clip_set.group_counts,
            "skipped": dict(run.skipped), "sha256": run.clip_set.digest,
        },
        "backbone": dict(run.backbone),
        "recipe": asdict(run.recipe),
        **environment(),
    }  # fmt: skip


def package_facts(run: TrainingRun) -> dict[str, object]:
    """Return what the exporter writes to the manifest."""
    recipe, spec, live = run.recipe, run.recipe.clip_spec, run.result.live
    return {
        "task": "action",
        "name": recipe.name,
        "labels": list(run.labels),
        "input": spec.input.to_dict(),
        "output": "probs",
        "window": asdict(spec.window),
        "threshold": run.result.threshold,
        **({"background_threshold": recipe.background_threshold} if recipe.background_threshold else {}),
        "prior": {"data": normalize_weights([*run.clip_set.clip_counts.values()])},
        "training": {
            "clips": len(run.clip_set.clips),
            "data": list(recipe.provenance),
            "data_sha256": run.clip_set.digest,
            "backbone": dict(run.backbone),
            "temperature_folded_in": round(run.result.temperature, 4),
        },
        "accuracy": {
            "split": recipe.split,
            "clips": live["n"],
            **{name: round(live[name], 4) for name in ("top1", "top3", "macro_f1", "window_top1")},
            **({} if recipe.sampling == "time" else {"whole_clip_top1": round(run.figures["top1"], 4)}),
            "expected_calibration_error": run.result.calibration["after"],
            **_auxiliary_accuracy(run),
            **_silence_accuracy(run),
        },
    }


def _auxiliary_accuracy(run: TrainingRun) -> dict[str, object]:
    """Return the accuracy on background clips that are labelled with a class of the data."""
    found = run.result.aside
    return {} if found is None else {"clips_beside": found["n"], "top1_beside": round(found["top1"], 4)}


def _silence_accuracy(run: TrainingRun) -> dict[str, object]:
    """Return the shares of windows of background sources that were left out, rounded for the manifest."""
    names = ("named", "uncertain", "background")
    rows = {row["source"]: {name: round(row[name], 4) for name in names} for row in run.silence}
    return {"unknown_sources": rows} if rows else {}


def mean_curves(history: Sequence[Row]) -> list[dict[str, float]]:
    """Average the history over the folds, epoch by epoch.

    Returns:
        One row per epoch. "score" is the mean top-1 on the middle window of held-out clips, without the
        linear branch, which is fitted last; "final_loss" is the loss of the head on all clips.
    """
    by_epoch: dict[float, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in history:
        figures = by_epoch[row["epoch"]]
        figures["final_loss" if row["run"] == "final" else "loss"].append(row["loss"])
        if "held_out_top1" in row:
            figures["score"].append(row["held_out_top1"])
    return [
        {"epoch": epoch, **{name: float(np.mean(values)) for name, values in figures.items()}}
        for epoch, figures in by_epoch.items()
    ]


def report_text(run: TrainingRun) -> str:
    """Return the content of report.txt."""
    result, spread, aside = run.result, run.recipe.sampling == "uniform", run.result.aside
    auxiliary = f"auxiliary background clips: {{n}} labelled {run.recipe.background}: top-1 {{top1:.4f}}"
    lines = [
        f"{run.recipe.name}: {run.recipe.split}",
        f"clip top-1 {run.figures['top1']:.4f}{', one window over the whole clip' * spread}",
        f"live windows: top-1 {result.live['window_top1']:.4f} of {result.live['windows']}, "
        f"averaged over each clip {result.live['top1']:.4f}",
        *([] if aside is None else [auxiliary.format_map(aside)]),
        *(SILENCE_LINE.format_map(row) for row in run.silence),
        "folds: " + ", ".join(f"{row['top1']:.3f} of {row['clips']}" for row in result.folds[:_MAX_FOLDS])
        + f" and {len(result.folds) - _MAX_FOLDS} more" * (len(result.folds) > _MAX_FOLDS),
        f"temperature {result.temperature:.3f} (folded into the model), threshold {result.threshold:g}; "
        "expected calibration error {before:.3f} before, {after:.3f} after".format(**result.calibration),
        "", class_table(run.figures),
        "", "wrong clips:",
        *(f"  {one['clip']}: {one['predicted']} ({one['score']:.2f})" for one in run.figures["mistakes"]),
    ]  # fmt: skip
    lines += (
        ["", "skipped:", *(f"  {name}: {why}" for name, why in run.skipped.items())] if run.skipped else []
    )
    return "\n".join(lines) + "\n"
