"""`edgeharfer run`: the main job."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from edgeharfer.cli.options import (
    F,
    config_option,
    model_options,
    pipeline_options,
    source_spec,
    task_option,
)
from edgeharfer.cli.stopping import stop_signals
from edgeharfer.runtime.schedule import face_interval_s
from edgeharfer.runtime.sinks import SINKS, views, writers
from edgeharfer.runtime.source import source_metavar
from edgeharfer.runtime.tasks import EXTRA_TASKS

if TYPE_CHECKING:
    from edgeharfer.runtime.run import RunOptions


def picture_size(value: object) -> tuple[int, int]:
    """ "640x480" as two numbers. A function, as click's ParamType is generic in click 8.4 and newer only."""
    sides = re.fullmatch(r"([1-9][0-9]{0,4})[xX]([1-9][0-9]{0,4})", str(value))
    if sides is None:
        raise click.BadParameter(f"{value!r} is not WIDTHxHEIGHT, such as 640x480")
    return int(sides[1]), int(sides[2])


def writer_options(command: F) -> F:
    """An option for each kind of sink that writes somewhere."""
    for name in reversed(writers()):
        entry = SINKS[name]
        command = click.option(f"--{name}", metavar=entry.takes, help=entry.summary)(command)
    return command


@click.command()
@click.option(
    "--camera", default="0", show_default=True, metavar="N|PATH", help="Camera by number or device path."
)
@click.option(
    "--source",
    type=source_spec,
    metavar=source_metavar(),
    help="A video, image, folder, stream, or the demo.",
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
    "--view", type=click.Choice(["auto", *views(), "none"]), default="auto", show_default=True,
    help="Where to show the picture; auto is a window where there is a display.",
)  # fmt: skip
@click.option("--fullscreen", is_flag=True, help="Open the window over the whole screen.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8765, show_default=True, help="Of the web view."
)
@writer_options
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
    from edgeharfer.runtime.run import run as run_source
    from edgeharfer.runtime.sinks.partial import discard_unfinished

    pick = wants_pick(click.get_current_context())
    if options["hold"] and options["view"] == "none":
        raise click.UsageError("--hold keeps a picture on the screen: give --view window or web")
    if options["replay"] is not None and (options["record"] is not None or options["source"] is not None):
        raise click.UsageError("--replay takes the place of --source and --record")
    for task in options["task"] if options["replay"] or options["record"] else ():
        if task not in EXTRA_TASKS:
            raise click.UsageError(f"a recording holds no pictures, which the task {task} reads")
    with stop_signals() as stopping:
        if pick:
            from edgeharfer.cli.picker import pick_source

            options["source"] = pick_source(stopping, fullscreen=options["fullscreen"])
            if options["source"] is None:
                return
        stopping.before_forced_end(discard_unfinished)
        run_source(make_options(options), stopping=stopping, report=partial(click.echo, err=True))


def make_options(options: dict[str, Any]) -> RunOptions:
    """The options of the command line as those of a run."""
    from edgeharfer.runtime.run import RunOptions
    from edgeharfer.runtime.runner import RunLimits

    width, height = options["size"] or (None, None)
    return RunOptions(
        source=options["camera"] if options["source"] is None else options["source"],
        opening={
            "width": width,
            "height": height,
            "fps": options["fps"],
            "follow_redirects": options["follow_redirects"],
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
    """Whether to ask what shall be watched: not where the command line has said it already."""
    told = ParameterSource.COMMANDLINE
    named = [name for name in ("camera", "source", "replay") if context.get_parameter_source(name) is told]
    if named and context.get_parameter_source("pick") is told:
        raise click.UsageError(f"--pick asks for what --{named[0]} has said already")
    return bool(context.params["pick"]) and not named
