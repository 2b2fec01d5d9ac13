"""The main job: a source is opened, watched to its end by the models, and the results go to sinks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

from edgeharfer.runtime.capture import Capture, Pace
from edgeharfer.runtime.errors import SourceError
from edgeharfer.runtime.perception import Perception
from edgeharfer.runtime.pipeline import PerceptionFactory, Pipeline
from edgeharfer.runtime.recording.recorder import Recorder, Recording, Replayer
from edgeharfer.runtime.runner import HoldOptions, RunLimits, Runner
from edgeharfer.runtime.sinks import SinkOptions, make_sinks
from edgeharfer.runtime.sinks.display import window_unavailable_reason
from edgeharfer.runtime.source import Source, open_source
from edgeharfer.runtime.source.unreadable import conclusion, describe_unreadable

NO_VIEW = "none"


@dataclass(frozen=True)
class RunOptions:
    """What is watched, how, and where the results go.

    Attributes:
        source: As `open_source` takes it.
        opening: Further options of `open_source`.
        pipeline: Options of `Pipeline`.
        view: Name of a sink that a person looks at, "none", or "auto" for a window where there is a display.
        fullscreen, port: Of the view, see `SinkOptions`.
        targets: Name of a sink -> where it writes.
        record: File for what the models saw. replay: Such a file, played in place of the source.
        pace: Of files; "auto" is real time where there is a view, else as fast as possible.
        hold: Whether the last picture stays in the view; None for image files alone.
        limits: What ends the run.
    """

    source: str
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


def run(options: RunOptions, *, stopping: Callable[[], bool], say: Callable[[str], object]) -> None:
    """Run to the end of the source, or until something says stop.

    Args:
        options: See `RunOptions`.
        stopping: Once true, the run ends after the frame in work.
        say: Takes lines for people.

    Raises:
        EdgeharferError: Something cannot be opened or used; a SourceError also where some of the input could
            not be read, once the outputs for the rest are complete.
    """
    with ExitStack() as stack:
        view = _view(options.view)
        source, perception = _open_input(options, stack, stopping)
        targets = dict(options.targets) if view == NO_VIEW else {view: "", **options.targets}
        sinks = make_sinks(targets, SinkOptions(source, stopping, options.fullscreen, options.port))
        pipeline = Pipeline(**options.pipeline, perception=perception)
        stack.callback(pipeline.close)
        for sink in sinks:
            stack.enter_context(sink)
            if sink.url:
                say(f"watch at {sink.url}")
        with suppress(KeyboardInterrupt):  # a stop that ended it: what follows writes the summary
            pipeline.warm_up()
        hold = (
            HoldOptions()
            if view == NO_VIEW
            else HoldOptions.of(source, paced=options.pace != "auto", last=options.hold)
        )
        if hold.last:
            key = "a key in the window, or " if view == "window" else ""
            say(f"the last picture stays until {key}Ctrl-C")
        pace = _pace(options.pace, watched=view != NO_VIEW and not hold.photo_s)
        capture = stack.enter_context(Capture(source, pace=pace))
        Runner(pipeline, capture, sinks, options.limits, stopping=stopping, hold=hold).run()
        stopped = stopping()
    for line in describe_unreadable(source):
        say(f"edgeharfer: {line}")
    if (error := conclusion(source)) and not stopped:
        raise SourceError(error)


def _open_input(
    options: RunOptions, stack: ExitStack, stopping: Callable[[], bool]
) -> tuple[Source, PerceptionFactory]:
    """What is watched, and what looks at it: the models, recorded or not, or a recording of them."""
    if options.replay is not None:
        recording = stack.enter_context(Recording(options.replay))
        return recording, partial(Replayer, recording)
    source = stack.enter_context(open_source(options.source, **options.opening, stopping=stopping))
    if (file := options.record) is None:
        return source, Perception

    def recorded(*models: Any) -> Recorder:
        recorder = Recorder(file, *models)
        stack.callback(recorder.close)
        return recorder

    return source, recorded


def _view(view: str) -> str:
    if view != "auto":
        return view
    return NO_VIEW if window_unavailable_reason() else "window"


def _pace(pace: Literal["auto"] | Pace, *, watched: bool) -> Pace:
    """ "auto" made concrete: nobody can follow a film at ten times its speed."""
    if pace != "auto":
        return pace
    return "realtime" if watched else "fast"
