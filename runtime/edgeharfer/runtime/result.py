"""All that is known of one frame: what a pipeline gives and sinks take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from edgeharfer.runtime.tasks import ALWAYS_IN_JSON
from edgeharfer.runtime.types import Action, Image, Reading, TrackedFace, check_picture


@dataclass(frozen=True, slots=True, repr=False)
class Result:
    """All that is known of one frame.

    Attributes:
        seq: Number of the frame in its source.
        pts_s: Source time of the frame in seconds.
        age_ms: How old the frame was when this was known.
        faces: The faces in view, with what the tasks say of each.
        readings: What the tasks say of the scene, by the task's name.
        stages_ms: Milliseconds spent in each stage that ran on this frame, and "total".
        cut: Another scene begins with this frame, and nothing is carried over from the one before.
        file: Path of the image file that the frame was read from; "" for every other source.
        updates: What the tasks gave in this very frame, by the task's name: a Reading, or Readings by track.
            Tasks with nothing new are absent, while their readings stand in `readings` and in the faces'.
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

    @property
    def action(self) -> Action | None:
        """The task's reading; None where actions are off, and for a photograph."""
        reading = self.readings.get("action")
        return reading if isinstance(reading, Action) else None

    def to_dict(self) -> dict[str, Any]:
        """The JSON line of this result, as `edgeharfer run --events` writes it.

        The tasks of ALWAYS_IN_JSON are always there, other tasks where they have a reading, and `file` for
        frames of image files.
        """
        return {
            "kind": "result",
            "seq": self.seq,
            "pts_s": round(self.pts_s, 4),
            "age_ms": round(self.age_ms, 2),
            **({"file": self.file} if self.file else {}),
            **_readings("scene", self.readings),
            "faces": [_face(face) for face in self.faces],
        }

    def plot(self, bgr: Image) -> Image:
        """A new picture with the overlay: faces, their readings and the scene's.

        Args:
            bgr: The frame's picture, uint8 (height, width, 3); it is left as it is.

        Raises:
            TypeError: It is no array of uint8.
            ValueError: It has another shape, or no pixels.
        """
        from edgeharfer.runtime.overlay import draw

        return draw(check_picture(bgr).copy(), self)

    def __repr__(self) -> str:
        said = [
            f"{name} {reading.label or dict(reading.values or {})}" for name, reading in self.readings.items()
        ]
        said += [f"face {face.track}{_in_brackets(face.readings)}" for face in self.faces]
        where = f" of {self.file}" if self.file else ""
        return f"<Result {self.seq}{where} at {self.pts_s:.2f} s: {', '.join(said) or 'nothing in view'}>"


def _in_brackets(readings: Mapping[str, Reading]) -> str:
    labels = [reading.label for reading in readings.values() if reading.label is not None]
    return f" ({', '.join(labels)})" if labels else ""


def _readings(scope: str, readings: Mapping[str, Reading]) -> dict[str, Any]:
    absent: dict[str, Any] = dict.fromkeys(ALWAYS_IN_JSON[scope])
    return absent | {name: reading.to_dict() for name, reading in readings.items()}


def _face(face: TrackedFace) -> dict[str, Any]:
    box = face.box
    return {
        "track": face.track,
        "box": [round(box.x), round(box.y), round(box.width), round(box.height)],
        "score": round(float(face.score), 4),
        **_readings("face", face.readings),
    }
