"""What the folds say of a training: figures of clips that no head had seen, a temperature, a threshold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeharfer.evaluate.action import ClipScores, summarize_clips
from edgeharfer.evaluate.metrics import calibration_error
from edgeharfer.runtime.types import Floats
from edgeharfer.training.action.confidence import choose_threshold, fit_temperature, soften
from edgeharfer.training.action.crossval import Trainer
from edgeharfer.training.action.find import BACKGROUND


@dataclass(frozen=True, eq=False)
class Verdict:
    """Out-of-fold findings.

    figures: of clips judged as they were sampled in training, as `summarize_clips` gives them. live: of
    clips judged by the windows that `run` would see; the same where training samples by time. folds: clips
    and top-1 of each. raw, probs: of all live windows (n, classes), before and after the temperature.
    truth: of those windows, (n,).
    """

    figures: Mapping[str, Any]
    live: Mapping[str, Any]
    folds: Sequence[Mapping[str, float]]
    temperature: float
    threshold: float
    raw: Floats
    probs: Floats
    truth: NDArray[np.int64]

    @property
    def calibration(self) -> dict[str, float]:
        """Expected calibration error of live windows, before and after the temperature."""
        return {
            "before": round(calibration_error(self.raw, self.truth), 4),
            "after": round(calibration_error(self.probs, self.truth), 4),
        }


def judge(trainer: Trainer) -> Verdict:
    """Train a head a fold and judge each clip by the one that has not seen it.

    Temperature and threshold are those of live windows, since `run` uses them there.
    """
    clip_set, recipe = trainer.clip_set, trainer.recipe
    raw = trainer.cross_validate(lambda clip: clip.windows(recipe.clip_spec.window), "live windows")
    temperature = fit_temperature(raw, clip_set.truth)
    live = [soften(windows, temperature) for windows in raw]
    probs = live
    if recipe.sampling != "time":
        whole = trainer.cross_validate(recipe.sampler.judged, "the whole clip")
        probs = [soften(windows, temperature) for windows in whole]
    labels = clip_set.labels
    quiet = labels.index(BACKGROUND) if BACKGROUND in labels else None

    def summary(clips: list[Floats]) -> dict[str, object]:
        names = [clip.name for clip in clip_set.clips]
        return summarize_clips(ClipScores(clips, clip_set.truth.tolist(), names), labels)

    return Verdict(
        figures=summary(probs),
        live=summary(live),
        folds=trainer.fold_figures(probs),
        temperature=temperature,
        threshold=choose_threshold(live, clip_set.truth, quiet),
        raw=np.concatenate(raw),
        probs=np.concatenate(live),
        truth=np.repeat(clip_set.truth, [len(windows) for windows in live]),
    )
