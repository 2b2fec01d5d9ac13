"""Strict reading of recordings: every frame is complete and valid, or an error."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from edgeharfer.runtime.clock import Clock, SystemClock
from edgeharfer.runtime.errors import ModelError, SourceError
from edgeharfer.runtime.source.base import Source
from edgeharfer.runtime.source.decode import MAX_MEGAPIXELS
from edgeharfer.runtime.strict_json import (
    any_object,
    boolean,
    integer,
    list_of,
    load_json,
    mapping_of,
    number,
    read_as,
    record,
    text,
)
from edgeharfer.runtime.tasks import PACKAGE_TASKS, TASKS
from edgeharfer.runtime.types import KEYPOINTS, Box, Face, Floats, Frame

FORMAT = 1
"""Version of the file format."""
MAX_COORDINATE = 1e6
"""Maximum absolute coordinate of a face in pixels."""
_MAX_LINE_BYTES = 4 * 2**20
_POINTS = len(KEYPOINTS)


@dataclass(frozen=True, slots=True)
class Header:
    """The first line of a recording.

    Attributes:
        format: Version of the file format.
        size: Width and height of the pictures in pixels.
        models: Identity of each model (see `model_identities`), by the name of the task.
    """

    format: int
    size: tuple[int, ...]
    models: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class RecordedFrame:
    """The recorded outputs of one frame.

    Attributes:
        seq: Sequence number of the frame.
        pts_s: Source time of the frame in seconds.
        still: Whether the frame is a photograph.
        cut: Whether a new scene begins with the frame.
        faces: The detected faces; None if faces were not detected in this frame.
        outputs: Flat outputs of the models that ran on the frame, float32, by `TaskEntry.recorded`.
    """

    seq: int
    pts_s: float
    still: bool = False
    cut: bool = False
    faces: tuple[Face, ...] | None = None
    outputs: Mapping[str, Floats] = field(default_factory=dict)


class Recording(Source):
    """A recording as a source of black frames, and of recorded outputs for a `Replayer`.

    Attributes:
        name: Path of the file.
        size: Width and height of the pictures in pixels.
        models: Identity of each recorded model, by the name of the task.

    Args:
        path: The recording.
        clock: Source of time; the system's by default.

    Raises:
        SourceError: The file cannot be read or is not a recording.
    """

    def __init__(self, path: Path, clock: Clock | None = None) -> None:
        self.name = str(path)
        self._clock = clock or SystemClock()
        self._number = 0
        self._last_seq = -1
        self._rows: dict[int, RecordedFrame] = {}
        if not path.is_file():
            raise SourceError(f"{path}: no such file")
        try:
            self._file = path.open("rb")
        except OSError as error:
            raise SourceError(f"{path}: cannot be read: {error.strerror}") from error
        try:
            self._read_header()
        except SourceError:
            self.close()
            raise

    def _read_header(self) -> None:
        line = self._line()
        if not (isinstance(line, dict) and line.get("format") == FORMAT):
            raise SourceError(f"{self.name}: not a recording of format {FORMAT}")
        header = read_as(SourceError, _HEADER, line, self._where())
        width, height = header.size
        if width * height > MAX_MEGAPIXELS * 1_000_000:
            raise SourceError(
                f"{self.name}: invalid picture size {width}x{height}: at most {MAX_MEGAPIXELS} megapixels"
            )
        self.models = dict(header.models)
        self.size = (width, height)
        self.details = f"recording, {width}x{height}"
        self._black = np.broadcast_to(np.zeros(1, np.uint8), (height, width, 3))

    def read(self) -> Frame | None:
        """Return the next frame, which is black, or None at the end.

        Raises:
            SourceError: The next line is invalid.
        """
        line = self._line()
        if line is None:
            return None
        row = read_as(SourceError, _read_frame, line, self._where())
        if row.seq <= self._last_seq:
            raise SourceError(f"{self._where()}: frame {row.seq} follows frame {self._last_seq}")
        self._last_seq = row.seq
        self._rows[row.seq] = row
        return Frame(row.seq, row.pts_s, self._clock.monotonic(), self._black, row.still)

    def row(self, frame: Frame) -> RecordedFrame:
        """Return the recorded outputs of a frame."""
        return self._rows[frame.seq]

    def discard(self, frame: Frame) -> None:
        """Discard the recorded outputs of a processed frame."""
        self._rows.pop(frame.seq, None)

    def close(self) -> None:
        """Close the file. Later reads return None."""
        self._file.close()

    def __iter__(self) -> Iterator[Frame]:
        while (frame := self.read()) is not None:
            yield frame

    def _line(self) -> object:
        """Return the next line as JSON, None at the end."""
        self._number += 1
        line = b"" if self._file.closed else self._file.readline(_MAX_LINE_BYTES + 1)
        if len(line) > _MAX_LINE_BYTES:
            raise SourceError(f"{self._where()}: longer than {_MAX_LINE_BYTES >> 20} MiB")
        if not line:
            return None
        try:
            return load_json(line, self._where())
        except ModelError as error:
            raise SourceError(str(error)) from error

    def _where(self) -> str:
        return f"{self.name}: line {self._number}"


@dataclass(frozen=True, slots=True)
class _RecordedFace:
    box: tuple[float, ...]
    score: float
    points: Floats


def _decode_array(value: object, where: str) -> Floats:
    """Read finite float32 values in base64."""
    values = _decode_keypoints(value, where)
    if np.isnan(values).any():
        raise ModelError(f"{where}: contains NaN")
    return values


def _decode_keypoints(value: object, where: str) -> Floats:
    """Read float32 values in base64, with NaN for points that the detector does not report."""
    try:
        values = np.frombuffer(base64.b64decode(_TEXT(value, where), validate=True), "<f4")
    except ValueError as error:
        raise ModelError(f"{where}: not an array of float32 in base64: {error}") from error
    if np.isinf(values).any():
        raise ModelError(f"{where}: contains infinity")
    return values.astype(np.float32)


def _face(value: object, where: str) -> Face:
    row = _FACE(value, where)
    if row.points.size != 2 * _POINTS:
        raise ModelError(
            f"{where}.points: {row.points.size} numbers instead of {2 * _POINTS} for {_POINTS} points"
        )
    return Face(Box(*row.box), row.score, row.points.reshape(_POINTS, 2))


_COORDINATE = number(-MAX_COORDINATE, MAX_COORDINATE)
_TEXT = text(r"(?s).*", "text")
_FACE = record(
    _RecordedFace, {"box": list_of(_COORDINATE, 4, 4), "score": number(0, 1e6), "points": _decode_keypoints}
)
_HEADER = record(
    Header,
    {
        "format": integer(FORMAT, FORMAT),
        "size": list_of(integer(1, 1 << 16), 2, 2),
        "models": mapping_of(PACKAGE_TASKS, _TEXT),
    },
)
_PICTURE = record(
    RecordedFrame,
    {
        "seq": integer(0, 1 << 53),
        "pts_s": number(-1e9, 1e9),
        "still": boolean,
        "cut": boolean,
        "faces": list_of(_face, 0, 10_000),
    },
)
_KEYS = tuple(TASKS[name].recorded for name in PACKAGE_TASKS)
_OUTPUTS = mapping_of(_KEYS, _decode_array)


def _read_frame(value: object, where: str) -> RecordedFrame:
    """Read a line: the fields of a frame, and the outputs of each model under its key."""
    line = any_object(value, where)
    frame = _PICTURE({key: one for key, one in line.items() if key not in _KEYS}, where)
    return replace(frame, outputs=_OUTPUTS({key: line[key] for key in _KEYS if key in line}, where))
