"""Leave one source out: what `run` reports on background from a source that a head was not trained on.

Clips of one source share people, camera and place, so a held-out clip of a known source says little about
the next camera. Labels are decided as at run time: averaged over time, with threshold and hysteresis.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from edgeharfer.runtime.tasks.action import TIME_CONSTANT_S
from edgeharfer.runtime.tasks.smoothing import LabelDecision, Smoother
from edgeharfer.runtime.types import UNCERTAIN, Floats
from edgeharfer.training.action.clips import Times
from edgeharfer.training.action.confidence import apply_temperature
from edgeharfer.training.action.crossval import Trainer

Row = Mapping[str, Any]

_STEP, _HIGHEST = 0.02, 0.98
TOTAL = "all"
"""Name of the row that adds up all sources."""


@dataclass(frozen=True)
class Thresholds:
    """Minimum probabilities of labels.

    Attributes:
        action: That of an action.
        background: That of the background, if no action reaches its threshold; None uses the same.
    """

    action: float
    background: float | None = None


@dataclass(frozen=True)
class SourceShares:
    """What is reported on the clips of one background source.

    Attributes:
        source: Name of the source, or TOTAL.
        clips: Number of clips.
        named_clips: Number of clips on which an action was ever reported.
        windows: Number of windows with a result.
        labels: Number of windows by reported label.
        background: Class of the background.
    """

    source: str
    clips: int
    named_clips: int
    windows: int
    labels: Mapping[str, int]
    background: str

    def row(self) -> Row:
        """Return shares for tables: named, uncertain and background, and the most frequent wrong action."""
        calm = self.labels.get(self.background, 0)
        uncertain = self.labels.get(UNCERTAIN, 0)
        named = {label: n for label, n in self.labels.items() if label not in (self.background, UNCERTAIN)}
        return {
            "source": self.source,
            "clips": self.clips,
            "windows": self.windows,
            "named": (self.windows - calm - uncertain) / self.windows,
            "uncertain": uncertain / self.windows,
            "background": calm / self.windows,
            "named_clips": self.named_clips,
            "most_named": max(named, key=lambda label: named[label], default=None),
        }


@dataclass(frozen=True, eq=False)
class UnknownSource:
    """The background clips of one source, as a head saw them that was trained without it.

    Attributes:
        name: Name of the source.
        probs: Probabilities (windows, classes) of each clip, after temperature scaling.
        times: Time of each window's last frame in seconds, for each clip.
    """

    name: str
    probs: Sequence[Floats]
    times: Sequence[Times]

    def reported(self, labels: Sequence[str], thresholds: Thresholds) -> list[list[str]]:
        """Return the label that `run` would report for each window of each clip."""
        return [
            live_labels(probs, times, labels, thresholds)
            for probs, times in zip(self.probs, self.times, strict=True)
        ]


def leave_sources_out(trainer: Trainer, temperature: float) -> list[UnknownSource]:
    """Predict each background source by a head that was trained on all other clips.

    Args:
        trainer: Trains the heads.
        temperature: Temperature of the scores.

    Returns:
        The sources; empty with fewer than two of them.
    """
    clip_set, sampler = trainer.clip_set, trainer.recipe.live_sampler
    names = clip_set.background_sources
    found = []
    for name in names if len(names) > 1 else ():
        clips, _ = clip_set.take(clip_set.from_source(name))
        raw = trainer.predict_source(name, sampler.evaluation_windows)
        probs = [apply_temperature(rows, temperature) for rows in raw]
        found.append(UnknownSource(name, probs, [sampler.evaluation_times(clip) for clip in clips]))
    return found


def source_table(
    sources: Sequence[UnknownSource], labels: Sequence[str], thresholds: Thresholds, background: str
) -> list[Row]:
    """Return `SourceShares.row` of each source and of all of them."""
    if not sources:
        return []
    found = [count_labels(one.name, one.reported(labels, thresholds), background) for one in sources]
    return [one.row() for one in [*found, add_up(found)]]


def raise_threshold(
    sources: Sequence[UnknownSource],
    labels: Sequence[str],
    thresholds: Thresholds,
    background: str,
    max_named: float,
) -> Thresholds:
    """Raise the threshold of actions until at most the share `max_named` of all windows of the sources is
    named.
    """
    for action in np.arange(thresholds.action, _HIGHEST, _STEP).round(2).tolist():
        higher = replace(thresholds, action=action)
        if not sources or source_table(sources, labels, higher, background)[-1]["named"] <= max_named:
            return higher
    return replace(thresholds, action=_HIGHEST)


def live_labels(probs: Floats, times: Times, labels: Sequence[str], thresholds: Thresholds) -> list[str]:
    """Return the label that `run` would report for each window.

    Args:
        probs: Probabilities of successive windows (windows, classes).
        times: Time of each window's last frame in seconds, (windows,).
        labels: Class names.
        thresholds: Minimum probabilities of labels.
    """
    smoother = Smoother(TIME_CONSTANT_S)
    decision = LabelDecision(labels, thresholds.action, background_threshold=thresholds.background)
    return [
        decision.choose(smoother.update(row, float(time)))[0] for row, time in zip(probs, times, strict=True)
    ]


def count_labels(source: str, reported: Sequence[Sequence[str]], background: str) -> SourceShares:
    """Count the labels that were reported on the clips of a source."""
    counts = Counter(label for labels in reported for label in labels)
    named = sum(not {background, UNCERTAIN}.issuperset(labels) for labels in reported)
    return SourceShares(source, len(reported), named, counts.total(), counts, background)


def add_up(parts: Sequence[SourceShares]) -> SourceShares:
    """Return the sum of all sources."""
    labels: Counter[str] = Counter()
    for part in parts:
        labels.update(part.labels)
    return SourceShares(
        TOTAL,
        sum(part.clips for part in parts),
        sum(part.named_clips for part in parts),
        sum(part.windows for part in parts),
        labels,
        parts[0].background,
    )
