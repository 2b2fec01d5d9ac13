"""Recordings without pixels: what the models saw in each frame, to be played again to the same results.

A recording is JSON lines, a header and one line a frame: its time, the faces with their boxes, points and
probabilities, and the features of the frame where it was encoded. From them everything that comes after
the models is computed again, bit by bit the same: a report of a defect that shows nobody's face.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO, TypeVar

import numpy as np

from edgeharfer.runtime.errors import ConfigError, SourceError
from edgeharfer.runtime.faces.detector import Detector
from edgeharfer.runtime.recording.file import FORMAT, Recording
from edgeharfer.runtime.senses import Senses
from edgeharfer.runtime.tasks import ACTION, EMOTION
from edgeharfer.runtime.tasks.action import ActionModel
from edgeharfer.runtime.tasks.emotion import EmotionModel
from edgeharfer.runtime.types import Box, Face, Floats, Frame

__all__ = ["Recorder", "Recording", "Replayer"]

T = TypeVar("T")


class Recorder(Senses):
    """Senses that also write down what they see, into a file that must not exist yet.

    Raises ConfigError where the file cannot be made.
    """

    def __init__(
        self, file: Path, detector: Detector, emotion: EmotionModel | None, action: ActionModel | None
    ) -> None:
        super().__init__(detector, emotion, action)
        try:
            self._file: TextIO = file.open("x", encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"{file}: cannot record there: {error.strerror or error}") from error
        self._begun = False
        self._line: dict[str, Any] = {}

    def cut(self, frame: Frame) -> bool:
        cut = super().cut(frame)
        if cut:
            self._line["cut"] = True
        return cut

    def find(self, frame: Frame, known: Sequence[Box]) -> list[Face]:
        faces = super().find(frame, known)
        self._line["faces"] = [
            {
                "box": [face.box.x, face.box.y, face.box.width, face.box.height],
                "score": face.score,
                "points": _packed(face.keypoints),
            }
            for face in faces
        ]
        return faces

    def feel(self, frame: Frame, faces: Sequence[Face], stages_ms: dict[str, float]) -> Floats:
        probs = super().feel(frame, faces, stages_ms)
        self._line["probs"] = _packed(probs)
        return probs

    def encode(self, frame: Frame) -> Floats:
        features = super().encode(frame)
        self._line["features"] = _packed(features)
        return features

    def done(self, frame: Frame) -> None:
        if not self._begun:
            height, width = frame.bgr.shape[:2]
            self._write({"format": FORMAT, "size": [width, height], "models": models(self)})
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


class Replayer(Senses):
    """Senses that say again what a recording holds.

    Raises ConfigError where the models are not those that it was made with.
    """

    def __init__(
        self,
        recording: Recording,
        detector: Detector,
        emotion: EmotionModel | None,
        action: ActionModel | None,
    ) -> None:
        super().__init__(detector, emotion, action)
        self._recording = recording
        self._features = _features_of(action)
        mine = models(self)
        if mine != recording.models:
            raise ConfigError(
                f"{recording.name} was made with {_in_words(recording.models)}, not {_in_words(mine)}"
            )

    def cut(self, frame: Frame) -> bool:
        return self._recording.row(frame).cut

    def look(self, frame: Frame, due: bool) -> bool:
        # As it was then: how busy that machine was decided it too.
        return self._recording.row(frame).faces is not None

    def find(self, frame: Frame, known: Sequence[Box]) -> list[Face]:
        return list(self._known(frame, "faces", self._recording.row(frame).faces))

    def turn(self, frame: Frame, count: int) -> int:
        # As it was then, too: a live run reads one face in each frame, a file all new ones.
        probs = self._recording.row(frame).probs
        if self.emotion is None or probs is None:
            return count
        return max(1, probs.size // len(self.emotion.manifest.labels))

    def feel(self, frame: Frame, faces: Sequence[Face], stages_ms: dict[str, float]) -> Floats:
        assert self.emotion is not None, "emotions are on"
        probs = self._known(frame, "probs", self._recording.row(frame).probs)
        wanted = len(faces), len(self.emotion.manifest.labels)
        if probs.size != math.prod(wanted):
            raise self._refused(frame, f"{probs.size} probabilities for {wanted[0]} faces")
        return probs.reshape(wanted)

    def encode(self, frame: Frame) -> Floats:
        features = self._known(frame, "features", self._recording.row(frame).features)
        self._features = self._features or features.size
        if features.size != self._features:
            raise self._refused(frame, f"{features.size} features, not {self._features}")
        return features

    def done(self, frame: Frame) -> None:
        self._recording.forget(frame)

    def _known(self, frame: Frame, name: str, value: T | None) -> T:
        if value is None:
            raise self._refused(frame, f"no {name}")
        return value

    def _refused(self, frame: Frame, what: str) -> SourceError:
        return SourceError(f"{self._recording.name}: frame {frame.seq} has {what}")


def _features_of(action: ActionModel | None) -> int:
    """How many there are of one frame; 0 where the encoder leaves that open."""
    return (action.features_size or 0) if action is not None else 0


def models(senses: Senses) -> dict[str, str]:
    """Name, precision and files of the models, by task."""
    used = {ACTION: senses.action, EMOTION: senses.emotion}
    return {
        task: " ".join([
            model.manifest.name,
            model.precision,
            *sorted(spec.sha256[:16] for spec in model.manifest.files[model.precision].values()),
        ])
        for task, model in used.items()
        if model is not None
    }  # fmt: skip


def _in_words(used: dict[str, str]) -> str:
    return " and ".join(used.values()) or "no models"


def _packed(array: Floats) -> str:
    return base64.b64encode(np.ascontiguousarray(array, "<f4").tobytes()).decode("ascii")
