"""`edgeharfer run`: the main job."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from edgeharfer.cli.options import config_option, model_options, task_option
from edgeharfer.cli.stopping import stop_signals
from edgeharfer.runtime.errors import ConfigError, SourceError
from edgeharfer.runtime.tasks import PACKAGE_TASKS, make_task

if TYPE_CHECKING:
    from edgeharfer.runtime.pipeline import PerceptionFactory
    from edgeharfer.runtime.runner import Hold
    from edgeharfer.runtime.sinks import Sink
    from edgeharfer.runtime.source import Source


PHOTO_S = 3.0
"""How long each photograph of several is shown."""


def picture_size(value: object) -> tuple[int, int]:
    """ "640x480" as two numbers. A function, as click's ParamType is generic in click 8.4 and newer only."""
    sides = re.fullmatch(r"([1-9][0-9]{0,4})[xX]([1-9][0-9]{0,4})", str(value))
    if sides is None:
        raise click.BadParameter(f"{value!r} is not WIDTHxHEIGHT, such as 640x480")
    return int(sides[1]), int(sides[2])


@click.command()
@click.option(
    "--camera", default="0", show_default=True, metavar="N|PATH", help="Camera by number or device path."
)
@click.option(
    "--source", metavar="FILE|DIR|GLOB|URL|demo", help="A video, image, folder, stream, or the demo."
)
@click.option(
    "--follow-redirects", is_flag=True,
    help="Let a stream connect to other servers that it redirects or points to.",
)  # fmt: skip
@click.option("--pick", is_flag=True, help="Choose a camera or file first, with a preview.")
@click.option("--size", type=picture_size, metavar="WIDTHxHEIGHT", help="Picture size asked of a camera.")
@click.option(
    "--fps", type=click.FloatRange(0, 1000, min_open=True), help="Rate asked of a camera or sequence."
)
@click.option(
    "--view", type=click.Choice(["auto", "window", "web", "none"]), default="auto", show_default=True,
    help="Where to show the picture; auto is a window where there is a display.",
)  # fmt: skip
@click.option("--fullscreen", is_flag=True, help="Open the window over the whole screen.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8765, show_default=True, help="Of the web view."
)
@click.option("--events", metavar="FILE|-", help="JSON lines, one a result, to a file or standard output.")
@click.option(
    "--save", type=click.Path(path_type=Path), metavar="FILE.mp4|FILE.jpg|DIR",
    help="Annotated video (.mp4, .mkv, .avi); of a photograph .jpg or .png, of several a folder.",
)  # fmt: skip
@click.option(
    "--hold/--no-hold", default=None,
    help="Keep the last picture on the screen until a key or Ctrl-C; by default for photographs.",
)  # fmt: skip
@click.option(
    "--record", type=click.Path(path_type=Path), metavar="FILE",
    help="What the models saw, without a pixel, for --replay.",
)  # fmt: skip
@click.option(
    "--replay", type=click.Path(path_type=Path, exists=True, dir_okay=False), metavar="FILE",
    help="Play a recording in place of a source.",
)  # fmt: skip
@click.option("--stats", type=click.Path(path_type=Path), metavar="FILE.json", help="Summary of the run.")
@click.option(
    "--pace", type=click.Choice(["auto", "realtime", "fast"]), default="auto", show_default=True,
    help="Of files; auto is real time where someone looks on, else as fast as it goes.",
)  # fmt: skip
@click.option(
    "--max-age-ms", type=click.FloatRange(0, min_open=True), help="Give no result on an older frame."
)
@click.option(
    "--face-rate", type=click.FloatRange(0, 1000), default=10.0, show_default=True, metavar="HZ",
    help="Faces are looked for so often a second, half as often while all keep still, and move on between; "
    "0 is in every frame.",
)  # fmt: skip
@click.option("--max-frames", type=click.IntRange(1), help="Stop after so many results.")
@click.option(
    "--duration", type=click.FloatRange(0, min_open=True), help="Stop after so many seconds of the source."
)
@model_options
@task_option
@config_option
def run(**options: Any) -> None:
    """Tell actions and emotions from a camera, file or stream.

    \b
    edgeharfer run --camera 0
    edgeharfer run --source clip.mp4 --view none --events results.jsonl
    edgeharfer run --source demo
    edgeharfer run --pick
    """
    from edgeharfer.runtime.capture import Capture
    from edgeharfer.runtime.pipeline import Pipeline
    from edgeharfer.runtime.runner import Limits, Runner
    from edgeharfer.runtime.sinks.partial import discard_unfinished

    with stop_signals() as stopping, ExitStack() as stack:
        if wants_pick(click.get_current_context()):
            from edgeharfer.cli.picker import pick_source

            options["source"] = pick_source(stopping, fullscreen=options["fullscreen"])
            if options["source"] is None:
                return
        view = choose_view(options["view"])
        source, perception = open_input(options, stack, stopping)
        sinks = make_sinks(options, view, source, stopping)
        stopping.before_forced_end(discard_unfinished)
        interval_s = face_interval_s(options["face_rate"])
        pipeline = Pipeline(**pipeline_options(options), face_interval_s=interval_s, perception=perception)
        stack.callback(pipeline.close)
        for sink in sinks:
            stack.enter_context(sink)
            if sink.url:
                click.echo(f"watch at {sink.url}", err=True)
        with suppress(KeyboardInterrupt):  # a stop that ended it: what follows writes the summary
            pipeline.warm_up()
        hold = choose_hold(options, view, source)
        pace = choose_pace(options["pace"], watched=view != "none" and not hold.photo_s)
        if hold.last:
            key = "a key in the window, or " if view == "window" else ""
            click.echo(f"the last picture stays until {key}Ctrl-C", err=True)
        capture = stack.enter_context(Capture(source, pace=pace))
        limits = Limits(options["max_frames"], options["duration"], options["max_age_ms"])
        Runner(pipeline, capture, sinks, limits, stopping=stopping, hold=hold).run()
        stopped = stopping()
    report_unreadable(source, stopped=stopped)


