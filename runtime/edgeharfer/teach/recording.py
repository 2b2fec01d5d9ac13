"""Record an enrolment from a camera or another source: a countdown on screen, then features and no pixels."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from edgeharfer.runtime.capture import Capture
from edgeharfer.runtime.channel import RunInput, RunLimits
from edgeharfer.runtime.errors import SourceError
from edgeharfer.runtime.faces.detector import Detector, Region
from edgeharfer.runtime.inference.package import load_package
from edgeharfer.runtime.pipeline import Pipeline
from edgeharfer.runtime.run import NO_VIEW
from edgeharfer.runtime.runner import Runner
from edgeharfer.runtime.sinks import SinkOptions, make_sink
from edgeharfer.runtime.sinks.display import window_unavailable_reason
from edgeharfer.runtime.source import open_source
from edgeharfer.runtime.staging import cannot_write
from edgeharfer.runtime.tasks import ACTION, TASKS
from edgeharfer.runtime.tasks.action import ActionModel, FeatureRing
from edgeharfer.runtime.tasks.base import Task
from edgeharfer.runtime.types import Face, Floats, Frame, Image, Reading, TrackedFace
from edgeharfer.teach.enrolment import Enrolment, encoder_id, write_enrolment
from edgeharfer.teach.examples import check_label
from edgeharfer.teach.windows import window_rows

COUNTDOWN_S = 3.0


@dataclass(frozen=True)
class RecordOptions:
    """What to record.

    Attributes:
        source: The source, as `open_source` takes it.
        label: The action.
        seconds: Duration of the recording.
        countdown_s: Seconds before it begins.
        base: Action package whose encoder is used.
        view: Name of the sink that shows the picture and the countdown, "none", or "auto" for a window if
            there is a display.
        fullscreen: Whether the window covers the screen.
        port: Port of the web view.
    """

    source: str
    label: str
    seconds: float
    countdown_s: float = COUNTDOWN_S
    base: str | Path = TASKS[ACTION].package
    view: str = "auto"
    fullscreen: bool = False
    port: int = 8765


@dataclass(frozen=True, slots=True)
class Progress(Reading):
    """Countdown and progress of a recording, drawn as the bar at the bottom of the picture."""

    shown: ClassVar[Any] = "bar"


class EnrolTask(Task):
    """Keeps the features of a source after a countdown.

    Args:
        model: The model with the encoder.
        options: What to record.
        report: Receives a line each time the countdown or the recording has moved on by a second.
    """

    name, scope = "recording", "scene"

    def __init__(self, model: ActionModel, options: RecordOptions, report: Callable[[str], object]) -> None:
        self._model, self._options, self._report = model, options, report
        self._ring = FeatureRing(model.window)
        self._start_s: float | None = None
        self._text = ""
        self._times: list[float] = []
        self._features: list[Floats] = []

    def step(self, frame: Frame, faces: Sequence[TrackedFace]) -> Reading | None:
        """Encode a frame if it is due, and return the countdown or the progress."""
        if self._start_s is None:
            self._start_s = frame.pts_s
        at_s = frame.pts_s - self._start_s - self._options.countdown_s
        if at_s < 0:
            return self._progress(f"{self._options.label} in {math.ceil(-at_s)}", 0.0)
        if at_s <= self._options.seconds and self._ring.wants(frame.pts_s):
            self._features.append(self._model.encode(frame.bgr))
            self._ring.push(frame.pts_s, self._features[-1])
            self._times.append(frame.pts_s)
        share = min(1.0, at_s / self._options.seconds)
        left_s = max(0, math.ceil(self._options.seconds - at_s))
        return self._progress(f"Recording {self._options.label}: {left_s} s left", share)

    def reset(self) -> None:
        """Begin a new window; what was recorded before a cut or gap is kept."""
        self._ring.reset()

    def close(self) -> None:
        self._model.close()

    def enrolment(self) -> Enrolment:
        """Return what was recorded.

        Raises:
            SourceError: It is shorter than a window.
        """
        times = np.array(self._times) - (self._times[0] if self._times else 0.0)
        if not len(window_rows(times, self._model.window)):
            raise SourceError(
                f"{self._options.source}: too short: {len(times)} frames were recorded, and "
                f"{self._model.window.seconds:g} s without a gap are needed"
            )
        return Enrolment(
            self._options.label, encoder_id(self._model.manifest), times, np.stack(self._features)
        )

    def _progress(self, text: str, share: float) -> Progress:
        if text != self._text:
            self._report(text)
            self._text = text
        return Progress(text, {text: share})


class _NoFaces(Detector):
    """Finds no faces, which a recording does not need; shows the provider of the encoder."""

    def __init__(self, provider: str) -> None:
        self._provider = provider

    @property
    def provider(self) -> str:
        return self._provider

    def detect(self, bgr: Image, region: Region | None = None, *, close_up: bool = False) -> list[Face]:
        return []


def record(
    options: RecordOptions, out: Path, *, stopping: Callable[[], bool], report: Callable[[str], object]
) -> Enrolment | None:
    """Record an enrolment and write it to a file.

    Args:
        options: What to record.
        out: The file.
        stopping: Once it returns True, the recording ends.
        report: Receives lines of text for the user.

    Returns:
        What was written; None if `stopping` ended the recording, and nothing was written.

    Raises:
        ConfigError: The label cannot be used.
        CameraError: The camera is not available.
        SourceError: Another source cannot be read, or was too short.
        ModelError: The base package cannot be used.
        SinkError: The file cannot be written.
    """
    check_label(options.label, f"--label {options.label}")
    model = ActionModel(load_package(options.base, ACTION))
    task = EnrolTask(model, options, report)
    view = options.view
    if view == "auto":
        view = NO_VIEW if window_unavailable_reason() else "window"
    with ExitStack() as stack:
        source = stack.enter_context(open_source(options.source, stopping=stopping))
        sinks = []
        if view != NO_VIEW:
            shown = SinkOptions(source, stopping, options.fullscreen, options.port)
            sinks.append(stack.enter_context(make_sink(view, "", shown)))
        for sink in sinks:
            if sink.url:
                report(f"watch at {sink.url}")
        pipeline = Pipeline(
            action=None,
            emotion=None,
            detector=_NoFaces(model.provider),
            face_interval_s=options.countdown_s + options.seconds,
            extra_tasks=[task],
        )
        stack.callback(pipeline.close)
        capture = stack.enter_context(Capture(source, pace="realtime" if sinks else "fast"))
        limits = RunLimits(duration_s=options.countdown_s + options.seconds)
        Runner([RunInput(pipeline, capture)], sinks, limits, stopping=stopping).run()
    if stopping():
        return None
    enrolment = task.enrolment()
    try:
        write_enrolment(out, enrolment)
    except OSError as error:
        raise cannot_write(out, error) from error
    return enrolment
