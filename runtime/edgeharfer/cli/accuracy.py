"""Accuracy of a package on labelled data, for `evaluate` and `benchmark --data`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeharfer.cli.options import backend_from_options
from edgeharfer.runtime.errors import ConfigError

if TYPE_CHECKING:
    from edgeharfer.runtime.inference.package import Package


def measure_accuracy(package: Package, data: Path, options: dict[str, Any]) -> dict[str, object]:
    """Measure the accuracy of a package, as written by `evaluate --json`.

    Args:
        package: A classifier of faces or clips.
        data: Folder or zip of labelled data.
        options: Options of `evaluate`.

    Raises:
        ConfigError: The package has no classes, or reads whole frames.
    """
    manifest = package.manifest
    if not manifest.labels or manifest.kind == "frame":
        raise ConfigError(
            f"{package.path}: cannot be evaluated on labelled data; only classifiers of faces and clips can"
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

    model = EmotionModel(package, backend_from_options(options), prior=options["prior"])
    detector = make_detector(
        "blazeface", Backend("cpu", threads=options["threads"]), min_score=MIN_PORTRAIT_SCORE
    )
    votes = read_votes(options["ferplus"]) if options["ferplus"] else None
    return evaluate_emotion(model, Dataset(data), detector, split=options["split"], votes=votes)


def _measure_clips(package: Package, data: Path, options: dict[str, Any]) -> dict[str, object]:
    from edgeharfer.evaluate.action import evaluate_action
    from edgeharfer.evaluate.dataset import Dataset, clip_suffixes

    assert package.manifest.window is not None, "a package that reads clips has a window"
    clips = Dataset(data, clip_suffixes(package.manifest.window))
    return evaluate_action(package, clips, clips.split(options["split"]), backend_from_options(options))
