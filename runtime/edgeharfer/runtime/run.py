"""`edgeharfer run`: opens sources, pipelines and sinks, and runs to the end of the sources."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

from edgeharfer.runtime.capture import Capture, Pace, stop_all
from edgeharfer.runtime.channel import RunInput, RunLimits
from edgeharfer.runtime.errors import ConfigError, SourceError
from edgeharfer.runtime.inputs import SourceSpec, open_sources, unique_names
from edgeharfer.runtime.perception import Perception
from edgeharfer.runtime.pipeline import FACE_INTERVAL_S, PerceptionFactory, Pipeline
from edgeharfer.runtime.process import pipeline_process
from edgeharfer.runtime.progress import step
from edgeharfer.runtime.recording.file import Recording
from edgeharfer.runtime.recording.recorder import Recorder, Replayer
from edgeharfer.runtime.result import Result
from edgeharfer.runtime.runner import HoldOptions, Runner
from edgeharfer.runtime.sinks import SinkOptions, make_sinks
from edgeharfer.runtime.sinks.base import Sink
from edgeharfer.runtime.sinks.display import window_unavailable_reason
from edgeharfer.runtime.sinks.mosaic import MosaicSink
from edgeharfer.runtime.source import Source
from edgeharfer.runtime.source.unreadable import describe_unreadable, unreadable_summary
from edgeharfer.runtime.stats import Status
from edgeharfer.runtime.types import Frame

NO_VIEW = "none"
DEFAULT_SIZE = (640, 480)
"""Size that the cells of a mosaic are made for if no source is available yet."""


@dataclass(frozen=True)
class RunOptions:
    """Options of a run.

    Attributes:
        sources: The sources. Several take neither `record` nor `replay`.
        opening: Further keyword arguments of `open_source`.
        pipeline: Keyword arguments of `Pipeline`.
        view: Name of the sink that shows the pictures, "none", or "auto" for a window if there is a display.
        fullscreen: Whether the view covers the screen (see `SinkOptions`).
        port: TCP port of the view (see `SinkOptions`).
        targets: Output path or address of each sink, by its name.
        record: File to record the model outputs to.
        replay: Recording to replay in place of the source.
        pace: Speed at which files are read. "auto": real time if there is a view, else as fast as possible.
        hold: Whether the last picture stays in the view. None: only for image files.
        limits: When the run ends.
    """

    sources: Sequence[SourceSpec]
    opening: Mapping[str, Any] = field(default_factory=dict)
    pipeline: Mapping[str, Any] = field(default_factory=dict)
    view: str = "auto"
    fullscreen: bool = False
    port: int = 8765
    targets: Mapping[str, str] = field(default_factory=dict)
    record: Path | None = None
    replay: Path | None = None
    pace: Literal["auto"] | Pace = "auto"
    hold: bool | None = None
    limits: RunLimits = field(default_factory=RunLimits)


def run(options: RunOptions, *, stopping: Callable[[], bool], report: Callable[[str], object]) -> None:
    """Run to the end of the source, to a limit, or until stopped.

    Args:
        options: The options of the run.
        stopping: Once it returns True, the run ends after the current frame.
        report: Receives lines of text for the user.

    Raises:
        SourceError: The source cannot be opened or read; also if only part of the input could be read, after
            the outputs for that part are complete.
        EdgeharferError: Another part cannot be opened or used.
    """
    with ExitStack() as stack:
        view = _view(options.view)
        sources, perception = _open_inputs(options, stack, stopping)
        source = sources[0]
        targets = dict(options.targets) if view == NO_VIEW else {view: "", **options.targets}
        sinks = make_sinks(targets, SinkOptions(source, stopping, options.fullscreen, options.port))
        names = unique_names(options.sources, sources) if len(sources) > 1 else [""]
        if len(sources) > 1:
            size = next((each.size for each in sources if each.size), DEFAULT_SIZE)
            sinks = [MosaicSink(sink, names, size) if sink.uses_pictures else sink for sink in sinks]
        pipelines = _make_pipelines(options, perception)
        pipeline = pipelines[0]
        stack.callback(pipeline.close)
        for sink in sinks:
            stack.enter_context(sink)
            if sink.url:
                report(f"watch at {sink.url}")
        with suppress(KeyboardInterrupt):  # the run loop then stops at once and writes the summary
            pipeline.warm_up()
        hold = (
            HoldOptions()
            if view == NO_VIEW or len(sources) > 1
            else HoldOptions.for_source(source, paced=options.pace != "auto", last=options.hold)
        )
        if hold.last:
            key = "a key in the window or " if view == "window" else ""
            report(f"press {key}Ctrl-C to close the last image")
        pace = _pace(options.pace, watched=view != NO_VIEW and not hold.photo_s)
        # A recording holds what was seen, so its replay would look at other frames.
        if options.record is None and not any(sink.uses_pictures for sink in sinks):
            for one, each in zip(pipelines, sources, strict=True):
                one.skip_unneeded(each)
        changed = threading.Event()
        captures = [
            stack.enter_context(Capture(each, pace=pace, precompute=one.precompute, changed=changed))
            for one, each in zip(pipelines, sources, strict=True)
        ]
        stack.callback(stop_all, captures)  # so that they are joined at the same time
        inputs = [
            RunInput(one, capture, name)
            for one, capture, name in zip(pipelines, captures, names, strict=True)
        ]
        shown = (
            [ProgressSink(stack, _expected_results(sources, options.limits))]
            if view == NO_VIEW and not any(each.live for each in sources)
            else []
        )
        with pipeline_process():
            Runner(
                inputs, [*sinks, *shown], options.limits, stopping=stopping, hold=hold, changed=changed
            ).run()
        stopped = stopping()
    for sink in sinks:
        if sink.saved:
            report(f"saved {sink.saved}")
    for each in sources:
        for line in describe_unreadable(each):
            report(f"edgeharfer: {line}")
    errors = [error for each in sources if (error := unreadable_summary(each))]
    if errors and not stopped:
        raise SourceError("; ".join(errors))


def _make_pipelines(options: RunOptions, perception: PerceptionFactory) -> list[Pipeline]:
    """Create a pipeline for each source, which share the models."""
    first, *others = options.sources
    settings = dict(options.pipeline)
    if first.face_interval_s is not None:
        settings["face_interval_s"] = first.face_interval_s
    pipeline = Pipeline(**settings, perception=perception)
    usual_s = options.pipeline.get("face_interval_s", FACE_INTERVAL_S)
    intervals = [usual_s if one.face_interval_s is None else one.face_interval_s for one in others]
    return [pipeline, *(pipeline.for_another_source(face_interval_s=one) for one in intervals)]


def _open_inputs(
    options: RunOptions, stack: ExitStack, stopping: Callable[[], bool]
) -> tuple[Sequence[Source], PerceptionFactory]:
    """Open the sources, or the recording to replay, and choose what runs the models on them."""
    if len(options.sources) > 1 and (options.replay or options.record):
        raise ConfigError("recordings have one source: run each source on its own")
    if options.replay is not None:
        recording = stack.enter_context(Recording(options.replay))
        return [recording], partial(Replayer, recording)
    sources = open_sources(options.sources, options.opening, stack, stopping)
    if (file := options.record) is None:
        return sources, Perception

    def make_recorder(*models: Any) -> Recorder:
        recorder = Recorder(file, *models)
        stack.callback(recorder.close)
        return recorder

    return sources, make_recorder


class ProgressSink(Sink):
    """Reports each result as progress."""

    uses_pictures = uses_status = False

    def __init__(self, stack: ExitStack, total: int | None) -> None:
        """Begin a step, which ends with the stack.

        Args:
            stack: Ends the step.
            total: Number of results; None if it is unknown.
        """
        self._advance = stack.enter_context(step("processing", total))

    def write(self, frame: Frame, result: Result, status: Status) -> None:
        self._advance()


def _expected_results(sources: Sequence[Source], limits: RunLimits) -> int | None:
    """Return the number of results of a run, or None if it is unknown."""
    total = 0
    for source in sources:
        counts = [source.frame_count, limits.max_frames]
        if limits.duration_s and source.fps:
            counts.append(round(limits.duration_s * source.fps))
        known = [count for count in counts if count]
        if not known:
            return None
        total += min(known)
    return total


def _view(view: str) -> str:
    if view != "auto":
        return view
    return NO_VIEW if window_unavailable_reason() else "window"


def _pace(pace: Literal["auto"] | Pace, *, watched: bool) -> Pace:
    """Resolve "auto": a viewer needs real time."""
    if pace != "auto":
        return pace
    return "realtime" if watched else "fast"
