"""`edgeharfer analyze`: write reports on videos and images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edgeharfer.cli.extras import needs_extra
from edgeharfer.cli.options import config_option, model_options, path_option, pipeline_options, task_option
from edgeharfer.cli.progress import ProgressBar
from edgeharfer.cli.stopping import stop_signals


@click.command()
@click.argument("inputs", nargs=-1, required=True, metavar="VIDEO|IMAGE|DIR…")
@path_option("--out", required=True, metavar="DIR", help="Output folder for the reports.")
@click.option(
    "--fps", type=click.FloatRange(0, 240, min_open=True), default=4.0, show_default=True,
    help="Emotion samples per second of video; actions keep their own rate.",
)  # fmt: skip
@click.option(
    "--smoothing", type=click.Choice(["centered", "exponential", "none"]), default="centered",
    show_default=True, help="Smoothing of emotions over time; frames.csv always has the raw values.",
)  # fmt: skip
@click.option(
    "--smoothing-s", type=click.FloatRange(0, 3600, min_open=True), default=1.0, show_default=True,
    help="Window of the centered mean, or time constant, in seconds.",
)  # fmt: skip
@click.option("--thumbnails", is_flag=True, help="Add thumbnails of the input to the PDF.")
@click.option(
    "--duration",
    type=click.FloatRange(0, min_open=True),
    help="Analyse only this many seconds at the start of each input.",
)
@click.option("--fresh", is_flag=True, help="Recreate reports that already exist.")
@model_options
@task_option
@config_option
def analyze(inputs: tuple[str, ...], out: Path, **options: Any) -> None:
    """Write a report on each video, image or folder: CSV, JSON, charts and PDF.

    \b
    edgeharfer analyze interview.mp4 --out reports
    edgeharfer analyze clips/ holiday.jpg --out reports --fps 10 --smoothing none

    A second run resumes where the first one stopped. Inputs that cannot be read are listed, the others are
    analysed, and the exit code is 2.
    """
    with needs_extra("report"):
        from edgeharfer.report.analyzer import Analyzer
        from edgeharfer.report.batch import Batch
        from edgeharfer.report.inputs import check_finite, find_inputs, plan_tasks
        from edgeharfer.report.job import ReportJob
        from edgeharfer.report.smoothing import Smoothing
        from edgeharfer.report.write import ensure_writable_folder

    items = find_inputs(inputs)
    check_finite(items, options["duration"])
    ensure_writable_folder(out)
    smoothing = Smoothing(options["smoothing"], options["smoothing_s"])
    with (
        Analyzer(fps=options["fps"], **pipeline_options(options)) as analyzer,
        stop_signals() as stopping,
        ProgressBar() as progress,
    ):
        job = ReportJob(analyzer, smoothing, options["thumbnails"], options["duration"])
        tasks = plan_tasks(items, out, job.settings, fresh=options["fresh"])
        remaining = Batch(job, tasks, progress, stopping).run()
    if remaining:  # so that a command after `&&` does not run without these reports
        click.get_current_context().exit(stopping.exit_code)
