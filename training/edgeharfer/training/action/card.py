"""Results of an action training and its model card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgeharfer.training.action.crossval import ClipSet
from edgeharfer.training.action.find import BACKGROUND
from edgeharfer.training.action.networks import ACTION_NETWORKS, MOTION
from edgeharfer.training.action.recipe import ActionRecipe
from edgeharfer.training.action.validation import CrossValidationResult
from edgeharfer.training.records import markdown_table

Row = Mapping[str, Any]


@dataclass(frozen=True)
class TrainingRun:
    """A finished training.

    Attributes:
        recipe: Its settings.
        clip_set: The clips with classes, groups and folds.
        skipped: Clip name -> reason, for clips that were not used.
        backbone: Architecture, weights and hash.
        result: Out-of-fold results.
        silence: Result of `silence.source_table`.
        history: One row per head and epoch.
    """

    recipe: ActionRecipe
    clip_set: ClipSet
    skipped: Mapping[str, str]
    backbone: Mapping[str, str]
    result: CrossValidationResult
    silence: Sequence[Row]
    history: Sequence[Row]

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes in the order of the outputs."""
        return self.clip_set.labels

    @property
    def figures(self) -> Mapping[str, Any]:
        """Out-of-fold figures of the clips."""
        return self.result.figures


_CARD = """\
# {name}

Recognises {count} actions in the last {seconds:g} s of video: {actions}.
{calm}
## Model

{model}
Backbone weights: {weights}.

## Data and its terms

{clips} clips; {skipped} more were skipped as unreadable or duplicate. This package contains no clips.

{provenance}

## Accuracy

Cross-validated in {split}.
Every clip was evaluated by a model that was not trained on it{apart}. The model in this package was then
trained on all clips in the same way.

- Clips, {windows_used}: top-1 **{top1:.1%}**, top-3 {top3:.1%}, macro F1 {macro_f1:.3f}, n = {n}.
- Live windows: top-1 **{window_top1:.1%}** of {windows}; averaged over each clip {live_top1:.1%}.
{auxiliary}- Below a score of {threshold:g} the runtime reports {otherwise}. {calibrated}:
  expected calibration error {before:.3f} before, {after:.3f} after, on the same live windows.
{remarks}
{table}
{silence}
## Limits

{limits}
- Scenes unlike the training clips are also assigned a class, usually but not always with a lower score.
- The figures of a class are only as reliable as its number of clips (column n).

## Use

- Intended: demonstrations, sorting your own videos, a starting point for training on your own clips.
- Not for: decisions about people, surveillance of persons, safety-critical alarms.
"""
_CALM = "`background` if its own score is at least {:g}, else `uncertain`"
_AUXILIARY_DATA = """\
- Auxiliary background clips: of {n} clips of other footage labelled {label}, {top1:.1%} were classified as
  such (windows {window_top1:.1%} of {windows}). No other figure includes them.
"""
_BACKGROUND_NOTE = """
`background` stands for ordinary scenes without any of these actions; it covers only scenes like its clips.
"""

_SILENCE = """
## Background from unknown sources

Each source of background clips was left out of training in turn, and its clips were labelled as `run`
labels them. Shares of live windows; the model in this package was trained on all sources.

| never trained on | clips | windows | named | uncertain | {label} | clips with a name | most frequent name |
|---|---|---|---|---|---|---|---|
{rows}
"""
_SILENCE_ROW = (
    "| {source} | {clips} | {windows} | {named:.1%} | {uncertain:.1%} | {background:.1%} | {named_clips} "
    "| {most} |"
)
_IMAGE_MODEL = """\
{architecture} (alpha {alpha:g}, frozen, {width}x{height} RGB in [-1, 1], the whole picture stretched) on
{frames} frames spread over {seconds:g} s{sampling}; then {head}."""
_IMAGE_LIMITS = """\
- It relies on what a scene looks like more than on motion: the place or the tool of an action may be
  mistaken for the action."""
