"""Tasks defined by a model package alone: classes or values of faces, frames or clips."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from edgeharfer.runtime.errors import ConfigError
from edgeharfer.runtime.faces.tracks import MAX_TRACK_GAP_S
from edgeharfer.runtime.inference.backend import CPU, Backend
from edgeharfer.runtime.inference.manifest import FACES, Manifest
from edgeharfer.runtime.inference.package import Package
from edgeharfer.runtime.tasks import make_added_task, open_model
from edgeharfer.runtime.tasks.action import ActionModel, FeatureRing
from edgeharfer.runtime.tasks.base import Task
from edgeharfer.runtime.tasks.pictures import BATCHES, PictureModel
from edgeharfer.runtime.tasks.smoothing import LabelDecision, Smoother
from edgeharfer.runtime.types import UNCERTAIN, Floats, Frame, Reading, TrackedFace

TIME_CONSTANT_S = 0.35
"""Time constant with which outputs are averaged."""
FRAME_INTERVAL_S = 0.1
"""Minimum time between readings of whole frames, in seconds."""


def make_generic(package: Package, backend: Backend = CPU) -> Task:
    """Create the task of a package, with the name from its manifest.

    Args:
        package: A package that reads faces or frames, or one that reads clips and gives classes.
        backend: Where and how the model runs.

    Raises:
        ConfigError: The package is a face detector, or gives values for clips.
        ModelError: See `TaskModel`.
        ProviderError: See `TaskModel`.
    """
    manifest = package.manifest
    if manifest.task == FACES or (manifest.kind == "clip" and manifest.values):
        what = "a face detector" if manifest.task == FACES else "a package that gives values for clips"
        raise ConfigError(f"{package.path}: {what} cannot be run as a task")
    model = open_model(package, backend)
    if (own := make_added_task(manifest.task, model)) is not None:
        return own
    if isinstance(model, ActionModel):
        return ClipTask(model)
    assert isinstance(model, PictureModel), "packages read clips or pictures"
    return FaceTask(model) if manifest.kind == "face" else FrameTask(model)


class GenericTask(Task):
    """Base class of tasks that a package defines.

    Attributes:
        model: The model of the package.
        name: Name of the task from the manifest.
        scope: "scene" or "face".
        labels: The classes; empty for a package that gives values.
        value_names: Names of the values; empty for a package that gives classes.
    """

    def __init__(self, model: PictureModel | ActionModel, scope: str) -> None:
        self.model = model
        self.name, self.scope = model.manifest.task, scope
        self.labels, self.value_names = model.manifest.labels, model.manifest.value_names

    def for_another_source(self) -> Task:
        """See `Task`."""
        # Each subclass takes the model alone.
        return type(self)(self.model.for_another_source())  # type: ignore[call-arg]

    def close(self) -> None:
        """Close the model."""
        self.model.close()


class AveragedOutputs:
    """Averages the outputs for one face or for the scene over time."""

    def __init__(self, manifest: Manifest) -> None:
        self._names = manifest.labels or manifest.value_names
        self._smoother = Smoother(TIME_CONSTANT_S)
        self._decision = None
        if manifest.labels:
            self._decision = LabelDecision(
                manifest.labels, manifest.threshold, background_threshold=manifest.background_threshold
            )

    def update(self, outputs: Floats, now_s: float) -> Reading:
        """Add outputs, (classes,) or (values,), at a source time in seconds; return the averaged reading."""
        mean = self._smoother.update(outputs, now_s)
        named = dict(zip(self._names, mean.tolist(), strict=True))
        if self._decision is None:
            return Reading(values=named)
        label, _ = self._decision.choose(mean)
        return Reading(label, named)


class FaceTask(GenericTask):
    """Reads each face once per detection.

    All faces of a photograph are read; otherwise one batch in each frame, new faces first, then those read
    longest ago.
    """

    def __init__(self, model: PictureModel) -> None:
        super().__init__(model, "face")
        self._pictures = model
        self.reset()

    def step(self, frame: Frame, faces: Sequence[TrackedFace]) -> Mapping[int, Reading] | None:
        """Return the readings of the faces that are read in this frame."""
        self._discard_old(frame.pts_s)
        waiting = [face for face in faces if self._seen_s.get(face.track) != face.seen_s]
        waiting.sort(key=lambda face: self._read_s.get(face.track, -math.inf))
        turn = waiting if frame.still else waiting[: BATCHES[-1]]
        found = {face.track: face.detected for face in turn}
        shown = [face for face in found.values() if face is not None]
        if not shown:
            return None
        crops = self._pictures.crop_faces(frame.bgr, shown)
        self._seen_s |= {face.track: face.seen_s for face in turn}
        self._read_s |= dict.fromkeys(found, frame.pts_s)
        tracks = [track for track, face in found.items() if face is not None]
        return {
            track: self._averages.setdefault(track, AveragedOutputs(self.model.manifest)).update(
                row, frame.pts_s
            )
            for track, row in zip(tracks, self._pictures.classify(crops), strict=True)
        }

    def reset(self) -> None:
        """Discard the state of all faces."""
        self._averages: dict[int, AveragedOutputs] = {}
        self._seen_s: dict[int, float] = {}
        self._read_s: dict[int, float] = {}

    def _discard_old(self, now_s: float) -> None:
        """Discard the state of faces that were not read for longer than a track lasts."""
        for track in [track for track, at_s in self._read_s.items() if now_s - at_s > MAX_TRACK_GAP_S]:
            for known in (self._averages, self._seen_s, self._read_s):
                known.pop(track, None)


class FrameTask(GenericTask):
    """Reads whole frames, about ten per second."""

    def __init__(self, model: PictureModel) -> None:
        super().__init__(model, "scene")
        self._pictures = model
        self._average, self._read_s = AveragedOutputs(model.manifest), -math.inf

    def step(self, frame: Frame, faces: Sequence[TrackedFace]) -> Reading | None:
        """Return a reading if FRAME_INTERVAL_S has passed since the last one."""
        if 0 <= frame.pts_s - self._read_s < FRAME_INTERVAL_S:
            return None
        self._read_s = frame.pts_s
        return self._average.update(self._pictures.classify_picture(frame.picture), frame.pts_s)

    def reset(self) -> None:
        """Discard all state from previous frames."""
        self._average = AveragedOutputs(self.model.manifest)
        self._read_s = -math.inf


class ClipTask(GenericTask):
    """Classifies clips, sampled as their window requires; "uncertain" until the first window is full."""

    def __init__(self, model: ActionModel) -> None:
        super().__init__(model, "scene")
        self._clips, self._ring = model, FeatureRing(model.window)
        self._average = AveragedOutputs(model.manifest)

    def step(self, frame: Frame, faces: Sequence[TrackedFace]) -> Reading | None:
        """Return the reading of the window that ends with this frame, if the frame is sampled."""
        if not self._ring.reads(frame):
            return None
        self._ring.push(frame.pts_s, self._clips.encode_picture(frame.picture))
        if self._ring.ready:
            return self._average.update(self._clips.classify(self._ring.window()), frame.pts_s)
        self._average = AveragedOutputs(self.model.manifest)  # a gap emptied the window
        return Reading(UNCERTAIN, {})

    def reset(self) -> None:
        """Discard the window."""
        self._clips.reset()
        self._ring.reset()
        self._average = AveragedOutputs(self.model.manifest)
