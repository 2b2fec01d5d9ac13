"""Tasks that a model package describes: classes or values of each face, of the frame, or of a clip."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from edgeharfer.runtime.errors import ConfigError
from edgeharfer.runtime.faces.tracks import MAX_TRACK_GAP_S
from edgeharfer.runtime.inference.backend import CPU, Backend
from edgeharfer.runtime.inference.manifest import FACES, Manifest
from edgeharfer.runtime.inference.package import Package
from edgeharfer.runtime.tasks import open_model
from edgeharfer.runtime.tasks.action import ActionModel, FeatureRing
from edgeharfer.runtime.tasks.base import Task
from edgeharfer.runtime.tasks.pictures import BATCHES, PictureModel
from edgeharfer.runtime.tasks.smoothing import LabelDecision, Smoother
from edgeharfer.runtime.types import UNCERTAIN, Floats, Frame, Reading, TrackedFace

TIME_CONSTANT_S = 0.35
"""Of the average over time, as for emotions."""
FRAME_INTERVAL_S = 0.1
"""From one reading of a whole frame to the next."""


def make_generic(package: Package, backend: Backend = CPU) -> GenericTask:
    """The task of a package, under the name that its manifest gives.

    Args:
        package: It reads faces, frames or clips; those that read clips give classes.
        backend: Where and how it runs.

    Raises:
        ConfigError: It is a face detector, or gives values for clips.
        ModelError, ProviderError: As its model.
    """
    manifest = package.manifest
    if manifest.task == FACES or (manifest.kind == "clip" and manifest.values):
        what = "a face detector" if manifest.task == FACES else "a package that gives values for clips"
        raise ConfigError(f"{package.path}: {what} cannot be run as a task")
    model = open_model(package, backend)
    if isinstance(model, ActionModel):
        return ClipTask(model)
    assert isinstance(model, PictureModel), "what reads no clips reads pictures"
    return FaceTask(model) if manifest.kind == "face" else FrameTask(model)


class GenericTask(Task):
    """What the tasks of packages have in common: the model, and what the manifest says that it gives."""

    def __init__(self, model: PictureModel | ActionModel, scope: str) -> None:
        self.model = model
        self.name, self.scope = model.manifest.task, scope
        self.labels, self.value_names = model.manifest.labels, model.manifest.value_names

    def close(self) -> None:
        """Release the graphs."""
        self.model.close()


class AveragedOutputs:
    """The outputs of one face or of the scene, averaged over time: a label with probabilities, or values."""

    def __init__(self, manifest: Manifest) -> None:
        self._names = manifest.labels or manifest.value_names
        self._smoother = Smoother(TIME_CONSTANT_S)
        self._decision = LabelDecision(manifest.labels, manifest.threshold) if manifest.labels else None

    def update(self, outputs: Floats, now_s: float) -> Reading:
        """Take in the outputs (classes or values,) at a time."""
        mean = self._smoother.update(outputs, now_s)
        named = dict(zip(self._names, mean.tolist(), strict=True))
        if self._decision is None:
            return Reading(values=named)
        label, _ = self._decision.choose(mean)
        return Reading(label, named)


class FaceTask(GenericTask):
    """Reads cut faces: each one once each time that the detector has seen it.

    In a photograph all faces are read, else a batch in one frame: new ones first, then those that were not
    read for the longest time.
    """

    def __init__(self, model: PictureModel) -> None:
        super().__init__(model, "face")
        self._pictures = model
        self.reset()

    def step(self, frame: Frame, faces: Sequence[TrackedFace]) -> Mapping[int, Reading] | None:
        """The readings of the faces whose turn it is."""
        self._forget_old(frame.pts_s)
        waiting = [face for face in faces if self._seen_s.get(face.track) != face.seen_s]
        waiting.sort(key=lambda face: self._read_s.get(face.track, -math.inf))
        turn = waiting if frame.still else waiting[: BATCHES[-1]]
        found = {face.track: face.detected for face in turn}
        crops = self._pictures.crop_faces(frame.bgr, [face for face in found.values() if face is not None])
        if not crops:
            return None
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
        """Forget every face."""
        self._averages: dict[int, AveragedOutputs] = {}
        self._seen_s: dict[int, float] = {}
        self._read_s: dict[int, float] = {}

    def _forget_old(self, now_s: float) -> None:
        """A face that was not read for longer than a track lasts is a new one."""
        for track in [track for track, at_s in self._read_s.items() if now_s - at_s > MAX_TRACK_GAP_S]:
            for known in (self._averages, self._seen_s, self._read_s):
                known.pop(track, None)


class FrameTask(GenericTask):
    """Reads whole frames, about ten a second."""

    def __init__(self, model: PictureModel) -> None:
        super().__init__(model, "scene")
        self._pictures = model
        self._average, self._read_s = AveragedOutputs(model.manifest), -math.inf

    def step(self, frame: Frame, faces: Sequence[TrackedFace]) -> Reading | None:
        """The reading of a frame whose turn it is."""
        if 0 <= frame.pts_s - self._read_s < FRAME_INTERVAL_S:
            return None
        self._read_s = frame.pts_s
        return self._average.update(self._pictures.classify([frame.bgr])[0], frame.pts_s)

    def reset(self) -> None:
        """Forget all frames."""
        self._average = AveragedOutputs(self.model.manifest)
        self._read_s = -math.inf


class ClipTask(GenericTask):
    """Reads clips, at the times that their window asks for; "uncertain" until the first window is full."""

    def __init__(self, model: ActionModel) -> None:
        super().__init__(model, "scene")
        self._clips, self._ring = model, FeatureRing(model.window)
        self._average = AveragedOutputs(model.manifest)

    def step(self, frame: Frame, faces: Sequence[TrackedFace]) -> Reading | None:
        """The reading of the window that ends with this frame, where the frame belongs in it."""
        if frame.still or not self._ring.wants(frame.pts_s):
            return None
        self._ring.push(frame.pts_s, self._clips.encode(frame.bgr))
        if self._ring.ready:
            return self._average.update(self._clips.classify(self._ring.window()), frame.pts_s)
        self._average = AveragedOutputs(self.model.manifest)  # a gap emptied the window
        return Reading(UNCERTAIN, {})

    def reset(self) -> None:
        """Forget the window."""
        self._ring.reset()
        self._average = AveragedOutputs(self.model.manifest)
