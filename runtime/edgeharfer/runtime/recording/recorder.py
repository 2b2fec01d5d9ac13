"""Writing and replaying recordings without pictures.

A recording is a file of JSON lines: a header, then one line for each frame with its time, the faces with
their boxes, key points and probabilities, and the features if the frame was encoded. A replay computes
everything that follows the models, and its results are identical bit by bit. Bugs can thus be reported
without sharing pictures of people.
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

T = TypeVar("T")


class Recorder(Perception):
    """Runs the models like `Perception` and writes their outputs to a recording.

    Args:
        file: The recording, which must not exist.
        detector: The face detector.
        models: The models by the name of their task.

    Raises:
        ConfigError: The file exists or cannot be created.
    """

    def __init__(self, file: Path, detector: Detector, models: Mapping[str, TaskModel]) -> None:
        super().__init__(detector, models)
        try:
            self._file: TextIO = file.open("x", encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"{file}: cannot create the recording: {error.strerror or error}") from error
        self._has_header = False
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
                "points": _encode_array(face.keypoints),
            }
            for face in faces
        ]
        return faces

    def classify_faces(self, task: str, frame: Frame, faces: Sequence[Face]) -> Inference:
        outputs = super().classify_faces(task, frame, faces)
        self._line[TASKS[task].recorded] = _encode_array(outputs.values)
        return outputs

    def encode(self, task: str, frame: Frame) -> Floats:
        outputs = super().encode(task, frame)
        self._line[TASKS[task].recorded] = _encode_array(outputs)
        return outputs

    def finish(self, frame: Frame) -> None:
        if not self._has_header:
            self._write({"format": FORMAT, "size": list(frame.size), "models": model_identities(self.models)})
            self._has_header = True
        still = {"still": True} if frame.still else {}
        self._write({"seq": frame.seq, "pts_s": frame.pts_s, **still, **self._line})
        self._line = {}

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _write(self, line: dict[str, Any]) -> None:
        self._file.write(json.dumps(line, separators=(",", ":")) + "\n")
        self._file.flush()


class Replayer(Perception):
    """Returns the outputs of a recording in place of running the models.

    Args:
        recording: The recording, which must also be the source of the frames.
        detector: The face detector, which is not run.
        models: The models by the name of their task, which are not run.

    Raises:
        ConfigError: The models are not those of the recording.
    """

    def __init__(self, recording: Recording, detector: Detector, models: Mapping[str, TaskModel]) -> None:
        super().__init__(detector, models)
        self._recording = recording
        self._row_sizes = {task: model.row_size for task, model in models.items()}
        identities = model_identities(models)
        if identities != recording.models:
            raise ConfigError(
                f"{recording.name} was made with {_joined(recording.models)}, not {_joined(identities)}"
            )

    def is_cut(self, frame: Frame) -> bool:
        return self._recording.row(frame).cut

    def should_detect(self, frame: Frame, due: bool) -> bool:
        # As recorded, because the decision also depended on the load of the recording machine.
        return self._recording.row(frame).faces is not None

    def detect_faces(self, frame: Frame, known: Sequence[Box]) -> list[Face]:
        return list(self._require(frame, "faces", self._recording.row(frame).faces))

    def faces_to_read(self, task: str, frame: Frame, count: int) -> int:
        # As recorded, because a live run reads one face in each frame, but a file all new ones.
        outputs = self._recording.row(frame).outputs.get(TASKS[task].recorded)
        size = self.models[task].row_size
        return count if outputs is None or not size else max(1, outputs.size // size)

    def classify_faces(self, task: str, frame: Frame, faces: Sequence[Face]) -> Inference:
        outputs = self._outputs(task, frame)
        size = self._row_sizes[task] or outputs.size // max(1, len(faces))
        if outputs.size != len(faces) * size:
            raise self._error(frame, f"{outputs.size} probabilities for {len(faces)} faces")
        return Inference(outputs.reshape(len(faces), size))

    def encode(self, task: str, frame: Frame) -> Floats:
        outputs = self._outputs(task, frame)
        size = self._row_sizes[task] = self._row_sizes[task] or outputs.size
        if outputs.size != size:
            raise self._error(frame, f"{outputs.size} {TASKS[task].recorded}, not {size}")
        return outputs

    def precompute(self, task: str, frame: Frame) -> None:
        return

    def finish(self, frame: Frame) -> None:
        self._recording.discard(frame)

    def _outputs(self, task: str, frame: Frame) -> Floats:
        key = TASKS[task].recorded
        return self._require(frame, key, self._recording.row(frame).outputs.get(key))

    def _require(self, frame: Frame, name: str, value: T | None) -> T:
        if value is None:
            raise self._error(frame, f"no {name}")
        return value

    def _error(self, frame: Frame, what: str) -> SourceError:
        return SourceError(f"{self._recording.name}: frame {frame.seq} has {what}")


def model_identities(models: Mapping[str, TaskModel]) -> dict[str, str]:
    """Return name, precision and file hashes of models as text, by the name of the task."""
    return {
        task: " ".join([
            model.manifest.name,
            model.precision,
            *sorted(spec.sha256[:16] for spec in model.manifest.files[model.precision].values()),
        ])
        for task, model in models.items()
    }  # fmt: skip


def _joined(used: dict[str, str]) -> str:
    return " and ".join(used.values()) or "no models"


def _encode_array(array: Floats) -> str:
    return base64.b64encode(np.ascontiguousarray(array, "<f4").tobytes()).decode("ascii")
