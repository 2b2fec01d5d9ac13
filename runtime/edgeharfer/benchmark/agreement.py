"""Whether speed was bought with accuracy: the same labels as when every frame is looked at in full."""

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
"""By the tasks of COMPARED: the label of the scene, or of the largest face; None without a reading."""
COMPARED = PACKAGE_TASKS


class AgreementJob:
    """The pipeline and its reference over the same frames.

    The reference looks for faces in the whole of every frame and at every face's emotion, and computes in
    FP32. spec: a video file. options: as Pipeline takes them.
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
        thorough = partial(Perception, follow=False)  # looks at the whole frame each time
        in_full = {**options, "face_interval_s": 0.0, "perception": thorough}
        self._reference = Pipeline(**in_full, backend=replace(backend, precision="fp32"))

    def compare(self) -> dict[str, Any]:
        """Shares of the clip's seconds in which both give the same label most of the time."""
        seconds: list[int] = []
        ours: list[Labels] = []
        wanted: list[Labels] = []
        with open_source(self._spec, clock=self._clock) as source:
            while (frame := source.read()) is not None:
                seconds.append(int(frame.pts_s))
                ours.append(labels(self._pipeline.process(frame)))
                wanted.append(labels(self._reference.process(frame)))
        return agreement(seconds, ours, wanted)

    def close(self) -> None:
        """Nothing is held open."""


def labels(result: Result) -> Labels:
    """What is said of a frame."""
    face = max(result.faces, key=lambda face: face.box.area, default=None)
    readings = {**result.readings, **(face.readings if face is not None else {})}
    return tuple(readings[task].label if task in readings else None for task in COMPARED)


def agreement(seconds: Iterable[int], ours: Iterable[Labels], wanted: Iterable[Labels]) -> dict[str, Any]:
    """Of each second the most frequent label; "both" is the share in which neither task differs."""
    votes: dict[int, list[tuple[Labels, Labels]]] = {}
    for second, mine, other in zip(seconds, ours, wanted, strict=True):
        votes.setdefault(second, []).append((mine, other))
    same = [
        tuple(
            _most(mine[task] for mine, _ in rows) == _most(other[task] for _, other in rows)
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


def _most(values: Iterable[str | None]) -> str | None:
    return Counter(values).most_common(1)[0][0]
