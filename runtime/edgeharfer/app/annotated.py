"""A copy of an analysed video with the boxes and names of its report, to be downloaded."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgeharfer.runtime.overlay import draw
from edgeharfer.runtime.result import Result
from edgeharfer.runtime.sinks.timeline import FILE_GAP_S
from edgeharfer.runtime.sinks.video import VideoSink
from edgeharfer.runtime.source import Source
from edgeharfer.runtime.stats import Status
from edgeharfer.runtime.tasks import ACTION, EMOTION
from edgeharfer.runtime.types import Action, Box, Emotion, Frame, Image, Reading, TrackedFace

if TYPE_CHECKING:
    from edgeharfer.report.report import Report
    from edgeharfer.report.rows import FrameRow

ANNOTATED = "annotated.mp4"


class _AnnotatedVideo(VideoSink):
    """Draws results without the status of a run."""

    def _picture(self, frame: Frame, result: Result, status: Status) -> Image:
        return draw(frame.bgr.copy(), result)


class ReportResults:
    """The results of a report at any time: boxes between two samples are interpolated.

    Args:
        report: The report on a video.
    """

    def __init__(self, report: Report) -> None:
        self._labels, self._step_s = report.labels, report.recording.step_s
        self._segments = report.segments
        self._rows: dict[int, list[FrameRow]] = {}
        for row in report.rows:
            self._rows.setdefault(row.face.track, []).append(row)
        self._times = {track: [row.sample.time_s for row in rows] for track, rows in self._rows.items()}

    def at(self, time_s: float, seq: int = 0) -> Result:
        """The result at a time of the video, in seconds."""
        faces = (self._face(track, rows, time_s) for track, rows in self._rows.items())
        seen = tuple(face for face in faces if face is not None)
        return Result(seq, time_s, 0.0, seen, self._scene(time_s))

    def _face(self, track: int, rows: Sequence[FrameRow], time_s: float) -> TrackedFace | None:
        after = bisect_left(self._times[track], time_s)
        near = [
            row
            for row in rows[max(0, after - 1) : after + 1]
            if abs(row.sample.time_s - time_s) <= 1.01 * self._step_s
        ]
        if not near:
            return None
        nearest = min(near, key=lambda row: abs(row.sample.time_s - time_s))
        box = _between(near[0], near[-1], time_s)
        return TrackedFace(track, box, nearest.face.score, self._readings(nearest))

    def _readings(self, row: FrameRow) -> Mapping[str, Reading]:
        if not row.label:
            return {}
        probs = dict(zip(self._labels, row.probs, strict=True))
        return {EMOTION: Emotion(row.label, row.score, probs)}

    def _scene(self, time_s: float) -> Mapping[str, Reading]:
        for one in self._segments:
            if one.start_s <= time_s < one.end_s:
                return {ACTION: Action(one.label, one.score, True)}
        return {}


def write_annotated(
    source: Source,
    report: Report,
    path: Path,
    progress: Callable[[float], None],
    stopping: Callable[[], bool],
) -> None:
    """Write the video with boxes and names, as far as it was analysed.

    Args:
        source: The same video, open; the caller closes it.
        report: Its report.
        path: File to write, .mp4.
        progress: Called with the share that is done, 0 to 1.
        stopping: Called before each frame; True stops, and the file must not be used.

    Raises:
        SourceError: The video cannot be read.
        SinkError: The file cannot be written.
    """
    results, frames = ReportResults(report), max(1, report.recording.frames)
    status = Status()
    with _AnnotatedVideo(path, source.fps, max_gap_s=FILE_GAP_S) as video:
        for done in range(report.recording.frames):
            if stopping() or (frame := source.read()) is None:
                return
            video.write(frame, results.at(frame.pts_s, frame.seq), status)
            progress((done + 1) / frames)


def _between(one: FrameRow, other: FrameRow, time_s: float) -> Box:
    """The box at a time between two samples."""
    first, second = one.face.box, other.face.box
    length_s = other.sample.time_s - one.sample.time_s
    share = (time_s - one.sample.time_s) / length_s if length_s else 0.0
    sides = zip(
        (first.x, first.y, first.width, first.height),
        (second.x, second.y, second.width, second.height),
        strict=True,
    )
    return Box(*(start + share * (end - start) for start, end in sides))
