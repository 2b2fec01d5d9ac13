"""Everything that runs on pixels: the face detector, the models of the tasks, and the search for cuts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edgeharfer.runtime.cuts import CutDetector
from edgeharfer.runtime.faces.detector import Detector
from edgeharfer.runtime.faces.search import FaceFinder
from edgeharfer.runtime.tasks.packaged import Inference, TaskModel
from edgeharfer.runtime.types import Box, Face, Floats, Frame


class Perception:
    """Runs the models on frames. The rest of the pipeline sees their outputs and no picture.

    Args:
        detector: Of faces.
        models: By the name of their task.
        follow: As `FaceFinder` takes it.
    """

    def __init__(self, detector: Detector, models: Mapping[str, TaskModel], *, follow: bool = True) -> None:
        self.detector, self.models = detector, models
        self._finder = FaceFinder(detector, follow=follow)
        self._cuts = CutDetector()

    def reset(self) -> None:
        """Forget all frames: another source begins."""
        self._finder.reset()
        self._cuts.reset()

    def is_cut(self, frame: Frame) -> bool:
        """Whether another scene begins with this frame. Called for every frame of a film, in order."""
        return self._cuts.step(frame.bgr)

    def should_detect(self, frame: Frame, due: bool) -> bool:
        """Whether to look for faces in this frame. due: what the schedule says."""
        return due

    def detect_faces(self, frame: Frame, known: Sequence[Box]) -> list[Face]:
        """Faces of the frame, best first. known: boxes in which a face was seen a moment ago."""
        return self._finder.find(frame, known)

    def faces_to_read(self, task: str, frame: Frame, count: int) -> int:
        """How many faces a task reads in this frame. count: what the schedule says."""
        return count

    def classify_faces(self, task: str, frame: Frame, faces: Sequence[Face]) -> Inference:
        """Outputs of a task's model, float32 (faces, row_size), and the time of each stage."""
        return self.models[task].infer(frame.bgr, faces)

    def encode(self, task: str, frame: Frame) -> Floats:
        """Outputs of a task's model for the whole frame, float32 (row_size,)."""
        return self.models[task].infer(frame.bgr, ()).values

    def finish(self, frame: Frame) -> None:
        """Called once for each frame, after all other calls."""