def report_unreadable(source: Source, *, stopped: bool) -> None:
    """Name what could not be read, once the outputs are complete.

    Raises SourceError where anything could not be, unless the run was stopped before its end.
    """
    from edgeharfer.runtime.source.unreadable import conclusion, describe_unreadable

    for line in describe_unreadable(source):
        click.echo(f"edgeharfer: {line}", err=True)
    if (error := conclusion(source)) and not stopped:
        raise SourceError(error)


def wants_pick(context: click.Context) -> bool:
    """Whether to ask what shall be watched: not where the command line has said it already."""
    told = ParameterSource.COMMANDLINE
    named = [name for name in ("camera", "source", "replay") if context.get_parameter_source(name) is told]
    if named and context.get_parameter_source("pick") is told:
        raise click.UsageError(f"--pick asks for what --{named[0]} has said already")
    return bool(context.params["pick"]) and not named


def face_interval_s(rate: float) -> float:
    """Seconds from one look for faces to the next; 0 for a rate of 0, which is every frame."""
    return 1 / rate if rate else 0.0


def open_input(
    options: dict[str, Any], stack: ExitStack, stopping: Callable[[], bool]
) -> tuple[Source, PerceptionFactory]:
    """What is watched, and what looks at it: the models, recorded or not, or a recording of them."""
    from edgeharfer.runtime.perception import Perception
    from edgeharfer.runtime.recording.recorder import Recorder, Recording, Replayer
    from edgeharfer.runtime.source import open_source

    if options["replay"] is not None:
        if options["record"] is not None or options["source"] is not None:
            raise click.UsageError("--replay takes the place of --source and --record")
        recording = stack.enter_context(Recording(options["replay"]))
        return recording, partial(Replayer, recording)
    spec = options["camera"] if options["source"] is None else options["source"]
    width, height = options["size"] or (None, None)
    source = stack.enter_context(
        open_source(
            spec,
            width=width,
            height=height,
            fps=options["fps"],
            follow_redirects=options["follow_redirects"],
            stopping=stopping,
        )
    )
    if options["record"] is None:
        return source, Perception

    def recorded(*models: Any) -> Recorder:
        recorder = Recorder(options["record"], *models)
        stack.callback(recorder.close)
        return recorder

    return source, recorded


