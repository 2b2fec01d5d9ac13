"""The accuracy of a package on labelled data, for `evaluate` and `benchmark --data`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeharfer.cli.options import chosen_backend
from edgeharfer.cli.progress import progress_bar
from edgeharfer.runtime.errors import ConfigError

if TYPE_CHECKING:
    from edgeharfer.runtime.inference.package import Package


def measure_accuracy(package: Package, data: Path, options: dict[str, Any]) -> dict[str, object]:
    """The figures of `evaluate --json` for a package that gives classes.

    Args:
        package: Of the task emotion, or any that reads faces or clips.
        data: Labelled data.
        options: Those of `evaluate`.

    Raises:
        ConfigError: The package gives no classes, or reads frames.
    """
    manifest = package.manifest
    if not manifest.labels or manifest.kind == "frame":
        raise ConfigError(
            f"{package.path}: only classes of faces and clips can be evaluated on labelled data"
        )
    measure = _measure_clips if manifest.kind == "clip" else _measure_faces
    return measure(package, data, options)


def _measure_faces(package: Package, data: Path, options: dict[str, Any]) -> dict[str, object]:
    from edgeharfer.evaluate.dataset import Dataset
    from edgeharfer.evaluate.emotion import evaluate_emotion
    from edgeharfer.evaluate.ferplus import read_votes
    from edgeharfer.runtime.faces import make_detector
    from edgeharfer.runtime.faces.portrait import MIN_PORTRAIT_SCORE
    from edgeharfer.runtime.inference.backend import Backend
    from edgeharfer.runtime.tasks.emotion import EmotionModel

    model = EmotionModel(package, chosen_backend(options), prior=options["prior"])
    detector = make_detector(
        "blazeface", Backend("cpu", threads=options["threads"]), min_score=MIN_PORTRAIT_SCORE
    )
    votes = read_votes(options["ferplus"]) if options["ferplus"] else None
    with progress_bar() as progress:
        return evaluate_emotion(
            model, Dataset(data), detector, split=options["split"], votes=votes, progress=progress
        )


def _measure_clips(package: Package, data: Path, options: dict[str, Any]) -> dict[str, object]:
    from edgeharfer.evaluate.action import evaluate_action
    from edgeharfer.evaluate.dataset import CLIPS, Dataset

    clips = Dataset(data, CLIPS)
    with progress_bar() as progress:
        return evaluate_action(
            package, clips, clips.split(options["split"]), chosen_backend(options), progress=progress
        )
