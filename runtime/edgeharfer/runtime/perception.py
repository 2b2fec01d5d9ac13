"""Everything that runs on pixels: the face detector, the models of the tasks, and cut detection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edgeharfer.runtime.cuts import CutDetector
from edgeharfer.runtime.faces.detector import Detector
from edgeharfer.runtime.faces.search import FaceFinder
from edgeharfer.runtime.tasks.packaged import Inference, TaskModel
from edgeharfer.runtime.types import Box, Face, Floats, Frame


class Perception:
    """Runs the models on frames. The rest of the pipeline uses only their outputs.

    Args:
        detector: The face detector.
        models: The models by the name of their task.
        follow: Whether to search around known faces (see `FaceFinder`).
    """

    def __init__(self, detector: Detector, models: Mapping[str, TaskModel], *, follow: bool = True) -> None:
        self.detector, self.models = detector, models
        self._finder = FaceFinder(detector, follow=follow)
        self._cuts = CutDetector()

    def reset(self) -> None:
        """Discard all state from previous frames, before another source."""
        self._finder.reset()
        self._cuts.reset()

    def is_cut(self, frame: Frame) -> bool:
        """Return whether a new scene begins with this frame. Called for every frame of a video, in order."""
        return self._cuts.step(frame.picture)

    def should_detect(self, frame: Frame, due: bool) -> bool:
        """Return whether to detect faces in this frame; `due` is the decision of the schedule."""
        return due

    def detect_faces(self, frame: Frame, known: Sequence[Box]) -> list[Face]:
        """Detect the faces of a frame.

        Args:
            frame: The frame.
            known: Boxes of recently seen faces.

        Returns:
            The faces, by descending score.
        """
        return self._finder.find(frame, known)

    def faces_to_read(self, task: str, frame: Frame, count: int) -> int:
        """Return how many faces a task reads in this frame; `count` is the decision of the schedule."""
        return count

    def classify_faces(self, task: str, frame: Frame, faces: Sequence[Face]) -> Inference:
        """Run the model of a task on faces of the frame.

        Returns:
            The outputs, float32, (faces, row_size), and the duration of each stage.
        """
        return self.models[task].infer(frame.picture, faces)

    def encode(self, task: str, frame: Frame) -> Floats:
        """Run the model of a task on the whole frame; return the outputs, float32, (row_size,)."""
        return self.models[task].infer(frame.picture, ()).values

    def precompute(self, task: str, frame: Frame) -> None:
        """Compute what `encode` will return for a frame, in another thread than the other calls."""
        self.models[task].precompute(frame.picture)

    def finish(self, frame: Frame) -> None:
        """Complete a frame. Called once for each frame, after all other calls."""
