"""A training on joints from data to artifacts: hold out sources and people, train on everything, measure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgeharfer.runtime.errors import ConfigError
from edgeharfer.runtime.inference.manifest import POSE
from edgeharfer.runtime.inference.package import load_package
from edgeharfer.runtime.staging import write_json
from edgeharfer.runtime.tasks.movenet import PoseModel
from edgeharfer.runtime.types import BACKGROUND, UNCERTAIN, Floats
from edgeharfer.training.joints.card import model_card
from edgeharfer.training.joints.recipe import JointRecipe
from edgeharfer.training.joints.tracks import (
    FALL,
    JointTrack,
    read_annotated,
    read_background,
    read_true_joints,
)
from edgeharfer.training.joints.train import (
    Classify,
    LiveReading,
    Report,
    Windows,
    classifier,
    classify_clips,
    draw_windows,
    read_live,
    shares,
    train_head,
)
from edgeharfer.training.lazy_keras import keras
from edgeharfer.training.records import RUN_MODEL, environment, file_hash

TRUE = "true joints"
MAX_DELAY_S = 2.0
"""A fall is found if it is reported within this time of its beginning (or of the first full window)."""
_DRAWS = 5
"""Draws of disturbed test joints."""


@dataclass(frozen=True)
class JointData:
    """Data of a training.

    Attributes:
        true_joints: File of true joints, see `read_true_joints`.
        annotated: Folder of annotated clips, see `read_annotated`; None without falls.
        background: Folders of background clips.
    """

    true_joints: Path
    annotated: Path | None
    background: Sequence[Path]


def train_joints(
    data: JointData, out: Path, recipe: JointRecipe, *, cache: Path | None = None, report: Report = print
) -> dict[str, Any]:
    """Train a head on joints and write the artifacts of the run.

    Args:
        data: The data.
        out: Folder of the run. Heads of folds are kept there, so that a stopped run can continue.
        recipe: All settings.
        cache: Folder that keeps the joints of clips; by default inside `out`.
        report: Receives progress messages.

    Returns:
        The content of metrics.json.

    Raises:
        ConfigError: The data is missing or has another layout.
        SourceError: A file cannot be read.
    """
    out.mkdir(parents=True, exist_ok=True)
    tracks = read_tracks(data, recipe, cache or out / "joints")
    test = [
        track
        for track in read_true_joints(data.true_joints, "test", recipe.actions)
        if track.right[0] != frozenset({BACKGROUND})
    ]
    report(f"{len(tracks)} clips of {', '.join(sorted({track.source for track in tracks}))}")
    windows = draw_windows(tracks, recipe)
    held = [
        held_out_figures(fold, tracks, windows, out / f"fold-{number}.keras", recipe, report)
        for number, fold in enumerate(folds(tracks))
    ]
    head = _trained(out / RUN_MODEL, windows, recipe, report)
    metrics = {
        "true_joints": clip_figures(classifier(head), test, recipe),
        "sources": {name: row for one in held for name, row in one["sources"].items()},
        "falls": [row for one in held for row in one["falls"]],
        "false_falls": [name for one in held for name in one["false_falls"]],
        "daily": {name: row for one in held for name, row in one["daily"].items()},
        "seen_in_clips": sorted(labels_in_clips(tracks)),
        "clips": dict(Counter(track.source for track in tracks)),
        "recipe": asdict(recipe),
        "true_joints_sha256": file_hash(data.true_joints),
        **environment(),
    }
    write_json(out / "metrics.json", metrics)
    write_json(out / "package.json", package_facts(metrics, recipe))
    (out / "MODELCARD.md").write_text(model_card(metrics, recipe), encoding="utf-8")
    return metrics


def labels_in_clips(tracks: Sequence[JointTrack]) -> set[str]:
    """Return the labels that clips show, not only true joints."""
    known = [right for track in tracks if track.source != TRUE for right in track.right if right]
    return {label for right in known if len(right) == 1 for label in right}


def read_tracks(data: JointData, recipe: JointRecipe, cache: Path) -> list[JointTrack]:
    """Read all tracks that are trained on."""
    model = PoseModel(load_package(POSE))
    try:
        tracks = read_true_joints(data.true_joints, "train", recipe.actions)
        tracks += read_annotated(data.annotated, model, cache) if data.annotated else []
        for folder in data.background:
            tracks += read_background(folder, model, cache, recipe.left_out)
    finally:
        model.close()
    if not any(track.source != TRUE for track in tracks):
        raise ConfigError("no background clip was found: pass a folder of clips with --background")
    return tracks


def folds(tracks: Sequence[JointTrack]) -> Iterator[frozenset[tuple[str, str]]]:
    """Yield what is held out in each fold: a person of the annotated clips and a source of background."""
    people = sorted({(one.source, one.group) for one in tracks if one.annotated})
    annotated = {source for source, _ in people}
    sources = sorted({one.source for one in tracks} - annotated - {TRUE})
    for number in range(max(len(people), len(sources))):
        yield frozenset(
            [*people[number : number + 1], *((name, "") for name in sources[number : number + 1])]
        )


def held_out_figures(
    fold: frozenset[tuple[str, str]],
    tracks: Sequence[JointTrack],
    windows: Windows,
    file: Path,
    recipe: JointRecipe,
    report: Report,
) -> dict[str, Any]:
    """Train without the tracks of a fold, and return what the head reads in them."""
    outside = [(one.source, "") in fold or (one.source, one.group) in fold for one in tracks]
    head = _trained(file, windows.of([not value for value in outside]), recipe, report)
    classify = classifier(head)
    figures: dict[str, Any] = {"sources": {}, "falls": [], "false_falls": [], "daily": {}}
    by_source: dict[str, list[LiveReading]] = {}
    for track, is_held in zip(tracks, outside, strict=True):
        if not is_held:
            continue
        readings = read_live(classify, track, recipe)
        start = next((index / track.fps for index, right in enumerate(track.right) if right is None), None)
        if start is not None:
            figures["falls"].append(fall_row(track, readings, start))
        if any(one.label == FALL and (start is None or one.at_s < start) for one in readings):
            figures["false_falls"].append(f"{track.source} {track.name}")
        if (track.source, "") in fold:
            by_source.setdefault(track.source, []).extend(readings)
        elif start is None:
            figures["daily"][track.name] = dict(Counter(one.label for one in readings).most_common())
    for name, readings in by_source.items():
        labels = Counter(one.label for one in readings)
        figures["sources"][name] = {"frames": len(readings), **shares(readings), "labels": dict(labels)}
    described = (
        f"; {name}: named {row['named']:.1%}, uncertain {row[UNCERTAIN]:.1%}, "
        f"background {row[BACKGROUND]:.1%} of {row['frames']} frames"
        for name, row in figures["sources"].items()
    )
    report(f"held out {', '.join(' '.join(one).strip() for one in sorted(fold))}{''.join(described)}")
    return figures


def fall_row(track: JointTrack, readings: Sequence[LiveReading], start: float) -> dict[str, Any]:
    """Return when a fall was reported; `delay_s` counts from its beginning, or from the first full window."""
    found = next((one.at_s for one in readings if one.label == FALL and one.at_s >= start), None)
    first = max(start, readings[0].at_s if readings else 0.0)
    return {
        "clip": track.name,
        "start_s": start,
        "found_s": found,
        "delay_s": None if found is None else round(found - first, 3),
    }


def clip_figures(classify: Classify, test: Sequence[JointTrack], recipe: JointRecipe) -> dict[str, Any]:
    """Return the accuracy on true joints of test clips, as they are and as two pose models disagree."""
    truth = np.array([recipe.labels.index(next(iter(track.right[0] or ()))) for track in test])
    actions = len(recipe.actions)

    def scores(probs: Floats) -> dict[str, float]:
        return {
            "top1": float((probs[:, :actions].argmax(axis=1) == truth).mean()),
            "top1_of_all": float((probs.argmax(axis=1) == truth).mean()),
        }

    def disturb(joints: Floats) -> Floats:
        return recipe.disagreement.apply(joints, rng)

    rng = np.random.default_rng(recipe.seed)
    plain = classify_clips(classify, test, recipe.window)
    disturbed = [scores(classify_clips(classify, test, recipe.window, disturb)) for _ in range(_DRAWS)]
    confusion = np.zeros((actions, len(recipe.labels)), int)
    np.add.at(confusion, (truth, plain.argmax(axis=1)), 1)
    return {
        "clips": len(test),
        **scores(plain),
        "disturbed": {name: float(np.mean([row[name] for row in disturbed])) for name in disturbed[0]},
        "confusion": confusion.tolist(),
    }


def package_facts(metrics: Mapping[str, Any], recipe: JointRecipe) -> dict[str, object]:
    """Return what the exporter writes to the manifest."""
    figures = metrics["true_joints"]
    return {
        "task": "action",
        "name": recipe.name,
        "labels": list(recipe.labels),
        "input": load_package(POSE).manifest.input.to_dict(),
        "encoder": POSE,
        "output": "probs",
        "window": asdict(recipe.window),
        "threshold": recipe.threshold,
        **({"background_threshold": recipe.background_threshold} if recipe.background_threshold else {}),
        "training": {
            "data": list(recipe.provenance),
            "clips": metrics["clips"],
            "true_joints_sha256": metrics["true_joints_sha256"],
        },
        "accuracy": {
            "split": "the test split of the true joints; sources of background and people who fall held out",
            "clips": figures["clips"],
            "top1": round(figures["top1"], 4),
            "top1_disturbed": round(figures["disturbed"]["top1"], 4),
            "falls_found": found_falls(metrics),
            "falls": len(metrics["falls"]),
        },
    }


def found_falls(metrics: Mapping[str, Any]) -> int:
    """Return the number of falls that were reported in time."""
    return sum(row["delay_s"] is not None and row["delay_s"] <= MAX_DELAY_S for row in metrics["falls"])


def _trained(file: Path, windows: Windows, recipe: JointRecipe, report: Report) -> keras.Model:
    """Return the head of a file, which is trained if it does not exist."""
    if file.exists():
        return keras.models.load_model(file, compile=False)
    head = train_head(windows, recipe, report)
    head.save(file)
    return head
