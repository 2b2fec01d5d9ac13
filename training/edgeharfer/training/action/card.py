"""A finished action training in figures, and the model card that tells of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
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

    skipped: clips and why. backbone: architecture, weights and hash. history: a row per head and epoch.
    """

    recipe: ActionRecipe
    clip_set: ClipSet
    skipped: Mapping[str, str]
    backbone: Mapping[str, str]
    result: CrossValidationResult
    history: Sequence[Row]

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes in the order of the outputs."""
        return self.clip_set.labels

    @property
    def figures(self) -> Mapping[str, Any]:
        """Out-of-fold figures of the clips."""
        return self.result.figures

    @property
    def settings(self) -> dict[str, Any]:
        """The recipe as plain values."""
        return asdict(self.recipe)


_CARD = """\
# {name}

Tells which of {count} actions the last {seconds:g} s of video show: {actions}.
{calm}
## Model

{model}
Backbone weights: {weights}.

## Data and its terms

{clips} clips; {skipped} more were skipped, unreadable or copies. No clip is part of this package.

{provenance}

## Accuracy

Cross-validated in {split}.
Every clip was judged by a model that had not seen it{apart}. The model here was then trained on
all clips in the same way.

- Clips, {judged}: top-1 **{top1:.1%}**, top-3 {top3:.1%}, macro F1 {macro_f1:.3f}, n = {n}.
- Live windows: top-1 **{window_top1:.1%}** of {windows}; averaged over each clip {live_top1:.1%}.
{beside}- Below a score of {threshold:g} the runtime says `uncertain`. Scores are calibrated on held-out
  clips: expected calibration error {before:.3f} before, {after:.3f} after, on the same live windows.
{remarks}
{table}

## Limits

{limits}
- Scenes unlike the training clips get a name too: with a lower score as a rule, not always.
- A figure of one class above rests on its column n.

## Use

- Intended: demonstrations, sorting one's own video, a start for training on one's own clips.
- Not for: decisions about people, surveillance of persons, alarms on which anyone's safety rests.
"""
_AUXILIARY_DATA = """\
- Beside these, {n} clips of other footage that count as {label}: {top1:.1%} were called that (windows
  {window_top1:.1%} of {windows}). No other figure has them in it.
"""
_BACKGROUND_NOTE = """
`background` stands for ordinary scenes in which none of them happens; it is as wide as its clips, no wider.
"""

_IMAGE_MODEL = """\
{architecture} (alpha {alpha:g}, frozen, {width}x{height} RGB in [-1, 1], the whole picture stretched) on
{frames} pictures spread over {seconds:g} s{taught}; then {head}."""
_IMAGE_LIMITS = """\
- It goes by what a scene looks like more than by how it moves: the place or the tool of an action may be
  taken for the action."""
_MOTION_MODEL = """\
It sees motion only: {frames} grey pictures of {width}x{height} over {seconds:g} s, the whole frame stretched.
Three differences between neighbours are the colours of a look, {looks} looks cover the window. The part
of the picture with most of the motion, {least:.0%} of its sides at least, is enlarged to
{shown_width}x{shown_height} and shown to {architecture} (alpha {alpha:g}, frozen, up to {layer});
a linear classifier, solved in closed form, reads the mean of the looks."""
_MOTION_LIMITS = """\
- It knows no people: fast motion of any kind, near the camera above all, can pass for an action, and slow
  or hidden action for none.
- It wants a camera that stands still: one that moves makes everything move.
- It needs about {rate:g} pictures a second; a slower source seems to stand still in between."""

_LINEAR_BRANCH = ", beside a linear classifier of the window's mean features; their logits are added"


def _describe_model(run: TrainingRun) -> dict[str, str]:
    """What the model is and where it ends, for the card."""
    recipe, motion = run.recipe, run.recipe.motion
    model, limits = (
        (_MOTION_MODEL, _MOTION_LIMITS) if recipe.arch == MOTION else (_IMAGE_MODEL, _IMAGE_LIMITS)
    )
    head = "" if recipe.arch == MOTION else ACTION_NETWORKS[recipe.arch].summary.format(units=recipe.units)
    values = {
        **{name: getattr(recipe, name) for name in ("alpha", "width", "height", "frames", "seconds")},
        **{name: getattr(motion, name) for name in ("looks", "least", "layer")},
        "architecture": run.backbone["architecture"],
        "taught": " (taught on pictures spread over each whole clip)" * (recipe.sampling == "uniform"),
        "head": head + _LINEAR_BRANCH * (recipe.linear_branch and not recipe.solved),
        "shown_width": motion.width,
        "shown_height": motion.height,
        "rate": recipe.frames / recipe.seconds,
    }
    return {"model": model.format(**values), "limits": limits.format(**values)}


def _auxiliary_line(run: TrainingRun) -> str:
    found = run.result.aside
    return "" if found is None else _AUXILIARY_DATA.format(label=run.recipe.background, **found)


def model_card(run: TrainingRun) -> str:
    """The card of the package, Markdown."""
    recipe, figures, live = run.recipe, run.figures, run.result.live
    spread, torn = recipe.sampling == "uniform", recipe.grouping == "clips"
    actions = [label for label in run.labels if label != BACKGROUND]
    return _CARD.format(
        name=recipe.name,
        count=len(actions),
        actions=", ".join(actions),
        calm=_BACKGROUND_NOTE if BACKGROUND in run.labels else "",
        seconds=recipe.seconds,
        judged="one window spread over the whole clip" if spread else "their windows averaged",
        apart=", though it may have seen other takes of the same scene" if torn else " nor any of its group",
        weights=run.backbone["weights"],
        clips=len(run.clip_set.clips),
        skipped=len(run.skipped),
        provenance="\n".join(f"- {line}" for line in recipe.provenance or ("Not stated.",)),
        split=recipe.split,
        threshold=run.result.threshold,
        table=markdown_table(figures),
        live_top1=live["top1"],
        beside=_auxiliary_line(run),
        remarks="".join(f"- {line}\n" for line in recipe.remarks),
        **_describe_model(run),
        **run.result.calibration,
        **{key: figures[key] for key in ("top1", "top3", "macro_f1", "n")},
        **{key: live[key] for key in ("window_top1", "windows")},
    )
