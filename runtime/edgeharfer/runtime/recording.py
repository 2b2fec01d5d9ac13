"""Recordings without pixels: what the models saw in each frame, to be played again to the same results.

A recording is JSON lines, a header and one line a frame: its time, the faces with their boxes, points and
probabilities, and the features of the frame where it was encoded. From them everything that comes after
the models is computed again, bit by bit the same: a report of a defect that shows nobody's face.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

import numpy as np

from edgeharfer.runtime.action import ActionModel
from edgeharfer.runtime.clock import Clock, SystemClock
from edgeharfer.runtime.emotion import EmotionModel
from edgeharfer.runtime.errors import ConfigError, ModelError, SourceError
from edgeharfer.runtime.faces.detector import Detector
from edgeharfer.runtime.senses import Senses
from edgeharfer.runtime.strict_json import load_json
from edgeharfer.runtime.types import Box, Face, Floats, Frame

FORMAT = 1
_MAX_LINE = 4 * 2**20


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


class Recording:
    """A recording to play again, as a source and as the senses that go with it.

    Raises SourceError for a file that is none.
    """

    live = False
    fps: float | None = None

    def __init__(self, path: Path, clock: Clock | None = None) -> None:
        self.name = str(path)
        self._clock = clock or SystemClock()
        try:
            self._lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise SourceError(f"{path}: cannot be read: {error}") from error
        header = self._parse(0)
        if header.get("format") != FORMAT:
            raise SourceError(f"{path}: not a recording of format {FORMAT}")
        try:
            width, height = (int(side) for side in header["size"])
            self.models = {str(task): str(model) for task, model in header["models"].items()}
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise SourceError(f"{path}: the header lacks its size or models") from error
        self.size: tuple[int, int] | None = (width, height)
        self.frame_count: int | None = len(self._lines) - 1
        self.details = f"recording, {width}x{height}, {self.frame_count} frames"
        self._next = 1
        self._rows: dict[int, dict[str, Any]] = {}
        self._nothing = np.broadcast_to(np.zeros(1, np.uint8), (height, width, 3))

    def read(self) -> Frame | None:
        """The next frame, black. Raises SourceError for a line that is none."""
        if self._next >= len(self._lines):
            return None
        row, line = self._parse(self._next), self._next + 1
        self._next += 1
        try:
            seq, pts_s, still = int(row["seq"]), float(row["pts_s"]), bool(row.get("still", False))
        except (KeyError, TypeError, ValueError) as error:
            raise SourceError(f"{self.name}: line {line} is no frame") from error
        self._rows[seq] = row
        return Frame(seq, pts_s, self._clock.monotonic(), self._nothing, still)

    def row(self, frame: Frame) -> dict[str, Any]:
        """What was seen in a frame."""
        return self._rows[frame.seq]

    def forget(self, frame: Frame) -> None:
        """A frame that is done with."""
        self._rows.pop(frame.seq, None)

    def close(self) -> None:
        """Nothing is open."""

    def __enter__(self) -> Recording:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[Frame]:
        while (frame := self.read()) is not None:
            yield frame

    def _parse(self, number: int) -> dict[str, Any]:
        where = f"{self.name}: line {number + 1}"
        if number >= len(self._lines) or len(self._lines[number]) > _MAX_LINE:
            raise SourceError(f"{where} is missing or too long")
        try:
            row = load_json(self._lines[number], where)
        except ModelError as error:
            raise SourceError(str(error)) from error
        if not isinstance(row, dict):
            raise SourceError(f"{where} is not an object")
        return row


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
        mine = models(self)
        if mine != recording.models:
            raise ConfigError(
                f"{recording.name} was made with {_in_words(recording.models)}, not {_in_words(mine)}"
            )

    def find(self, frame: Frame, known: Sequence[Box]) -> list[Face]:
        rows = self._value(frame, "faces")
        return [Face(Box(*row["box"]), row["score"], _unpacked(row["points"]).reshape(-1, 2)) for row in rows]

    def feel(self, frame: Frame, faces: Sequence[Face], stages_ms: dict[str, float]) -> Floats:
        return _unpacked(self._value(frame, "probs")).reshape(len(faces), -1)

    def encode(self, frame: Frame) -> Floats:
        return _unpacked(self._value(frame, "features"))

    def done(self, frame: Frame) -> None:
        self._recording.forget(frame)

    def _value(self, frame: Frame, name: str) -> Any:
        row = self._recording.row(frame)
        if name not in row:
            raise SourceError(f"{self._recording.name}: frame {frame.seq} has no {name}")
        return row[name]


def models(senses: Senses) -> dict[str, str]:
    """Name, precision and files of the models, by task."""
    used = {"action": senses.action, "emotion": senses.emotion}
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


def _unpacked(text: Any) -> Floats:
    try:
        values: Floats = np.frombuffer(base64.b64decode(text, validate=True), "<f4").astype(np.float32)
    except (TypeError, ValueError) as error:
        raise SourceError("a recording holds an array that is none") from error
    return values
