"""Compare the labels of the pipeline with those of a reference that processes every frame in full."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from edgeharfer.runtime.clock import Clock, SystemClock
from edgeharfer.runtime.inference.backend import Backend
from edgeharfer.runtime.perception import Perception
from edgeharfer.runtime.pipeline import Pipeline
from edgeharfer.runtime.result import Result
from edgeharfer.runtime.source import open_source
from edgeharfer.runtime.tasks import PACKAGE_TASKS

Labels = tuple[str | None, ...]
"""Label of the scene or of the largest face for each task of COMPARED; None without a reading."""
COMPARED = PACKAGE_TASKS


class AgreementJob:
    """Runs the pipeline and its reference over the same frames.

    The reference detects faces in every full frame, classifies the emotion of every face, and uses FP32.

    Args:
        spec: A video file.
        options: Options of `Pipeline`.
        backend: Backend of the pipeline.
        clock: Clock of both.
    """

    def __init__(
        self,
        spec: str,
        options: Mapping[str, Any],
        backend: Backend | None = None,
        *,
        clock: Clock | None = None,
    ) -> None:
        self._spec, self._clock = spec, clock or SystemClock()
        backend = backend or Backend()
        options = {**options, "background_build": False, "clock": self._clock}
        self._pipeline = Pipeline(**options, backend=backend)
        full_frames = partial(Perception, follow=False)
        reference = {**options, "face_interval_s": 0.0, "perception": full_frames}
        self._reference = Pipeline(**reference, backend=replace(backend, precision="fp32"))

    def compare(self) -> dict[str, Any]:
        """Compute the share of the clip's seconds with the same most frequent label; see `agreement`."""
        seconds: list[int] = []
        ours: list[Labels] = []
        reference: list[Labels] = []
        with open_source(self._spec, clock=self._clock) as source:
            while (frame := source.read()) is not None:
                seconds.append(int(frame.pts_s))
                ours.append(labels(self._pipeline.process(frame)))
                reference.append(labels(self._reference.process(frame)))
        return agreement(seconds, ours, reference)

    def close(self) -> None:
        """Do nothing, since `compare` closes its source."""


def labels(result: Result) -> Labels:
    """The labels of a frame."""
    face = max(result.faces, key=lambda face: face.box.area, default=None)
    readings = {**result.readings, **(face.readings if face is not None else {})}
    return tuple(readings[task].label if task in readings else None for task in COMPARED)


def agreement(seconds: Iterable[int], ours: Iterable[Labels], reference: Iterable[Labels]) -> dict[str, Any]:
    """Compare the most frequent labels of each second.

    Args:
        seconds: The second that each frame belongs to.
        ours: Labels of each frame by the pipeline.
        reference: Labels of each frame by the reference.

    Returns:
        "seconds" (count), the share of seconds with equal labels for each task, and "both", the share in
        which all tasks agree.
    """
    votes: dict[int, list[tuple[Labels, Labels]]] = {}
    for second, own, other in zip(seconds, ours, reference, strict=True):
        votes.setdefault(second, []).append((own, other))
    same = [
        tuple(
            _most_common(own[task] for own, _ in rows) == _most_common(other[task] for _, other in rows)
            for task in range(len(COMPARED))
        )
        for rows in votes.values()
    ]
    count = max(1, len(same))
    return {
        "seconds": len(same),
        **{task: sum(row[index] for row in same) / count for index, task in enumerate(COMPARED)},
        "both": sum(all(row) for row in same) / count,
    }


def _most_common(values: Iterable[str | None]) -> str | None:
    return Counter(values).most_common(1)[0][0]
