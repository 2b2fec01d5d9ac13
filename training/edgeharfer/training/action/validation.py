"""Cross-validation results: out-of-fold figures, temperature and threshold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeharfer.evaluate.action import ClipScores, summarize_clips
from edgeharfer.evaluate.metrics import calibration_error
from edgeharfer.runtime.types import Floats
from edgeharfer.training.action.confidence import apply_temperature, choose_threshold, fit_temperature
from edgeharfer.training.action.crossval import ClipSet, Trainer


@dataclass(frozen=True, eq=False)
class CrossValidationResult:
    """Out-of-fold results.

    Attributes:
        figures: Result of `summarize_clips` for clips sampled as in training.
        live: The same for the windows that `run` would see; equal to `figures` with sampling by time.
        aside: The same for background clips that are labelled with a class of the data, None without any.
            Only the threshold includes them otherwise.
        folds: Number of clips and top-1 of each fold.
        temperature: Fitted temperature.
        threshold: Chosen threshold.
        raw: Probabilities of all live windows (n, classes), before temperature scaling.
        probs: The same, after temperature scaling.
        truth: Class of each live window, (n,).
    """

    figures: Mapping[str, Any]
    live: Mapping[str, Any]
    aside: Mapping[str, Any] | None
    folds: Sequence[Mapping[str, float]]
    temperature: float
    threshold: float
    raw: Floats
    probs: Floats
    truth: NDArray[np.int64]

    @property
    def calibration(self) -> dict[str, float]:
        """Expected calibration error of live windows, before and after temperature scaling."""
        return {
            "before": round(calibration_error(self.raw, self.truth), 4),
            "after": round(calibration_error(self.probs, self.truth), 4),
        }


def cross_validate(trainer: Trainer) -> CrossValidationResult:
    """Train one head per fold and evaluate each clip by the head that has not seen it.

    Temperature and threshold are fitted on live windows, where `run` applies them.
    """
    clip_set, recipe = trainer.clip_set, trainer.recipe
    scored, labels = clip_set.scored, clip_set.labels
    raw = trainer.cross_validate(recipe.live_sampler.evaluation_windows, "live windows")
    temperature = recipe.temperature or fit_temperature(_select(raw, scored), clip_set.truth[scored])
    live = [apply_temperature(windows, temperature) for windows in raw]
    probs = live
    if recipe.sampling != "time":
        whole = trainer.cross_validate(recipe.sampler.evaluation_windows, "the whole clip")
        probs = [apply_temperature(windows, temperature) for windows in whole]
    quiet = labels.index(recipe.background) if recipe.background in labels else None
    return CrossValidationResult(
        figures=_summarize(probs, clip_set, scored),
        live=_summarize(live, clip_set, scored),
        aside=None if scored.all() else _summarize(live, clip_set, ~scored),
        folds=trainer.fold_figures(probs),
        temperature=temperature,
        threshold=choose_threshold(live, clip_set.truth, quiet, recipe.threshold_slack),
        raw=np.concatenate(_select(raw, scored)),
        probs=np.concatenate(_select(live, scored)),
        truth=np.repeat(
            clip_set.truth, [len(windows) * one for windows, one in zip(live, scored, strict=True)]
        ),
    )


def _select(clips: Sequence[Floats], chosen: NDArray[np.bool_]) -> list[Floats]:
    return [windows for windows, one in zip(clips, chosen, strict=True) if one]


def _summarize(probs: Sequence[Floats], clip_set: ClipSet, chosen: NDArray[np.bool_]) -> dict[str, object]:
    clips, truth = clip_set.take(chosen)
    scores = ClipScores(_select(probs, chosen), truth.tolist(), [clip.name for clip in clips])
    return summarize_clips(scores, clip_set.labels)
