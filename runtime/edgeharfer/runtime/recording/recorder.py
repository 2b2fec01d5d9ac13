"""Recordings without pixels: what the models saw in each frame, to be played again to the same results.

A recording is JSON lines, a header and one line a frame: its time, the faces with their boxes, points and
probabilities, and the features of the frame where it was encoded. From them everything that comes after
the models is computed again, bit by bit the same: a report of a defect that shows nobody's face.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO, TypeVar

import numpy as np

from edgeharfer.runtime.errors import ConfigError, SourceError
from edgeharfer.runtime.faces.detector import Detector
from edgeharfer.runtime.perception import Perception
from edgeharfer.runtime.recording.file import FORMAT, Recording
from edgeharfer.runtime.tasks import TASKS
from edgeharfer.runtime.tasks.packaged import Inference, TaskModel
from edgeharfer.runtime.types import Box, Face, Floats, Frame

__all__ = ["Recorder", "Recording", "Replayer"]

T = TypeVar("T")


class Recorder(Perception):
    """Also writes all outputs into a file that must not exist yet.

    Raises ConfigError where the file cannot be made.
    """

    def __init__(self, file: Path, detector: Detector, models: Mapping[str, TaskModel]) -> None:
        super().__init__(detector, models)
        try:
            self._file: TextIO = file.open("x", encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"{file}: cannot record there: {error.strerror or error}") from error
        self._begun = False
        self._line: dict[str, Any] = {}

    def is_cut(self, frame: Frame) -> bool:
        cut = super().is_cut(frame)
        if cut:
            self._line["cut"] = True
        return cut

    def detect_faces(self, frame: Frame, known: Sequence[Box]) -> list[Face]:
        faces = super().detect_faces(frame, known)
        self._line["faces"] = [
            {
                "box": [face.box.x, face.box.y, face.box.width, face.box.height],
                "score": face.score,
                "points": _packed(face.keypoints),
            }
            for face in faces
        ]
        return faces

    def classify_faces(self, task: str, frame: Frame, faces: Sequence[Face]) -> Inference:
        outputs = super().classify_faces(task, frame, faces)
        self._line[TASKS[task].recorded] = _packed(outputs.values)
        return outputs

    def encode(self, task: str, frame: Frame) -> Floats:
        outputs = super().encode(task, frame)
        self._line[TASKS[task].recorded] = _packed(outputs)
        return outputs

    def finish(self, frame: Frame) -> None:
        if not self._begun:
            height, width = frame.bgr.shape[:2]
            self._write({"format": FORMAT, "size": [width, height], "models": model_identities(self.models)})
            self._begun = True
        still = {"still": True} if frame.still else {}
        self._write({"seq": frame.seq, "pts_s": frame.pts_s, **still, **self._line})
        self._line = {}

    def close(self) -> None:
        """Finish the file."""
        self._file.close()

    def _write(self, line: dict[str, Any]) -> None:
        self._file.write(json.dumps(line, separators=(",", ":")) + "\n")
        self._file.flush()


class Replayer(Perception):
    """Gives the outputs that a recording holds.

    Raises ConfigError where the models are not those that it was made with.
    """

    def __init__(self, recording: Recording, detector: Detector, models: Mapping[str, TaskModel]) -> None:
        super().__init__(detector, models)
        self._recording = recording
        self._row_sizes = {task: model.row_size for task, model in models.items()}
        mine = model_identities(models)
        if mine != recording.models:
            raise ConfigError(
                f"{recording.name} was made with {_in_words(recording.models)}, not {_in_words(mine)}"
            )

    def is_cut(self, frame: Frame) -> bool:
        return self._recording.row(frame).cut

    def should_detect(self, frame: Frame, due: bool) -> bool:
        # As it was then: how busy that machine was decided it too.
        return self._recording.row(frame).faces is not None

    def detect_faces(self, frame: Frame, known: Sequence[Box]) -> list[Face]:
        return list(self._known(frame, "faces", self._recording.row(frame).faces))

    def faces_to_read(self, task: str, frame: Frame, count: int) -> int:
        # As it was then, too: a live run reads one face in each frame, a file all new ones.
        outputs = self._recording.row(frame).outputs.get(TASKS[task].recorded)
        size = self.models[task].row_size
        return count if outputs is None or not size else max(1, outputs.size // size)

    def classify_faces(self, task: str, frame: Frame, faces: Sequence[Face]) -> Inference:
        outputs = self._outputs(task, frame)
        size = self._row_sizes[task] or outputs.size // max(1, len(faces))
        if outputs.size != len(faces) * size:
            raise self._refused(frame, f"{outputs.size} probabilities for {len(faces)} faces")
        return Inference(outputs.reshape(len(faces), size))

    def encode(self, task: str, frame: Frame) -> Floats:
        outputs = self._outputs(task, frame)
        size = self._row_sizes[task] = self._row_sizes[task] or outputs.size
        if outputs.size != size:
            raise self._refused(frame, f"{outputs.size} {TASKS[task].recorded}, not {size}")
        return outputs

    def finish(self, frame: Frame) -> None:
        self._recording.discard(frame)

    def _outputs(self, task: str, frame: Frame) -> Floats:
        key = TASKS[task].recorded
        return self._known(frame, key, self._recording.row(frame).outputs.get(key))

    def _known(self, frame: Frame, name: str, value: T | None) -> T:
        if value is None:
            raise self._refused(frame, f"no {name}")
        return value

    def _refused(self, frame: Frame, what: str) -> SourceError:
        return SourceError(f"{self._recording.name}: frame {frame.seq} has {what}")


def model_identities(models: Mapping[str, TaskModel]) -> dict[str, str]:
    """Name, precision and files of models, by task."""
    return {
        task: " ".join([
            model.manifest.name,
            model.precision,
            *sorted(spec.sha256[:16] for spec in model.manifest.files[model.precision].values()),
        ])
        for task, model in models.items()
    }  # fmt: skip


def _in_words(used: dict[str, str]) -> str:
    return " and ".join(used.values()) or "no models"


def _packed(array: Floats) -> str:
    return base64.b64encode(np.ascontiguousarray(array, "<f4").tobytes()).decode("ascii")