def pipeline_options(options: dict[str, Any]) -> dict[str, Any]:
    """The options that describe models, as the Pipeline takes them; "off" becomes None."""
    names = (*PACKAGE_TASKS, "detector", "provider", "precision", "threads", "allow_fallback", "prior")
    chosen = {name: None if options[name] == "off" else options[name] for name in names}
    if (key := options.get("require_signature")) is not None:
        from edgeharfer.runtime.inference.package import load_package

        for task in PACKAGE_TASKS:
            name = chosen[task]
            chosen[task] = None if name is None else load_package(name, task, require_signature=key)
    if options.get("task"):
        chosen["extra_tasks"] = [make_task(name) for name in dict.fromkeys(options["task"])]
    return chosen


def choose_view(view: str) -> str:
    """ "auto" made concrete: a window where one can open, else none."""
    if view != "auto":
        return view
    from edgeharfer.runtime.sinks import window_lack

    return "none" if window_lack() else "window"


def choose_pace(pace: str, *, watched: bool) -> Any:
    """ "auto" made concrete: nobody can follow a film at ten times its speed."""
    if pace != "auto":
        return pace
    return "realtime" if watched else "fast"


def choose_hold(options: dict[str, Any], view: str, source: Source) -> Hold:
    """How long pictures stay on the screen: the last photograph until a key, those before it PHOTO_S each."""
    from edgeharfer.runtime.runner import Hold
    from edgeharfer.runtime.source.images import ImagesSource

    if view == "none":
        if options["hold"] and options["view"] == "none":
            raise click.UsageError("--hold keeps a picture on the screen: give --view window or web")
        return Hold()
    images = isinstance(source, ImagesSource)
    photographs = images and source.fps is None and options["pace"] == "auto"
    last = images if options["hold"] is None else options["hold"]
    return Hold(PHOTO_S if photographs else 0.0, last)


def make_saver(path: Path, source: Source) -> Sink:
    """What --save writes, by the ending and the source. Raises ConfigError where they do not go together."""
    from edgeharfer.runtime.sinks import VideoSink
    from edgeharfer.runtime.sinks.photos import PHOTO_SUFFIXES, PhotoSink, names_in
    from edgeharfer.runtime.sinks.video import CODECS
    from edgeharfer.runtime.source.images import ImagesSource

    suffix, videos = path.suffix.lower(), ", ".join(CODECS)
    if suffix in CODECS:
        return VideoSink(path, source.fps)
    if not isinstance(source, ImagesSource):
        what = f"only photographs are saved as {suffix}" if suffix in PHOTO_SUFFIXES else "not a video file"
        raise ConfigError(f"{path}: {what}; for a video, camera or stream, end the name in {videos}")
    if path.is_dir() or not suffix:
        return PhotoSink(names_in(path, source.paths), source.paths, path)
    if suffix not in PHOTO_SUFFIXES:
        raise ConfigError(f"{path}: end the name in .jpg or .png for a photograph, or in {videos}")
    if len(source.paths) > 1:
        raise ConfigError(
            f"{path}: {source.name} holds {len(source.paths)} images; name a folder for them, "
            f"such as --save {path.with_suffix('')}"
        )
    return PhotoSink([path], source.paths)


def make_sinks(
    options: dict[str, Any], view: str, source: Source, stopping: Callable[[], bool]
) -> list[Sink]:
    """The outputs that were asked for; words on the terminal where there would be nothing else to see."""
    from edgeharfer.runtime.sinks import EventsSink, StatsFileSink, WindowSink
    from edgeharfer.runtime.sinks.console import ConsoleSink

    sinks: list[Sink] = []
    if view == "window":
        sinks.append(WindowSink(fullscreen=options["fullscreen"]))
    if view == "web":
        from edgeharfer.runtime.sinks.web import WebSink

        sinks.append(WebSink(port=options["port"]))
    if options["events"]:
        sinks.append(EventsSink(options["events"], stopping=stopping))
    if options["save"]:
        sinks.append(make_saver(options["save"], source))
    if options["stats"]:
        sinks.append(StatsFileSink(options["stats"]))
    if options["events"] != "-":
        sinks.append(ConsoleSink())
    return sinks
