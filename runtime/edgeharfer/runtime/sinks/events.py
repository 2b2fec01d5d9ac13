"""Results as JSON lines, to a file or to standard output (`--events FILE|-`)."""

from __future__ import annotations

import json
import os
import stat
import sys
from collections.abc import Mapping
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self, TextIO

from ..errors import SinkError
from ..stats import Status
from ..types import UNCERTAIN, Action, Emotion, Frame, Result, TrackedFace
from .partial import cannot_write

PROBABILITY_STEPS = 10_000  # four decimals


def result_to_dict(result: Result) -> dict[str, Any]:
    """The `result` line of one frame, ready for JSON."""
    return {
        "kind": "result",
        "seq": result.seq,
        "pts_s": round(result.pts_s, 4),
        "age_ms": round(result.age_ms, 2),
        "action": None if result.action is None else _action(result.action),
        "faces": [_face(face) for face in result.faces],
    }


def summary_to_dict(summary: Mapping[str, Any]) -> dict[str, Any]:
    """The `summary` line that ends a run, ready for JSON."""
    return {"kind": "summary", **summary}


def round_probabilities(probs: Mapping[str, float]) -> dict[str, float]:
    """Four decimals each, with the same sum as before: the largest remainders are rounded up.

    Rounding each by itself would let the sum drift with the number of labels.
    """
    exact = {label: max(0.0, float(p)) * PROBABILITY_STEPS for label, p in probs.items()}
    steps = {label: int(value) for label, value in exact.items()}
    missing = round(sum(exact.values())) - sum(steps.values())
    for label in sorted(exact, key=lambda name: steps[name] - exact[name])[:missing]:
        steps[label] += 1
    return {label: count / PROBABILITY_STEPS for label, count in steps.items()}


def _action(action: Action) -> dict[str, Any]:
    label = action.label if action.ready else UNCERTAIN
    return {"label": label, "score": round(float(action.score), 4), "ready": action.ready}


def _face(face: TrackedFace) -> dict[str, Any]:
    box = face.box
    return {
        "track": face.track,
        "box": [round(box.x), round(box.y), round(box.width), round(box.height)],
        "score": round(float(face.score), 4),
        "emotion": None if face.emotion is None else _emotion(face.emotion),
    }


def _emotion(emotion: Emotion) -> dict[str, Any]:
    return {
        "label": emotion.label,
        "score": round(float(emotion.score), 4),
        "probs": round_probabilities(emotion.probs),
    }


class EventsSink:
    """One compact object a line, flushed each; the path "-" is standard output.

    A file is opened on entering and an existing one is overwritten. When a write fails (disk full),
    SinkError is raised and the torn line is cut off again, so that later lines stay whole. When the
    reader of a pipe goes away (`| head`), that is no error: `closed` turns true, and the rest is dropped.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = str(path)
        self._writer: _Writer | None = None
        self.closed = False

    def __enter__(self) -> Self:
        self._writer = _StreamWriter(sys.stdout) if self._path == "-" else _FileWriter(Path(self._path))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def write(self, frame: Frame, result: Result, status: Status) -> None:
        self._line(result_to_dict(result))

    def finish(self, summary: dict[str, Any]) -> None:
        self._line(summary_to_dict(summary))

    def _line(self, content: dict[str, Any]) -> None:
        if self._writer is None:
            raise SinkError(f"{self._path}: not open; use the sink in a with block")
        if self.closed:
            return
        line = json.dumps(content, separators=(",", ":"), allow_nan=False) + "\n"
        try:
            self._writer.write(line)
        except BrokenPipeError:
            self.closed = True
            self._writer.reader_gone()
        except OSError as error:
            raise cannot_write("standard output" if self._path == "-" else self._path, error) from error


class _Writer(Protocol):
    def write(self, line: str) -> None: ...

    def reader_gone(self) -> None: ...

    def close(self) -> None: ...


class _StreamWriter:
    """Standard output, which belongs to the process and stays open."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, line: str) -> None:
        self._stream.write(line)
        self._stream.flush()

    def reader_gone(self) -> None:
        # The stream still holds the line, and would fail once more at whatever is printed next.
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), self._stream.fileno())

    def close(self) -> None:
        """Nothing: every line was flushed."""


class _FileWriter:
    """An unbuffered file of whole lines."""

    def __init__(self, path: Path) -> None:
        try:
            self._file = FileIO(path, "w")
        except OSError as error:
            raise cannot_write(path, error) from error
        self._regular = stat.S_ISREG(os.fstat(self._file.fileno()).st_mode)
        self._whole_bytes = 0

    def write(self, line: str) -> None:
        data = line.encode("ascii")
        try:
            self._write_all(data)
        except OSError:
            if self._regular:
                self._file.seek(self._whole_bytes)
                self._file.truncate()
            raise
        self._whole_bytes += len(data)

    def _write_all(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[self._file.write(rest) or 0 :]

    def reader_gone(self) -> None:
        """Nothing: nothing is buffered."""

    def close(self) -> None:
        self._file.close()
