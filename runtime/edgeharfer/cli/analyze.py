"""`edgeharfer analyze`: write reports on videos and images."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from edgeharfer.cli.extras import check_extra, needs_extra
from edgeharfer.cli.options import (
    backend_from_options,
    config_option,
    decode_option,
    model_options,
    path_option,
    task_option,
)
from edgeharfer.cli.progress import BatchProgress
from edgeharfer.cli.stopping import stop_signals
from edgeharfer.runtime.errors import ConfigError, SourceError
from edgeharfer.runtime.staging import remove_all_abandoned
from edgeharfer.runtime.tasks import PACKAGE_TASKS

if TYPE_CHECKING:
    from edgeharfer.report.combined import Table
    from edgeharfer.report.engine import Engine
    from edgeharfer.report.settings import AnalysisSettings
    from edgeharfer.report.task import ReportInput

TABLES = ("csv", "parquet", "none")


def _read_list(file: str) -> Iterator[str]:
    """The lines of a list of inputs that are not blank; "-" is standard input.

    Windows marks text files with a byte order mark, which is not part of the first path.
    """
    with click.open_file(file, encoding="utf-8-sig", errors="surrogateescape") as lines:
        yield from (line.rstrip("\r\n") for line in lines if line.strip())


def _count_lines(file: str) -> int | None:
    """Number of inputs in a list; None for standard input and pipes, which can be read only once."""
    return sum(1 for _ in _read_list(file)) if Path(file).is_file() else None


def _peeked(items: Iterator[ReportInput], from_list: str) -> Iterator[ReportInput]:
    """The same inputs, of which there must be one."""
    first = next(items, None)
    if first is None:
        name = "standard input" if from_list == "-" else from_list
        raise ConfigError(f"{name}: lists no inputs; write one path per line")
    return itertools.chain([first], items)


@click.command()
@click.argument("inputs", nargs=-1, metavar="VIDEO|IMAGE|DIR…")
@click.option(
    "--from", "from_list", type=click.Path(exists=True, dir_okay=False, allow_dash=True), metavar="LIST.txt",
    help="Also analyse the inputs listed in this file, one per line; - reads standard input.",
)  # fmt: skip
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
@click.option("--thumbnails", is_flag=True, help="Add thumbnails of the input to the PDF and HTML.")
@click.option(
    "--duration",
    type=click.FloatRange(0, min_open=True),
    help="Analyse only this many seconds at the start of each input.",
)
@decode_option
@click.option("--fresh", is_flag=True, help="Recreate reports that already exist.")
@click.option(
    "--engine", type=click.Choice(["local", "ray"]), default="local", show_default=True,
    help="Where inputs are analysed: on this machine, or as tasks of Ray (extra `scale`).",
)  # fmt: skip
@click.option(
    "--workers", type=click.IntRange(1, 4096), metavar="N",
    help="Inputs analysed at the same time; default: 1, or with Ray as many as its resources allow.",
)  # fmt: skip
@click.option("--ray-address", metavar="ADDRESS", help="Ray cluster; default: start Ray on this machine.")
@click.option(
    "--cpus", type=click.FloatRange(0, min_open=True), default=1.0, show_default=True,
    help="With Ray: CPUs for each input.",
)  # fmt: skip
@click.option(
    "--gpus", type=click.FloatRange(0), default=0.0, show_default=True,
    help="With Ray: GPUs for each input; fractions share one.",
)  # fmt: skip
@click.option(
    "--table", type=click.Choice(TABLES), default="csv", show_default=True,
    help="Table of all frames of several inputs; parquet needs the extra `scale`.",
)  # fmt: skip
@model_options
@task_option
@config_option
def analyze(inputs: tuple[str, ...], from_list: str | None, out: Path, **options: Any) -> None:
    """Write reports on videos and images: charts, CSV, JSON and PDF.

    \b
    edgeharfer analyze interview.mp4 --out reports
    edgeharfer analyze clips/ holiday.jpg --out reports --fps 10 --smoothing none
    edgeharfer analyze --from list.txt --out reports --workers 4

    A second run resumes where the first one stopped. Inputs that cannot be read are listed, the others are
    analysed, and the exit code is 2. With several inputs, job.jsonl records what happened to each, and
    all_summary.csv, all_persons.csv and all_frames.csv hold the figures of all.
    """
    if not inputs and from_list is None:
        raise click.UsageError("no inputs: pass files or folders, or --from LIST.txt")
    with needs_extra("report"):
        from edgeharfer.report.batch import Batch, Workload
        from edgeharfer.report.engine import InProcess
        from edgeharfer.report.inputs import check_finite, find_inputs, plan_tasks
        from edgeharfer.report.manifest import JobManifest
        from edgeharfer.report.write import ensure_writable_folder
    _check_ray_options(options["engine"])
    if options["engine"] == "ray" or options["table"] == "parquet":
        check_extra("scale")

    settings = _settings(options)
    listed = from_list is not None  # an error in a long list must not end the job
    specs = itertools.chain(inputs, () if from_list is None else _read_list(from_list))
    items = check_finite(find_inputs(specs, lenient=listed), options["duration"], lenient=listed)
    known = None if listed else list(items)
    if from_list is not None:
        items = _peeked(items, from_list)
    ensure_writable_folder(out)
    with contextlib.ExitStack() as stack:
        models = stack.enter_context(contextlib.ExitStack())
        workers = stack.enter_context(_worker_engine(settings, options))  # Ray takes long to import
        job = models.enter_context(settings.open_job())
        report_settings = job.settings
        if workers:
            models.close()  # they load their own
        stopping = stack.enter_context(stop_signals())
        progress = stack.enter_context(BatchProgress())
        tasks = plan_tasks(items if known is None else known, out, report_settings, fresh=options["fresh"])
        if known is None:
            count = _count_lines(from_list) if from_list and not inputs else None
            workload = Workload.stream(tasks, count)
        else:
            workload = Workload.of(list(tasks))
        several = known is None or len(known) > 1
        manifest = stack.enter_context(JobManifest(out, job.clock)) if several else None
        if manifest:
            manifest.begin(options["engine"], options["workers"])
            stack.enter_context(_finished_job(out, options["table"], stopping))
        stack.callback(remove_all_abandoned, out)
        engine = workers or InProcess(job)
        left = Batch(engine, workload, progress, stopping, manifest, job.clock).run()
    if left:  # so that a command after `&&` does not run without these reports
        click.get_current_context().exit(stopping.exit_code)


def _check_ray_options(engine: str) -> None:
    """Refuse options on the command line that only Ray has, which would otherwise do nothing.

    Raises:
        UsageError: An option needs `--engine ray`.
    """
    context = click.get_current_context()
    for name in ("ray_address", "cpus", "gpus"):
        given = context.get_parameter_source(name) is ParameterSource.COMMANDLINE
        if engine != "ray" and given:
            raise click.UsageError(f"--{name.replace('_', '-')} needs --engine ray")


@contextlib.contextmanager
def _finished_job(out: Path, table: Table, stopping: Callable[[], bool]) -> Iterator[None]:
    """At the end of a job that was not stopped, write its tables."""
    from edgeharfer.report.combined import write_combined

    try:
        yield
    except SourceError:  # inputs that cannot be read do not affect the others
        write_combined(out, table)
        raise
    else:
        if not stopping():
            write_combined(out, table)


def _settings(options: dict[str, Any]) -> AnalysisSettings:
    """The options as settings that worker processes understand, whatever their working folder is."""
    from edgeharfer.report.settings import AnalysisSettings
    from edgeharfer.report.smoothing import Smoothing

    key = options["require_signature"]
    return AnalysisSettings(
        packages={task: None if options[task] == "off" else _place(options[task]) for task in PACKAGE_TASKS},
        tasks=tuple(map(_place, options["task"])),
        detector=options["detector"],
        prior=options["prior"],
        backend=backend_from_options(options),
        signature_key=None if key is None else str(key.absolute()),
        fps=options["fps"],
        smoothing=Smoothing(options["smoothing"], options["smoothing_s"]),
        thumbnails=options["thumbnails"],
        duration_s=options["duration"],
        decode=options["decode"],
    )


def _place(package: str) -> str:
    """The absolute path of a package that is a folder, or its name."""
    return str(Path(package).absolute()) if Path(package).is_dir() else package


@contextlib.contextmanager
def _worker_engine(settings: AnalysisSettings, options: dict[str, Any]) -> Iterator[Engine | None]:
    """The engine for inputs that are analysed in other processes; None for this one."""
    if options["engine"] == "ray":
        from edgeharfer.report.ray_driver import RayOptions
        from edgeharfer.report.ray_engine import RayEngine

        asked = {name: options[name] for name in ("workers", "cpus", "gpus")}
        with contextlib.closing(
            RayEngine(RayOptions(settings.to_json(), options["ray_address"], **asked))
        ) as engine:
            yield engine
    elif (options["workers"] or 1) > 1:
        from edgeharfer.report.engine import local_engine

        yield local_engine(settings, options["workers"])
    else:
        yield None