_MOTION_MODEL = """\
It uses motion only: {frames} grey frames of {width}x{height} over {seconds:g} s, the whole frame stretched.
Three successive frame differences form the colour channels of one network input, and {looks} inputs cover the
window. The part of the frame with most of the motion, at least {least:.0%} of its sides, is enlarged to
{shown_width}x{shown_height} and passed to {architecture} (alpha {alpha:g}, frozen, up to {layer});
a linear classifier, solved in closed form, reads the mean features."""
_MOTION_LIMITS = """\
- It does not detect people: fast motion of any kind, above all near the camera, can be mistaken for an
action,
  and a slow or hidden action can be missed.
- It requires a static camera: camera motion makes the whole picture move.
- It needs about {rate:g} frames per second; a slower source appears to stand still in between."""

_LINEAR_BRANCH = ", added to the logits of a linear classifier of the window's {summaries}"
_SUMMARY_WORDS = {
    "mean": "mean features",
    "change": "mean absolute change",
    "deviation": "standard deviation",
}


def _describe_model(run: TrainingRun) -> dict[str, str]:
    """Return the card's sections on the model and its limits."""
    recipe, motion = run.recipe, run.recipe.motion
    model, limits = (
        (_MOTION_MODEL, _MOTION_LIMITS) if recipe.arch == MOTION else (_IMAGE_MODEL, _IMAGE_LIMITS)
    )
    words = [_SUMMARY_WORDS[name] for name in recipe.summaries]
    summaries = " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
    head = "" if recipe.arch == MOTION else ACTION_NETWORKS[recipe.arch].summary
    branch = _LINEAR_BRANCH * (recipe.linear_branch and not recipe.solved)
    values = {
        **{name: getattr(recipe, name) for name in ("alpha", "width", "height", "frames", "seconds")},
        **{name: getattr(motion, name) for name in ("looks", "least", "layer")},
        "architecture": run.backbone["architecture"],
        "sampling": " (trained on frames spread over each whole clip)" * (recipe.sampling == "uniform"),
        "head": (head + branch).format(units=recipe.units, summaries=summaries),
        "shown_width": motion.width,
        "shown_height": motion.height,
        "rate": recipe.frames / recipe.seconds,
    }
    return {"model": model.format(**values), "limits": limits.format(**values)}


def _auxiliary_line(run: TrainingRun) -> str:
    figures = run.result.aside
    return "" if figures is None else _AUXILIARY_DATA.format(label=run.recipe.background, **figures)


def silence_rows(rows: Sequence[Row]) -> list[str]:
    """Render the rows of the table by source as Markdown."""
    return [_SILENCE_ROW.format(**row, most=row["most_named"] or "none") for row in rows]


def _silence_section(run: TrainingRun) -> str:
    if not run.silence:
        return ""
    return _SILENCE.format(label=run.recipe.background, rows="\n".join(silence_rows(run.silence)))


def model_card(run: TrainingRun) -> str:
    """Render the model card of the package as Markdown."""
    recipe, figures, live = run.recipe, run.figures, run.result.live
    spread, ungrouped = recipe.sampling == "uniform", recipe.grouping == "clips"
    actions = [label for label in run.labels if label != BACKGROUND]
    return _CARD.format(
        name=recipe.name,
        count=len(actions),
        actions=", ".join(actions),
        calm=_BACKGROUND_NOTE if BACKGROUND in run.labels else "",
        seconds=recipe.seconds,
        windows_used="one window spread over the whole clip" if spread else "their windows averaged",
        apart=", but possibly on other takes of the same scene" if ungrouped else " nor on any of its group",
        weights=run.backbone["weights"],
        clips=len(run.clip_set.clips),
        skipped=len(run.skipped),
        provenance="\n".join(f"- {line}" for line in recipe.provenance or ("Not stated.",)),
        split=recipe.split,
        threshold=run.result.threshold,
        otherwise=_CALM.format(recipe.background_threshold) if recipe.background_threshold else "`uncertain`",
        calibrated="The temperature of the scores is fixed"
        if recipe.temperature
        else "Scores are calibrated on held-out clips",
        table=markdown_table(figures),
        silence=_silence_section(run),
        live_top1=live["top1"],
        auxiliary=_auxiliary_line(run),
        remarks="".join(f"- {line}\n" for line in recipe.remarks),
        **_describe_model(run),
        **run.result.calibration,
        **{key: figures[key] for key in ("top1", "top3", "macro_f1", "n")},
        **{key: live[key] for key in ("window_top1", "windows")},
    )
