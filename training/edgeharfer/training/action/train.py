"""Train an action model on clips: frozen backbone, cached features, folds of groups, then a head on all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import keras

from edgeharfer.evaluate.action import ClipScores, summarize_clips
from edgeharfer.runtime.errors import SourceError
from edgeharfer.training.action.card import Run
from edgeharfer.training.action.clips import BACKGROUND, Clip, ClipStore, find_clips, load_clips
from edgeharfer.training.action.confidence import choose_threshold, fit_temperature, fold_in, soften
from edgeharfer.training.action.crossval import Trainer, split_clips
from edgeharfer.training.action.encoder import make_encoder
from edgeharfer.training.action.networks import action_model
from edgeharfer.training.action.recipe import ActionRecipe
from edgeharfer.training.action.run import save_run
from edgeharfer.training.backbones import frame_encoder

__all__ = ["ActionRecipe", "train_action"]


def train_action(
    data: Path,
    out: Path,
    recipe: ActionRecipe,
    *,
    background: Sequence[Path] = (),
    backbone_weights: str | Path = "imagenet",
    resume: bool = False,
    threads: int = 1,
    report: Callable[[str], None] = print,
) -> keras.Model:
    """Cross-validate and train; leaves the run in `out` and returns the whole model, float32.

    data: folder or zip of `<class>/<clip>`, or with splits, of which the training split is taken.
    background: clips of ordinary scenes, or folders of them at any depth; one more class, the last.
    backbone_weights: "imagenet", "none" or a file. resume: keep finished heads of the same data and recipe.
    threads: for encoding.

    The figures are out-of-fold: each clip is judged by a head that has seen no clip of its group. The
    model that is saved was then trained on all clips in the same way, for the same length.
    Encoded features stay in `out` and are used again by any later run on the same clips.
    Raises SourceError for data without a clip in some class, ConfigError for weights that do not fit.
    """
    weights = None if str(backbone_weights) == "none" else backbone_weights
    keras.utils.set_random_seed(recipe.seed)
    backbone = frame_encoder(recipe.width, recipe.height, recipe.alpha, weights)
    encoder = make_encoder(backbone, threads, report)
    files = find_clips(data, background)
    clips, skipped = load_clips(files, ClipStore(out / "features", recipe.clip_spec, encoder), report)
    labels = order_labels({file.label for file in files}, clips, skipped)
    clip_set = split_clips(clips, labels, recipe)
    report(f"{clip_set}; {len(skipped)} clips skipped")

    trainer = Trainer(clip_set, recipe, encoder.digest, out / "heads", resume, report)
    probs = trainer.cross_validate()
    temperature = fit_temperature(probs, clip_set.truth)
    probs = [soften(windows, temperature) for windows in probs]
    quiet = labels.index(BACKGROUND) if BACKGROUND in labels else None
    threshold = choose_threshold(probs, clip_set.truth, quiet)
    figures = summarize_clips(
        ClipScores(probs, clip_set.truth.tolist(), [clip.name for clip in clips]), labels
    )
    report(f"clip top-1 {figures['top1']:.4f}, window top-1 {figures['window_top1']:.4f}")

    head = trainer.final_head()
    fold_in(head, temperature)
    model = action_model(backbone, head)
    name = "none" if weights is None else Path(weights).name
    run = Run(
        recipe=recipe,
        clip_set=clip_set,
        skipped=skipped,
        backbone={"architecture": "MobileNetV2", "weights": name, "sha256": encoder.digest},
        figures=figures,
        folds=trainer.fold_figures(probs),
        history=trainer.history,
        temperature=temperature,
        threshold=threshold,
    )
    save_run(out, model, run)
    return model


def order_labels(wanted: set[str], clips: Sequence[Clip], skipped: dict[str, str]) -> tuple[str, ...]:
    """All classes in alphabetical order, background last. Raises SourceError for one without a clip."""
    labels = (*sorted(wanted - {BACKGROUND}), *sorted(wanted & {BACKGROUND}))
    empty = [label for label in labels if label not in {clip.label for clip in clips}]
    if empty:
        reasons = [f" ({name}: {why})" for name, why in skipped.items() if Path(name).parent.name == empty[0]]
        raise SourceError(f"no readable clip of class {', '.join(empty)}{''.join(reasons[:1])}")
    if len(labels) < 2:
        raise SourceError(f"only one class, {labels[0]}: put clips of each class into a folder of its name")
    return labels
