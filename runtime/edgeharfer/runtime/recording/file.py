"""The lines of a recording, read strictly: whatever stands in the file, a frame is whole or refused."""

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
MAX_PLACE = 1e6
"""Of a face, in pixels from the corner of the picture."""
_MAX_LINE = 4 * 2**20
_POINTS = len(KEYPOINTS)


@dataclass(frozen=True, slots=True)
class Header:
    """The first line: how large the pictures were, and the models by task."""

    format: int
    size: tuple[int, ...]
    models: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class RecordedFrame:
    """What was seen in one frame.

    cut: another scene begins with it. outputs: of the models that ran on it, by `TaskEntry.recorded`.
    """

    seq: int
    pts_s: float
    still: bool = False
    cut: bool = False
    faces: tuple[Face, ...] | None = None
    outputs: Mapping[str, Floats] = field(default_factory=dict)


class Recording(Source):
    """A recording to play again, as a source and for the `Replayer` that goes with it.

    Raises SourceError for a file that is none.
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
            raise SourceError(f"{self.name}: pictures of {width}x{height} were never recorded")
        self.models = dict(header.models)
        self.size = (width, height)
        self.details = f"recording, {width}x{height}"
        self._nothing = np.broadcast_to(np.zeros(1, np.uint8), (height, width, 3))

    def read(self) -> Frame | None:
        """The next frame, black. Raises SourceError for a line that is none."""
        line = self._line()
        if line is None:
            return None
        row = read_as(SourceError, _seen, line, self._where())
        if row.seq <= self._last_seq:
            raise SourceError(f"{self._where()}: frame {row.seq} comes after frame {self._last_seq}")
        self._last_seq = row.seq
        self._rows[row.seq] = row
        return Frame(row.seq, row.pts_s, self._clock.monotonic(), self._nothing, row.still)

    def row(self, frame: Frame) -> RecordedFrame:
        """What was seen in a frame."""
        return self._rows[frame.seq]

    def discard(self, frame: Frame) -> None:
        """A frame that is done with."""
        self._rows.pop(frame.seq, None)

    def close(self) -> None:
        """Let go of the file; reads after it return None."""
        self._file.close()

    def __iter__(self) -> Iterator[Frame]:
        while (frame := self.read()) is not None:
            yield frame

    def _line(self) -> object:
        """The next line as JSON, None at the end."""
        self._number += 1
        line = b"" if self._file.closed else self._file.readline(_MAX_LINE + 1)
        if len(line) > _MAX_LINE:
            raise SourceError(f"{self._where()} is too long")
        if not line:
            return None
        try:
            return load_json(line, self._where())
        except ModelError as error:
            raise SourceError(str(error)) from error

    def _where(self) -> str:
        return f"{self.name}: line {self._number}"


@dataclass(frozen=True, slots=True)
class _SeenFace:
    box: tuple[float, ...]
    score: float
    points: Floats


def _unpacked(value: object, where: str) -> Floats:
    """Reader of finite float32 values in base64."""
    values = _unpacked_points(value, where)
    if np.isnan(values).any():
        raise ModelError(f"{where}: holds values that are no numbers")
    return values


def _unpacked_points(value: object, where: str) -> Floats:
    """The same, where NaN stands for a point that the detector does not report."""
    try:
        values = np.frombuffer(base64.b64decode(_TEXT(value, where), validate=True), "<f4")
    except ValueError as error:
        raise ModelError(f"{where}: an array that is none: {error}") from error
    if np.isinf(values).any():
        raise ModelError(f"{where}: holds values that are no numbers")
    return values.astype(np.float32)


def _face(value: object, where: str) -> Face:
    row = _FACE(value, where)
    if row.points.size != 2 * _POINTS:
        raise ModelError(
            f"{where}.points: {row.points.size} numbers, where {_POINTS} points have {2 * _POINTS}"
        )
    return Face(Box(*row.box), row.score, row.points.reshape(_POINTS, 2))


_PLACE = number(-MAX_PLACE, MAX_PLACE)
_TEXT = text(r"(?s).*", "text")
_FACE = record(_SeenFace, {"box": list_of(_PLACE, 4, 4), "score": number(0, 1e6), "points": _unpacked_points})
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
_OUTPUTS = mapping_of(_KEYS, _unpacked)


def _seen(value: object, where: str) -> RecordedFrame:
    """A line: what was seen, and outputs of models under keys of their own."""
    line = any_object(value, where)
    seen = _PICTURE({key: one for key, one in line.items() if key not in _KEYS}, where)
    return replace(seen, outputs=_OUTPUTS({key: line[key] for key in _KEYS if key in line}, where))
