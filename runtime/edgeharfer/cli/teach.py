"""`edgeharfer teach`: create an action package from a few clips per class."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from edgeharfer.cli.completion import complete_package, complete_source
from edgeharfer.cli.options import path_option, source_spec
from edgeharfer.cli.stopping import stop_signals
from edgeharfer.runtime.progress import step
from edgeharfer.runtime.sinks import views
from edgeharfer.runtime.source import source_metavar
from edgeharfer.runtime.tasks import ACTION, TASKS

RECORDING = ("camera", "source", "label", "seconds", "countdown", "view", "fullscreen", "port")
"""Options of a recording, which DATA does not go with."""


@click.command()
@click.argument("data", nargs=-1, type=click.Path(path_type=Path), metavar="[DATA]...")
@path_option(
    "--out",
    required=True,
    metavar="PACKAGE|FILE.enrol",
    help="Output folder of the package, or output file of a recording.",
)
@click.option("--name", help="Name of the package; default: the name of its folder.")
@click.option(
    "--base", default=TASKS[ACTION].package, show_default=True, metavar="PACKAGE",
    shell_complete=complete_package(ACTION),
    help="Action package whose encoder is used.",
)  # fmt: skip
@path_option(
    "--background", multiple=True, metavar="DIR|FILE.enrol",
    help="Clips or a recording without any of the actions; repeatable. Used with the background that ships.",
)  # fmt: skip
@click.option(
    "--camera",
    default="0",
    show_default=True,
    metavar="N|PATH",
    help="Record from this camera; needs --label.",
)
@click.option(
    "--source",
    type=source_spec,
    shell_complete=complete_source,
    metavar=source_metavar(),
    help="Record from this source; needs --label.",
)
@click.option("--label", help="Action to record.")
@click.option(
    "--seconds", type=click.FloatRange(2, 600), default=30.0, show_default=True,
    help="Duration of a recording.",
)  # fmt: skip
@click.option(
    "--countdown", type=click.FloatRange(0, 60), default=3.0, show_default=True,
    help="Seconds before a recording begins.",
)  # fmt: skip
@click.option(
    "--view", type=click.Choice(["auto", *views(), "none"]), default="auto", show_default=True,
    help="Where to show the picture and the countdown; auto = a window if there is a display.",
)  # fmt: skip
@click.option("--fullscreen", is_flag=True, help="Show the window full-screen.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8765, show_default=True, help="Port of the web view."
)
def teach(data: tuple[Path, ...], **options: Any) -> None:
    """Create an action package from a few clips per class, without TensorFlow.

    DATA is a folder of <class>/<clip>, or a recording from the camera.

    Five clips per class are a good start, in the places and by the people that the camera will see. The
    package is usable with --action, and its receipt has the accuracy on clips that were left out.

    \b
    edgeharfer teach clips/ --out gestures
    edgeharfer teach --camera 0 --label wave --seconds 30 --out wave.enrol
    edgeharfer teach wave.enrol clap.enrol --out gestures
    """
    if not data:
        _record(options)
        return
    context = click.get_current_context()
    for name in RECORDING:
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise click.UsageError(f"--{name} applies to recordings: remove it, or remove DATA")
    _teach(data, options)


def _record(options: dict[str, Any]) -> None:
    """Record an enrolment.

    Raises:
        click.UsageError: There is neither DATA nor a label.
    """
    from edgeharfer.teach.enrolment import SUFFIX
    from edgeharfer.teach.recording import RecordOptions, record

    if options["label"] is None:
        raise click.UsageError(
            "pass DATA to create a package, or --label to record an action from the camera"
        )
    out: Path = options["out"]
    if out.suffix.lower() != SUFFIX:
        raise click.UsageError(f"--out {out}: the name of a recording must end in {SUFFIX}")
    source = options["camera"] if options["source"] is None else options["source"]
    wanted = RecordOptions(
        source, options["label"], options["seconds"], options["countdown"], options["base"],
        options["view"], options["fullscreen"], options["port"],
    )  # fmt: skip
    with stop_signals() as stopping:
        enrolment = record(wanted, out, stopping=stopping, report=partial(click.echo, err=True))
        if enrolment is None:
            click.echo("stopped: nothing was written", err=True)
            click.get_current_context().exit(stopping.exit_code)
    click.echo(f"{out}: {enrolment.times[-1]:.0f} s of {enrolment.label}, as features without pixels")


def _teach(data: tuple[Path, ...], options: dict[str, Any]) -> None:
    from edgeharfer.teach.lesson import teach as teach_classes
    from edgeharfer.teach.package import check_out, confusion_table, package_name, write_package

    out: Path = options["out"]
    name = package_name(out, options["name"])
    check_out(out)
    lesson = teach_classes(data, base=options["base"], background=options["background"])
    with step("writing the package"):
        package = write_package(lesson, out, name)
    for warning in lesson.warnings:
        click.echo(f"edgeharfer: warning: {warning}", err=True)
    click.echo(f"confusion matrix, leaving out one of the {lesson.held_out} at a time (rows: true class):")
    click.echo("\n".join(confusion_table(lesson)))
    click.echo(
        f"{package.path}: {len(lesson.classes)} classes; {100 * lesson.accuracy:.1f} % of "
        f"{sum(one.examples for one in lesson.classes)} left-out examples recognised; "
        f"{100 * lesson.background_named:.1f} % of background windows recognised as an action"
    )
    click.echo(f"try it: edgeharfer run --camera 0 --action {package.path}")
