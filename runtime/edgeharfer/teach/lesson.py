"""Teach a package: read the examples, fit the head, measure it, and write the package."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeharfer.runtime.clock import Clock, SystemClock
from edgeharfer.runtime.errors import ModelError
from edgeharfer.runtime.inference.package import Package, load_package
from edgeharfer.runtime.tasks import ACTION, TASKS
from edgeharfer.runtime.tasks.action import ActionModel
from edgeharfer.runtime.tasks.smoothing import softmax
from edgeharfer.runtime.types import BACKGROUND
from edgeharfer.teach.background import BackgroundClip, read_own, shipped_background, spread_rows
from edgeharfer.teach.enrolment import MAX_FEATURES, encoder_id
from edgeharfer.teach.examples import Example, find_files, read_examples
from edgeharfer.teach.head import Fit, LinearHead, fit_head
from edgeharfer.teach.validation import (
    Confidence,
    Windows,
    background_offset,
    example_confusion,
    fit_confidence,
    frozen,
    named_share,
    recalls,
    told_by_look,
)

RIDGE = 30.0
BACKGROUND_WEIGHT = 1.0
"""Weight of all sources of background that ship together, and of the user's own clips; each class has 1,
too."""
MAX_WINDOWS = 1200
"""Most windows of examples; the time and memory of the fit grow with their square."""
_OWN = "own"


@dataclass(frozen=True)
class ClassReport:
    """How well one class is recognised, in examples that were left out.

    Attributes:
        label: The class.
        examples: Number of its examples.
        recall: Share that is recognised.
        frozen_recall: Share that is still recognised among the classes if all motion is taken out.
    """

    label: str
    examples: int
    recall: float
    frozen_recall: float


@dataclass(frozen=True, eq=False)
class Lesson:
    """A taught head and what is known about it.

    Attributes:
        base: The package with the encoder.
        labels: The classes, with the background last if there is one.
        head: The head.
        confidence: Temperature and threshold.
        classes: Report of each class without the background.
        confusion: Examples and background clips that were left out, true classes in rows.
        held_out: What was left out together: "recordings" or "clips".
        background: Background clips by source.
        background_named: Share of background windows that was named as an action, each source left out.
        warnings: Lines for the user.
        seconds: Duration of the lesson.
    """

    base: Package
    labels: tuple[str, ...]
    head: LinearHead
    confidence: Confidence
    classes: tuple[ClassReport, ...]
    confusion: NDArray[np.int64]
    held_out: str
    background: dict[str, int]
    background_named: float
    warnings: tuple[str, ...]
    seconds: float

    @property
    def accuracy(self) -> float:
        """Share of the examples that are recognised when they are left out."""
        examples = sum(one.examples for one in self.classes)
        return sum(one.recall * one.examples for one in self.classes) / examples


def teach(
    data: Sequence[Path],
    *,
    base: str | Path = TASKS[ACTION].package,
    background: Sequence[Path] = (),
    clock: Clock | None = None,
) -> Lesson:
    """Learn the classes of DATA.

    Args:
        data: Folders of `<class>/<clip>`, and enrolment files.
        base: Action package whose encoder is used.
        background: Folders of clips in which nobody does any of the actions, and enrolment files.
        clock: Source of time; the system's by default.

    Raises:
        ConfigError: The classes or clips are not sufficient.
        SourceError: A clip cannot be read.
        ModelError: The base package, or an enrolment file, cannot be used.
    """
    clock = clock or SystemClock()
    started_s = clock.monotonic()
    files = find_files(data)
    package = load_package(base, ACTION)
    model = ActionModel(package)
    _check_encoder(model, package)
    examples = read_examples(files, model)
    scenes = shipped_background(encoder_id(package.manifest))
    for folder in background:
        scenes += read_own(folder, model)
    classes = sorted({example.label for example in examples})
    labels = (*classes, BACKGROUND) if scenes else tuple(classes)
    windows, held_out = make_windows(examples, scenes, labels)
    background_index = len(classes) if scenes else None
    fit = fit_head(
        windows.described,
        frozen(windows.described),
        windows.labels,
        windows.groups,
        windows.weights,
        len(labels),
        RIDGE,
    )
    if background_index is not None:
        offset = background_offset(fit.held_out, windows, background_index)
        fit = fit.lowered(background_index, offset)
    confidence = fit_confidence(fit.held_out, windows, background_index)
    probs = softmax(fit.held_out, confidence.temperature)
    confusion = example_confusion(probs, windows, len(labels))
    reports = _reports(windows, fit, confusion, classes)
    return Lesson(
        package,
        labels,
        fit.head,
        confidence,
        reports,
        confusion,
        held_out,
        _count_sources(scenes),
        named_share(probs, windows, background_index, confidence.threshold),
        _warnings(reports, held_out, scenes, package),
        clock.monotonic() - started_s,
    )


def _check_encoder(model: ActionModel, package: Package) -> None:
    if model.row_size is None or model.row_size > MAX_FEATURES:
        raise ModelError(
            f"{package.path}: its encoder has no fixed number of features up to {MAX_FEATURES}: "
            "choose another --base"
        )


def make_windows(
    examples: Sequence[Example], scenes: Sequence[BackgroundClip], labels: Sequence[str]
) -> tuple[Windows, str]:
    """Collect the windows of examples and background, with weights and groups.

    Each class has the same weight, and each of its examples; the sources of background share
    BACKGROUND_WEIGHT.

    Returns:
        The windows, and what is held out together: "recordings", where each class has several, or "clips".
    """
    recordings = {(example.label, example.recording) for example in examples}
    several = all(
        sum(label == one for label, _ in recordings) > 1 for one in {label for label, _ in recordings}
    )
    names = [example.recording if several else example.name for example in examples]
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    sources = {source: len(numbers) + i for i, source in enumerate(dict.fromkeys(s.source for s in scenes))}
    per_example = max(1, MAX_WINDOWS // len(examples))
    rows = [spread_rows(example.described, per_example) for example in examples]
    counts = [sum(other.label == example.label for other in examples) for example in examples]
    shares = [1 / count for count in counts]
    shares += _background_shares(scenes)
    rows += [scene.described for scene in scenes]
    index = [labels.index(example.label) for example in examples] + [len(labels) - 1] * len(scenes)
    groups = [numbers[name] for name in names] + [sources[scene.source] for scene in scenes]
    sizes = [len(one) for one in rows]
    weights = np.repeat(np.array(shares) / sizes, sizes)
    return (
        Windows(
            np.concatenate(rows),
            np.repeat(np.array(index, np.int64), sizes),
            np.repeat(np.array(groups, np.int64), sizes),
            np.repeat(np.arange(len(rows), dtype=np.int64), sizes),
            weights / weights.sum(),
        ),
        "recordings" if several else "clips",
    )


def _background_shares(scenes: Sequence[BackgroundClip]) -> list[float]:
    """Return the weight of each clip: equal for all own clips, and for all sources that ship."""
    own = sum(scene.own for scene in scenes)
    clips_of = _count_sources(scenes)
    shipped = len({scene.source for scene in scenes if not scene.own})
    return [BACKGROUND_WEIGHT / (own if scene.own else shipped * clips_of[scene.source]) for scene in scenes]


def _reports(
    windows: Windows, fit: Fit, confusion: NDArray[np.int64], classes: Sequence[str]
) -> tuple[ClassReport, ...]:
    among_classes = fit.changed[:, : len(classes)]
    without_motion = recalls(example_confusion(among_classes, windows, fit.changed.shape[1]))
    recall = recalls(confusion)
    return tuple(
        ClassReport(label, int(confusion[i].sum()), float(recall[i]), float(without_motion[i]))
        for i, label in enumerate(classes)
    )


def _count_sources(scenes: Sequence[BackgroundClip]) -> dict[str, int]:
    return dict(Counter(_OWN if scene.own else scene.source for scene in scenes))


def _warnings(
    reports: Sequence[ClassReport], held_out: str, scenes: Sequence[BackgroundClip], package: Package
) -> tuple[str, ...]:
    by_look = told_by_look(
        [one.label for one in reports], np.array([one.frozen_recall for one in reports], np.float32)
    )
    lines = []
    if by_look:
        names = f"{', '.join(by_look[:-1])} and {by_look[-1]}"
        lines.append(
            f"{names} are distinguished without any motion, by the place, the objects or the "
            "posture: to make motion count, record all of them in the same places"
        )
    lines += [
        f"{one.label} has only {one.examples} examples: its accuracy is a rough estimate; 5 are recommended"
        for one in reports
        if one.examples < 4
    ]
    if held_out == "clips":
        lines.append(
            "some actions were recorded only once, so their accuracy is measured on other parts of the same "
            "recording: record each action several times for a better estimate"
        )
    if not scenes:
        lines.append(
            f"there is no background for the encoder of {package.manifest.name}: scenes without any of the "
            "actions will be labelled with one of them; pass some with --background"
        )
    return tuple(lines)
