"""Results as JSON lines, to a file or to standard output (`--events FILE|-`)."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self, TextIO

from ..errors import SinkError
from ..stats import Status
from ..types import UNCERTAIN, Action, Emotion, Frame, Result, TrackedFace
from .event_file import FileWriter
from .partial import cannot_write

PROBABILITY_STEPS = 10_000  # four decimals
TOLD_STATES = frozenset({"live", "stalled", "frozen", "lost"})
"""States of the source of which a line tells; the attempts to get it back are nobody's business."""


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


def state_to_dict(status: Status) -> dict[str, Any]:
    """The `state` line of a live source that stalls, freezes, is lost or lives again, ready for JSON."""
    return {"kind": "state", "state": status.source_state, "elapsed_s": round(status.elapsed_s, 2)}


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
    """One compact object a line; the path "-" is standard output.

    An existing file of events is continued, and a line that was torn by the end of the process that wrote
    it is cut off first. When a write fails (disk full), SinkError is raised and what was written of the
    line is cut off again; the next line is tried as if nothing had been. When the reader of a pipe goes
    away (`| head`), that is no error: `closed` turns true, and the rest is dropped.

    Each line is given to the system at once and survives the death of this process. It is not forced to
    the disk (fsync) one by one, which would wear out a flash card and hold up the run: a power cut may
    take the last half minute. The end of the run forces the whole file.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = str(path)
        self._writer: _Writer | None = None
        self._state = "live"
        self.closed = False

    def __enter__(self) -> Self:
        self._writer = _StreamWriter(sys.stdout) if self._path == "-" else FileWriter(Path(self._path))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()

    def write(self, frame: Frame, result: Result, status: Status) -> None:
        self.refresh(status)
        self._line(result_to_dict(result))

    def refresh(self, status: Status) -> None:
        """Tell where the source has come into another state; for when there are no results, too."""
        if status.source_state in TOLD_STATES and status.source_state != self._state:
            self._line(state_to_dict(status))
            self._state = status.source_state

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
