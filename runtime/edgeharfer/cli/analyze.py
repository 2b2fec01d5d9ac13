"""`edgeharfer analyze`: reports on videos and pictures."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import click

from edgeharfer.cli.extras import needs_extra
from edgeharfer.cli.options import config_option, model_options, pipeline_options, task_option
from edgeharfer.cli.stopping import stop_signals


@click.command()
@click.argument("inputs", nargs=-1, required=True, metavar="VIDEO|IMAGE|DIR…")
@click.option("--out", type=click.Path(path_type=Path), required=True, metavar="DIR", help="For the reports.")
@click.option(
    "--fps", type=click.FloatRange(0, 240, min_open=True), default=4.0, show_default=True,
    help="Emotions read a second of video; actions keep their own rate.",
)  # fmt: skip
@click.option(
    "--smoothing", type=click.Choice(["centered", "exponential", "none"]), default="centered",
    show_default=True, help="Of emotions over time; raw values are always in frames.csv.",
)  # fmt: skip
@click.option(
    "--smoothing-s", type=click.FloatRange(0, 3600, min_open=True), default=1.0, show_default=True,
    help="Width of the mean, or time constant, in seconds.",
)  # fmt: skip
@click.option("--thumbnails", is_flag=True, help="Put pictures of the input into the PDF.")
@click.option(
    "--duration", type=click.FloatRange(0, min_open=True), help="Only so many seconds of each input."
)
@click.option("--fresh", is_flag=True, help="Make reports anew that are there already.")
@model_options
@task_option
@config_option
def analyze(inputs: tuple[str, ...], out: Path, **options: Any) -> None:
    """Write a report on each video, image or folder: CSV, JSON, charts and PDF.

    \b
    edgeharfer analyze interview.mp4 --out reports
    edgeharfer analyze clips/ holiday.jpg --out reports --fps 10 --smoothing none

    A second run goes on where the first one stopped. An input that cannot be read is named, and the
    others are analysed all the same; the exit code is 2 then.
    """
    with needs_extra("report"):
        from edgeharfer.report.analyzer import Analyzer
        from edgeharfer.report.batch import Batch
        from edgeharfer.report.inputs import check_ends, find_inputs, plan
        from edgeharfer.report.job import Job
        from edgeharfer.report.smoothing import Smoothing
        from edgeharfer.report.write import check_folder

    items = find_inputs(inputs)
    check_ends(items, options["duration"])
    check_folder(out)
    smoothing = Smoothing(options["smoothing"], options["smoothing_s"])
    with (
        Analyzer(fps=options["fps"], **pipeline_options(options)) as analyzer,
        stop_signals() as stopping,
        ProgressBar() as progress,
    ):
        job = Job(analyzer, smoothing, options["thumbnails"], options["duration"])
        tasks = plan(items, out, job.settings, fresh=options["fresh"])
        left = Batch(job, tasks, progress, stopping).run()
    if left:  # or what comes after `&&` would go on without these reports
        click.get_current_context().exit(stopping.exit_code)


class ProgressBar:
    """A bar with the time left on a terminal's standard error, and nothing of it elsewhere.

    Lines on results go to standard output, complaints to standard error, both above the bar.
    """

    def __init__(self) -> None:
        self._shown = sys.stderr.isatty()
        self._bar: Any = None
        self._open: AbstractContextManager[Any] | None = None
        self._rest = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def begin(self, total: int) -> None:
        if self._shown and total:
            self._open = click.progressbar(
                length=total, file=sys.stderr, item_show_func=lambda label: label or "", width=24
            )
            self._bar = self._open.__enter__()

    def advance(self, more: float, label: str) -> None:
        if self._bar is not None:
            self._rest += more
            whole = int(self._rest)
            self._rest -= whole
            self._bar.update(whole, label)

    def end(self) -> None:
        if self._open is not None:
            self._open.__exit__(None, None, None)
            self._open = self._bar = None

    def say(self, line: str) -> None:
        self._clear()
        click.echo(line)

    def complain(self, line: str) -> None:
        self._clear()
        click.echo(f"edgeharfer: {line}", err=True)

    def _clear(self) -> None:
        if self._bar is not None:
            click.echo("\r\x1b[K", nl=False, err=True)  # the bar is drawn anew below the line
