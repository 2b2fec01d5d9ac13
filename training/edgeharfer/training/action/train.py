"""Train an action model on clips: frozen backbone, cached features, cross-validation, final head on all
clips.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import keras

from edgeharfer.runtime.errors import SourceError
from edgeharfer.training.action.card import TrainingRun
from edgeharfer.training.action.clips import EncodedClip
from edgeharfer.training.action.confidence import fold_temperature
from edgeharfer.training.action.crossval import Trainer, split_clips
from edgeharfer.training.action.encoder import make_representation
from edgeharfer.training.action.find import BACKGROUND, BackgroundSource, find_clips
from edgeharfer.training.action.recipe import ActionRecipe
from edgeharfer.training.action.run import SILENCE_LINE, save_run
from edgeharfer.training.action.sheets import write_augmentation_sheet, write_mistakes_sheet
from edgeharfer.training.action.silence import Thresholds, leave_sources_out, raise_threshold, source_table
from edgeharfer.training.action.store import load_clips
from edgeharfer.training.action.validation import cross_validate


def train_action(
    data: Path,
    out: Path,
    recipe: ActionRecipe,
    *,
    background: Sequence[BackgroundSource | Path] = (),
    backbone_weights: str | Path = "imagenet",
    features: Path | None = None,
    resume: bool = False,
    threads: int = 1,
    report: Callable[[str], None] = print,
) -> keras.Model:
    """Cross-validate and train an action model, and write the run to `out`.

    Figures are out-of-fold: each clip is evaluated by a head that was trained without its group. The saved
    model is then trained on all clips with the same settings. Encoded features are cached and reused by later
    runs.

    Args:
        data: Folder or zip of `<class>/<clip>`, or with splits, of which the training split is used.
        out: Folder of the run.
        recipe: All settings.
        background: Sources of clips of ordinary scenes, or their paths. They form the recipe's background
            class. If the data has clips of that class too, these are excluded from all figures but one. With
            two or more sources, each is also evaluated by a head that was trained without it.
        backbone_weights: "imagenet", "none" or a file.
        features: Cache folder for encoded clips, which runs can share; `out`/features by default.
        resume: Reuse finished heads of the same data and recipe.
        threads: Threads for encoding.
        report: Receives progress messages.

    Returns:
        The whole model, in float32.

    Raises:
        SourceError: A class has no readable clip.
        ConfigError: The weights cannot be loaded or do not fit.
    """
    weights = None if str(backbone_weights) == "none" else backbone_weights
    keras.utils.set_random_seed(recipe.seed)
    representation = make_representation(recipe, weights, features or out / "features", threads, report)
    files = find_clips(data, background, recipe.background)
    clips, skipped = load_clips(files, representation.store, report)
    labels = order_labels({file.label for file in files}, clips, skipped)
    clip_set = split_clips(clips, labels, recipe)
    report(f"{clip_set}; {len(skipped)} clips skipped; {recipe.split}")
    out.mkdir(parents=True, exist_ok=True)
    by_name = {file.name: file for file in files}
    write_augmentation_sheet([by_name[clip.name] for clip in clips], recipe.clip_spec, out / "augmented.png")

    trainer = Trainer(clip_set, recipe, representation.digest, out / "heads", resume, report)
    result = cross_validate(trainer)
    report(f"clip top-1 {result.figures['top1']:.4f}, window top-1 {result.live['window_top1']:.4f}")
    sources = leave_sources_out(trainer, result.temperature)
    chosen = Thresholds(result.threshold, recipe.background_threshold or None)
    thresholds = raise_threshold(sources, labels, chosen, recipe.background, recipe.max_named)
    result = replace(result, threshold=thresholds.action)
    silence = source_table(sources, labels, thresholds, recipe.background)
    for row in silence:
        report(SILENCE_LINE.format_map(row))
    head = trainer.final_head()
    fold_temperature(head, result.temperature)
    model = representation.attach_encoder(head)
    name = "none" if weights is None else Path(weights).name
    run = TrainingRun(
        recipe=recipe,
        clip_set=clip_set,
        skipped=skipped,
        backbone={"architecture": "MobileNetV2", "weights": name, "sha256": representation.digest},
        result=result,
        silence=silence,
        history=trainer.history,
    )
    save_run(out, model, run)
    write_mistakes_sheet(by_name, result.figures["mistakes"], out / "mistakes.png")
    return model


def order_labels(wanted: set[str], clips: Sequence[EncodedClip], skipped: dict[str, str]) -> tuple[str, ...]:
    """Return all classes in alphabetical order, background last.

    Raises:
        SourceError: A class has no readable clip, or there is only one class.
    """
    labels = (*sorted(wanted - {BACKGROUND}), *sorted(wanted & {BACKGROUND}))
    empty = [label for label in labels if label not in {clip.label for clip in clips}]
    if empty:
        reasons = [f" ({name}: {why})" for name, why in skipped.items() if Path(name).parent.name == empty[0]]
        raise SourceError(f"no readable clip of class {', '.join(empty)}{''.join(reasons[:1])}")
    if len(labels) < 2:
        raise SourceError(f"only one class, {labels[0]}: add a folder with clips for each further class")
    return labels
