"""`edgeharfer benchmark`: speed of packages on this machine, against other engines and end to end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeharfer.cli.benchmark_checks import MAX_COUNT, check_options, check_subjects
from edgeharfer.cli.completion import complete_model, complete_source
from edgeharfer.cli.options import config_option, path_option
from edgeharfer.cli.packages import is_model_file
from edgeharfer.cli.progress import progress_bar
from edgeharfer.runtime.inference.backend import AUTO, Backend
from edgeharfer.runtime.inference.providers import provider_choices
from edgeharfer.runtime.progress import step, with_progress
from edgeharfer.runtime.staging import write_json
from edgeharfer.runtime.tasks import PACKAGE_TASKS, TASKS

if TYPE_CHECKING:
    from edgeharfer.benchmark.compare import BenchmarkSubject
    from edgeharfer.benchmark.ours import BenchmarkSetup
    from edgeharfer.benchmark.rows import Candidate
    from edgeharfer.runtime.inference.package import Package


@click.command()
@click.argument("packages", nargs=-1, metavar="[PACKAGE]...", shell_complete=complete_model)
@click.option(
    "--against", default="", metavar="LIST", help="Engines to compare with: keras, openvino, litert."
)
@path_option(
    "--keras-model", metavar="FILE|DIR",
    help="Keras model that PACKAGE was exported from, for --against keras,litert.",
)  # fmt: skip
@click.option("--name", help="Package to use from a training run that has several.")
@click.option("--end-to-end", is_flag=True, help="Benchmark the whole pipeline on --source.")
@click.option("--source", metavar="FILE", shell_complete=complete_source, help="Clip for --end-to-end.")
@click.option(
    "--faces", type=click.IntRange(1, 64), help="With --end-to-end: faces per frame, copied from the clip."
)
@click.option(
    "--minutes", type=click.FloatRange(min=0, min_open=True, max=10_000), metavar="M",
    help="With --end-to-end: then run for M minutes at full speed and report drift, temperature and power.",
)  # fmt: skip
@click.option(
    "--agreement", is_flag=True,
    help="With --end-to-end: compare the labels with a run of every stage on every frame.",
)  # fmt: skip
@click.option(
    "--provider", "providers", default="auto", show_default=True, metavar="LIST",
    help=f"{', '.join(provider_choices()[1:])}; auto = all that can be loaded on this machine.",
)  # fmt: skip
@click.option("--allow-fallback", is_flag=True, help="Use the next best provider if one cannot be loaded.")
@click.option(
    "--precision",
    "precisions",
    default="all",
    show_default=True,
    metavar="LIST",
    help="Comma-separated list of fp32, fp16, int8.",
)
@click.option(
    "--threads",
    default="1",
    show_default=True,
    metavar="LIST",
    help="Comma-separated numbers of ONNX Runtime intra-op threads.",
)
@click.option(
    "--batch", "batches", default="1", show_default=True, metavar="LIST", help="Comma-separated batch sizes."
)
@click.option(
    "--runs", type=click.IntRange(1, 100_000), default=200, show_default=True, help="Number of measured runs."
)
@click.option(
    "--duration", type=click.FloatRange(min=0, min_open=True, max=86_400), metavar="S",
    help="Measure each row for S seconds instead of --runs.",
)  # fmt: skip
@click.option(
    "--streams", type=click.IntRange(1, MAX_COUNT), default=1, show_default=True,
    help="Sessions that run at the same time, for throughput.",
)  # fmt: skip
@path_option(
    "--profile", metavar="DIR", help="Show times by operator, and write ONNX Runtime's traces to DIR."
)
@path_option(
    "--data", metavar="DIR|ZIP",
    help="Labelled data; adds the accuracy of each precision and provider to the table.",
)  # fmt: skip
@path_option("--json", "json_file", metavar="FILE", help="Write the results as JSON.")
@path_option("--plot", "plot_file", metavar="FILE.png", help="Plot the medians with their ranges.")
@config_option
def benchmark(packages: tuple[str, ...], **options: Any) -> None:
    """Benchmark packages on this machine, against other engines and end to end.

    Medians and ratios come from interleaved rounds in one run.

    A PACKAGE is a shipped name, a package folder, or a Keras model or training run, which is exported
    temporarily. Without PACKAGE, all shipped packages are measured; with --end-to-end, the defaults of `run`.

    \b
    edgeharfer benchmark action-ucf20 --threads 1,2
    edgeharfer benchmark emotion-fer8 --data faces/ --plot fer8.png
    edgeharfer benchmark emotion-fer8 --profile traces/
    edgeharfer benchmark runs/action --against keras,openvino,litert
    edgeharfer benchmark --end-to-end --source clip.mp4 --against keras
    """
    from edgeharfer.benchmark.machine import machine_facts

    check_options(packages, options)
    left_out: list[str] = []
    report: dict[str, Any] = {"machine": machine_facts()}
    with ExitStack() as stack:
        subjects = list(find_subjects(packages, options, stack))
        check_subjects(subjects, options)
        report["rows"] = measure_rows(subjects, options, left_out)
        if options["profile"] is not None:
            report["profile"] = profile(subjects, options)
        if options["end_to_end"]:
            report |= run_end_to_end(subjects, options)
    report["left_out"] = left_out
    show(report)
    write(report, options["json_file"], options["plot_file"])


def find_subjects(
    packages: Sequence[str], options: dict[str, Any], stack: ExitStack
) -> Iterator[BenchmarkSubject]:
    """Yield the packages to measure; exported Keras models are removed when the stack is closed."""
    from edgeharfer.benchmark.compare import BenchmarkSubject, check_origin, exported_subject
    from edgeharfer.cli.extras import needs_extra
    from edgeharfer.runtime.inference.package import load_package

    model = options["keras_model"]
    for name in packages or default_packages(options):
        if is_model_file(Path(name)):
            with needs_extra("export"):
                yield stack.enter_context(exported_subject(Path(name), options["name"]))
        else:
            package = load_package(name)
            if model is not None:
                check_origin(package, model)
            yield BenchmarkSubject(package, model, options["name"])


def default_packages(options: dict[str, Any]) -> list[str]:
    """Return the defaults of `run` for --end-to-end, otherwise all shipped packages but the detectors."""
    from edgeharfer.runtime.inference.package import shipped_packages

    if options["end_to_end"]:
        return [TASKS[task].package for task in PACKAGE_TASKS]
    return [one.manifest.name for one in shipped_packages() if one.manifest.task in PACKAGE_TASKS]


def measure_rows(
    subjects: Sequence[BenchmarkSubject], options: dict[str, Any], left_out: list[str]
) -> list[dict[str, Any]]:
    """Measure the rows of the table and add what could not be measured to `left_out`."""
    from edgeharfer.benchmark.compare import compare
    from edgeharfer.benchmark.measure import measure
    from edgeharfer.benchmark.rows import as_rows

    with step("loading the engines"):
        comparison = compare(subjects, benchmark_setup(options), options["peers"])
    left_out += comparison.left_out
    candidates = comparison.candidates
    if options["data"] is not None:
        candidates = with_accuracy(candidates, subjects, options["data"], left_out)
    with progress_bar("measuring") as progress:
        timings = measure(
            [one.run for one in candidates],
            options["runs"],
            duration_s=options["duration"],
            progress=progress,
        )
    return as_rows(candidates, timings)


def benchmark_setup(options: dict[str, Any]) -> BenchmarkSetup:
    """What to vary in the rows, as given by the options."""
    from edgeharfer.benchmark.ours import BenchmarkSetup
    from edgeharfer.runtime.inference.providers import available_providers

    return BenchmarkSetup(
        providers=options["providers"] or available_providers(),
        precisions=options["precisions"],
        threads=options["threads"],
        batches=options["batches"],
        fallback=options["allow_fallback"],
        streams=options["streams"],
    )


def profile(subjects: Sequence[BenchmarkSubject], options: dict[str, Any]) -> list[dict[str, Any]]:
    """Profile each graph, and write the traces to the folder given by --profile."""
    from edgeharfer.benchmark.profile import profile_package

    return [
        entry
        for subject in with_progress(subjects, "profiling")
        for entry in profile_package(
            subject.package, benchmark_setup(options), options["profile"], options["runs"]
        )
    ]


def with_accuracy(
    candidates: Sequence[Candidate], subjects: Sequence[BenchmarkSubject], data: Path, left_out: list[str]
) -> list[Candidate]:
    """Add the top-1 accuracy on the data to the candidates of our own engine.

    Raises:
        SourceError: The data does not fit any of the packages.
    """
    from edgeharfer.benchmark.rows import OURS
    from edgeharfer.runtime.errors import SourceError

    accuracies: dict[tuple[str, Backend], float] = {}
    problem: SourceError | None = None
    for package in (subject.package for subject in subjects):
        last = f"{package.manifest.name} step" if package.manifest.window else package.manifest.name
        found = (accuracy_backend(one) for one in candidates if one.name == last and one.backend == OURS)
        try:
            accuracies |= {(last, one): top1(package, one, data) for one in dict.fromkeys(found)}
        except SourceError as error:
            problem = error
            left_out.append(f"accuracy of {package.manifest.name}: {error}")
    if problem is not None and not accuracies:
        raise problem
    return [
        replace(one, accuracy=accuracies.get((one.name, accuracy_backend(one))))
        if one.backend == OURS
        else one
        for one in candidates
    ]


def accuracy_backend(candidate: Candidate) -> Backend:
    """What the accuracy of a candidate of our own engine depends on: provider, device and precision."""
    assert candidate.setup is not None, "candidates of our own engine have a backend"
    return replace(candidate.setup, threads=1)


def top1(package: Package, backend: Backend, data: Path) -> float:
    """Top-1 accuracy on labelled data, as `edgeharfer evaluate` measures it."""
    from edgeharfer.cli.accuracy import measure_accuracy

    options = {
        "provider": backend.name, "precision": backend.precision, "threads": backend.threads,
        "allow_fallback": backend.fallback, "prior": "package", "split": None, "ferplus": None,
    }  # fmt: skip
    value = measure_accuracy(package, data, options)["top1"]
    assert isinstance(value, float), "evaluate gives fractions"
    return value


def run_end_to_end(subjects: Sequence[BenchmarkSubject], options: dict[str, Any]) -> dict[str, Any]:
    """Benchmark the whole pipeline with the packages; tasks without a package are off."""
    from edgeharfer.benchmark.end_to_end import EndToEnd, measure_end_to_end
    from edgeharfer.benchmark.sustained import measure_sustained

    by_task = {subject.package.manifest.task: str(subject.package.path) for subject in subjects}
    setup = EndToEnd(
        options["source"],
        {task: by_task.get(task) for task in PACKAGE_TASKS},
        Backend.parse(
            (options["providers"] or [AUTO])[0],
            precision=(options["precisions"] or [AUTO])[0],
            threads=options["threads"][0],
            fallback=options["allow_fallback"],
        ),
        options["faces"],
        "keras" in options["peers"],
        options["agreement"],
        options["runs"],
    )
    with progress_bar("running the pipeline") as progress:
        report = {"end_to_end": measure_end_to_end(setup, progress)}
    if options["minutes"]:
        with progress_bar("running at full speed") as progress:
            report["sustained"] = measure_sustained(setup, options["minutes"], progress)
    return report


def show(report: dict[str, Any]) -> None:
    """Print the report."""
    from edgeharfer.benchmark.profile import profile_lines
    from edgeharfer.benchmark.sustained import sustained_lines
    from edgeharfer.benchmark.table import end_to_end_lines, table

    machine = report["machine"]
    click.echo(
        f"{machine['cpu']}, {machine['cores']} cores, load {machine['load_average']}, {machine['date']}"
    )
    if machine["busy"]:
        click.echo("this machine is busy: compare only the CPU times (CPU ms) of this run")
    if report["rows"]:
        click.echo(table(report["rows"]))
    for line in profile_lines(report.get("profile", ())):
        click.echo(line)
    for line in end_to_end_lines(report["end_to_end"]) if "end_to_end" in report else ():
        click.echo(line)
    for line in sustained_lines(report["sustained"]) if "sustained" in report else ():
        click.echo(line)
    for line in report["left_out"]:
        click.echo(f"skipped: {line}")


def write(report: dict[str, Any], json_file: Path | None, plot_file: Path | None) -> None:
    """Write the report to the requested files."""
    from edgeharfer.benchmark.plot import plot

    if json_file is not None:
        write_json(json_file, report)
    if plot_file is not None and report["rows"]:
        plot(report["rows"], report["machine"], plot_file)
