"""`edgeharfer run`: recognise actions and emotions in video from cameras, files and streams."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from edgeharfer.cli.completion import complete_source
from edgeharfer.cli.options import (
    F,
    config_option,
    decode_option,
    model_options,
    picture_size,
    pipeline_options,
    task_option,
)
from edgeharfer.cli.progress import echo
from edgeharfer.cli.sources import SourceOption, check_sources, make_source
from edgeharfer.cli.stopping import stop_signals
from edgeharfer.runtime.schedule import face_interval_s
from edgeharfer.runtime.sinks import SINKS, views, writers
from edgeharfer.runtime.source import source_metavar
from edgeharfer.runtime.tasks import EXTRA_TASKS, TASKS

if TYPE_CHECKING:
    from edgeharfer.runtime.run import RunOptions


def writer_options(command: F) -> F:
    """Add an option for each kind of sink that writes to a target."""
    for name in reversed(writers()):
        entry = SINKS[name]
        command = click.option(f"--{name}", metavar=entry.metavar, help=entry.summary)(command)
    return command


@click.command()
@click.option(
    "--camera", default="0", show_default=True, metavar="N|PATH", help="Camera number or device path."
)
@click.option(
    "--source",
    cls=SourceOption,
    type=make_source,
    multiple=True,
    shell_complete=complete_source,
    metavar=source_metavar(),
    help="Video, image, folder, glob, stream URL, camera, or the built-in demo; repeatable.",
)
@click.option(
    "--follow-redirects", is_flag=True,
    help="Allow a stream to follow redirects and references to other servers.",
)  # fmt: skip
@decode_option
@click.option("--pick", is_flag=True, help="Choose the camera or file in a menu with a preview.")
@click.option("--size", type=picture_size, metavar="WIDTHxHEIGHT", help="Requested resolution of a camera.")
@click.option(
    "--fps",
    type=click.FloatRange(0, 1000, min_open=True),
    help="Requested frame rate of a camera or image sequence.",
)
@click.option(
    "--view", type=click.Choice(["auto", *views(), "none"]), default="auto", show_default=True,
    help="Where to show the video; auto = a window if there is a display.",
)  # fmt: skip
@click.option("--fullscreen", is_flag=True, help="Show the window full-screen.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8765, show_default=True, help="Port of the web view."
)
@writer_options
@click.option(
    "--hold/--no-hold", default=None,
    help="Keep the last image on screen until a key or Ctrl-C is pressed; the default for photographs.",
)  # fmt: skip
@click.option(
    "--record", type=click.Path(path_type=Path), metavar="FILE",
    help="Record the outputs of the models for --replay; no pixels are stored.",
)  # fmt: skip
@click.option(
    "--replay", type=click.Path(path_type=Path, exists=True, dir_okay=False), metavar="FILE",
    help="Replay a recording instead of a source.",
)  # fmt: skip
@click.option(
    "--pace", type=click.Choice(["auto", "realtime", "fast"]), default="auto", show_default=True,
    help="Playback of files; auto = real time with a view, otherwise as fast as possible.",
)  # fmt: skip
@click.option(
    "--max-age-ms",
    type=click.FloatRange(0, min_open=True),
    help="Drop frames that are older than this, in milliseconds, when their result is ready.",
)
@click.option(
    "--face-rate", type=click.FloatRange(0, 1000), default=10.0, show_default=True, metavar="HZ",
    help="Face-detection rate in Hz (halved while faces are still, boxes predicted between detections); "
    "0 = every frame.",
)  # fmt: skip
@click.option("--max-frames", type=click.IntRange(1), help="Stop after this many results.")
@click.option(
    "--duration", type=click.FloatRange(0, min_open=True), help="Stop after this many seconds of the source."
)
@model_options
@task_option
@config_option
def run(**options: Any) -> None:
    """Recognise actions and emotions in video from a camera, file or stream.

    \b
    edgeharfer run --camera 0
    edgeharfer run --source clip.mp4 --view none --events results.jsonl
    edgeharfer run --source demo
    edgeharfer run --source rtsp://10.0.0.8/door --source rtsp://10.0.0.9/hall
    edgeharfer run --pick
    """
    from edgeharfer.runtime.run import run as run_source
    from edgeharfer.runtime.sinks.partial import discard_unfinished

    pick = wants_pick(click.get_current_context())
    if options["hold"] and options["view"] == "none":
        raise click.UsageError(
            "--hold keeps the last image on screen and needs a view: use --view window or web"
        )
    if options["replay"] is not None and (options["record"] is not None or options["source"]):
        raise click.UsageError("--replay cannot be combined with --source or --record")
    check_sources(options["source"], options)
    for task in options["task"] if options["replay"] or options["record"] else ():
        if task not in EXTRA_TASKS or TASKS[task].model:
            raise click.UsageError(
                f"--task {task} reads images, which recordings do not contain: omit it, --record or --replay"
            )
    with stop_signals() as stopping:
        if pick:
            from edgeharfer.cli.picker import pick_source

            picked = pick_source(stopping, fullscreen=options["fullscreen"])
            if picked is None:
                return
            options["source"] = (make_source(picked),)
        stopping.on_forced_exit(discard_unfinished)
        run_source(make_options(options), stopping=stopping, report=partial(echo, err=True))


def make_options(options: dict[str, Any]) -> RunOptions:
    """Convert the command-line options to RunOptions."""
    from edgeharfer.runtime.channel import RunLimits
    from edgeharfer.runtime.inputs import SourceSpec
    from edgeharfer.runtime.run import RunOptions

    width, height = options["size"] or (None, None)
    return RunOptions(
        sources=options["source"] or (SourceSpec(options["camera"]),),
        opening={
            "width": width,
            "height": height,
            "fps": options["fps"],
            "follow_redirects": options["follow_redirects"],
            "decode": options["decode"],
        },
        pipeline={
            **pipeline_options(options),
            "face_interval_s": face_interval_s(options["face_rate"]),
        },
        targets={name: options[name] for name in writers() if options[name]},
        limits=RunLimits(options["max_frames"], options["duration"], options["max_age_ms"]),
        view=options["view"],
        fullscreen=options["fullscreen"],
        port=options["port"],
        record=options["record"],
        replay=options["replay"],
        pace=options["pace"],
        hold=options["hold"],
    )


def wants_pick(context: click.Context) -> bool:
    """Return whether to show the source menu; a source on the command line overrides `pick` in a file.

    Raises:
        click.UsageError: The command line has both --pick and a source.
    """
    given = [
        name
        for name in ("camera", "source", "replay", "pick")
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE
    ]
    sources = [name for name in given if name != "pick"]
    if sources and "pick" in given:
        raise click.UsageError(f"--pick cannot be combined with --{sources[0]}")
    return bool(context.params["pick"]) and not sources
