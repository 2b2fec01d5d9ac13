"""The accuracy of a package on labelled data, for `evaluate` and `benchmark --data`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeharfer.cli.progress import progress_bar

if TYPE_CHECKING:
    from edgeharfer.runtime.inference.package import Package


def measure_accuracy(package: Package, data: Path, options: dict[str, Any]) -> dict[str, object]:
    """The figures of `evaluate --json`. options: those of that command."""
    measure = _measure_action if package.manifest.task == "action" else _measure_emotion
    return measure(package, data, options)


def _measure_emotion(package: Package, data: Path, options: dict[str, Any]) -> dict[str, object]:
    """Figures of an emotion package."""
    from edgeharfer.evaluate.dataset import Dataset
    from edgeharfer.evaluate.emotion import evaluate_emotion
    from edgeharfer.evaluate.ferplus import read_votes
    from edgeharfer.runtime.faces import make_detector
    from edgeharfer.runtime.faces.portrait import MIN_PORTRAIT_SCORE
    from edgeharfer.runtime.tasks.emotion import EmotionModel

    model = EmotionModel(package, prior=options["prior"], **_session_options(options))
    detector = make_detector("blazeface", threads=options["threads"], min_score=MIN_PORTRAIT_SCORE)
    votes = read_votes(options["ferplus"]) if options["ferplus"] else None
    with progress_bar() as progress:
        return evaluate_emotion(
            model, Dataset(data), detector, split=options["split"], votes=votes, progress=progress
        )


def _measure_action(package: Package, data: Path, options: dict[str, Any]) -> dict[str, object]:
    """Figures of an action package."""
    from edgeharfer.evaluate.action import evaluate_action
    from edgeharfer.evaluate.dataset import CLIPS, Dataset

    clips = Dataset(data, CLIPS)
    with progress_bar() as progress:
        return evaluate_action(
            package, clips, clips.split(options["split"]), progress=progress, **_session_options(options)
        )


def _session_options(options: dict[str, Any]) -> dict[str, Any]:
    """Where and how the model runs."""
    return {
        "provider": options["provider"],
        "precision": options["precision"],
        "threads": options["threads"],
        "fallback": options["allow_fallback"],
    }
