"""The result of one frame, which a pipeline returns and sinks receive."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from edgeharfer.runtime.tasks import ALWAYS_IN_JSON
from edgeharfer.runtime.types import Action, Image, Reading, TrackedFace, check_picture, round_number


@dataclass(frozen=True, slots=True, repr=False)
class Result:
    """The result of one frame. Results are immutable and can be read from any thread.

    Attributes:
        seq: Sequence number of the frame in its source.
        pts_s: Source time of the frame in seconds.
        age_ms: Milliseconds from the capture of the frame to this result.
        faces: The faces in view, each with its readings.
        readings: The current readings of the scene, by the name of the task.
        stages_ms: Milliseconds spent in each stage that ran on this frame, and "total".
        cut: Whether a new scene begins with this frame, so that nothing is carried over from the frames
            before it.
        file: Path of the image file that the frame was read from; "" for any other source.
        updates: New readings from this frame, by the name of the task: a `Reading` for the scene, or a
            mapping of track number to `Reading`. Tasks without a new reading are absent; their last readings
            remain in `readings` and in `faces`.
        source: Name of the source in a run with several sources; otherwise "".
    """

    seq: int
    pts_s: float
    age_ms: float
    faces: tuple[TrackedFace, ...] = ()
    readings: Mapping[str, Reading] = field(default_factory=dict)
    stages_ms: Mapping[str, float] = field(default_factory=dict)
    cut: bool = False
    file: str = ""
    updates: Mapping[str, Reading | Mapping[int, Reading]] = field(default_factory=dict)
    source: str = ""

    @property
    def action(self) -> Action | None:
        """The reading of the action task; None for a photograph, and if the task is off."""
        reading = self.readings.get("action")
        return reading if isinstance(reading, Action) else None

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON object that `edgeharfer run --events` writes for this result.

        The tasks of ALWAYS_IN_JSON are always present, with None if there is no reading. Other tasks are
        present if they have a reading, `file` is present for frames of image files, and `source` in a run
        with several sources.
        """
        return {
            "kind": "result",
            **({"source": self.source} if self.source else {}),
            "seq": self.seq,
            "pts_s": round(self.pts_s, 4),
            "age_ms": round(self.age_ms, 2),
            **({"file": self.file} if self.file else {}),
            **_readings_json("scene", self.readings),
            "faces": [_face_json(face) for face in self.faces],
        }

    def plot(self, bgr: Image) -> Image:
        """Draw the overlay: the faces with their readings, and the readings of the scene.

        Args:
            bgr: The picture of the frame, uint8, (height, width, 3). It is not modified.

        Returns:
            A new picture of the same shape.

        Raises:
            TypeError: The picture is not a NumPy array of uint8.
            ValueError: The picture has another shape, or no pixels.
        """
        from edgeharfer.runtime.overlay import draw

        return draw(check_picture(bgr).copy(), self)

    def __repr__(self) -> str:
        parts = [
            f"{name} {reading.label or dict(reading.values or {})}" for name, reading in self.readings.items()
        ]
        parts += [f"face {face.track}{_label_list(face.readings)}" for face in self.faces]
        where = f" of {self.file}" if self.file else ""
        return f"<Result {self.seq}{where} at {self.pts_s:.2f} s: {', '.join(parts) or 'nothing in view'}>"


def _label_list(readings: Mapping[str, Reading]) -> str:
    labels = [reading.label for reading in readings.values() if reading.label is not None]
    return f" ({', '.join(labels)})" if labels else ""


def _readings_json(scope: str, readings: Mapping[str, Reading]) -> dict[str, Any]:
    absent: dict[str, Any] = dict.fromkeys(ALWAYS_IN_JSON[scope])
    return absent | {name: reading.to_dict() for name, reading in readings.items()}


def _face_json(face: TrackedFace) -> dict[str, Any]:
    return {
        "track": face.track,
        "box": face.box.rounded(),
        "score": round_number(face.score),
        **_readings_json("face", face.readings),
    }
