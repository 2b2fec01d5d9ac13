"""Measure `edgeharfer analyze` on many inputs, for docs/scale.md (Linux).

python docs/many_inputs.py overhead CLIP...      Ray against worker processes, on videos of repeated clips
python docs/many_inputs.py flat --engine ray     cost of an input beside its analysis
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import av
import click
from av.video.frame import PictureType

from edgeharfer.runtime.child import child_environment
from edgeharfer.runtime.clock import SystemClock
from edgeharfer.runtime.stats import rss_mb

PR_SET_CHILD_SUBREAPER = 36  # prctl(2)
TESTS = Path(__file__).resolve().parents[1] / "tests"
STUB = "analysis_stub"
"""A worker without models, in `TESTS`."""
ENGINES = {"local": (), "ray": ("--engine", "ray")}


@dataclass(frozen=True)
class Cost:
    """What a command took.

    Attributes:
        wall_s: Time in seconds.
        cpu_s: Processor time of all its processes in seconds.
    """

    wall_s: float
    cpu_s: float


def cost_of(run: Callable[[], object]) -> Cost:
    """Run something, and wait for every process that it leaves behind.

    The processes that Ray starts outlive their parents for a moment. This process adopts and awaits them, so
    that their processor time counts (Linux).
    """
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    clock = SystemClock()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start_s = clock.monotonic()
    run()
    wall_s = clock.monotonic() - start_s
    while True:
        try:
            os.wait()
        except ChildProcessError:
            break
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cost(wall_s, cpu_s)


def repeat_clip(clip: Path, seconds: float, out: Path) -> None:
    """Write a video of 30 frames a second that repeats a clip."""
    with av.open(str(clip)) as source:
        frames = list(source.decode(video=0))
    with av.open(str(out), "w") as target:
        stream = target.add_stream("libx264", rate=30, options={"preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = frames[0].width, frames[0].height, "yuv420p"
        for number in range(round(30 * seconds)):
            frame = frames[number % len(frames)]
            frame.pts, frame.time_base, frame.pict_type = number, Fraction(1, 30), PictureType.NONE
            target.mux(stream.encode(frame))
        target.mux(stream.encode())


@click.group()
def main() -> None:
    """Measure what `edgeharfer analyze` costs beyond the analysis itself."""


@main.command()
@click.argument("clips", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--videos", default=4, show_default=True, help="Number of videos.")
@click.option("--minutes", default=2.0, show_default=True, help="Length of each, from repeated clips.")
@click.option("--rounds", default=3, show_default=True, help="Runs of each engine; they take turns.")
@click.option("--workers", default=2, show_default=True, help="Inputs analysed at the same time.")
def overhead(clips: Sequence[Path], videos: int, minutes: float, rounds: int, workers: int) -> None:
    """Compare Ray with worker processes on this machine, on the same videos."""
    costs: dict[str, list[Cost]] = {name: [] for name in ENGINES}
    with tempfile.TemporaryDirectory(prefix="edgeharfer-many-") as folder:
        made = [Path(folder) / f"{number}.mp4" for number in range(videos)]
        for number, path in enumerate(made):
            if number < len(clips):
                repeat_clip(clips[number], 60 * minutes, path)
            else:
                shutil.copy(made[number % len(clips)], path)
        for turn in range(rounds):
            for name in sorted(ENGINES, reverse=bool(turn % 2)):
                out = Path(folder) / f"{name}-{turn}"
                options = ["--out", str(out), "--workers", str(workers), *ENGINES[name]]
                costs[name].append(cost_of(partial(analyze, made, options)))
                click.echo(json.dumps({"engine": name, **asdict(costs[name][-1])}))
    pairs = list(zip(costs["ray"], costs["local"], strict=True))
    wall = median(ray.wall_s / local.wall_s for ray, local in pairs)
    cpu = median(ray.cpu_s / local.cpu_s for ray, local in pairs)
    click.echo(json.dumps({"ray_to_local": {"wall": round(wall, 3), "cpu": round(cpu, 3)}}))


def analyze(inputs: Sequence[Path], options: Sequence[str]) -> None:
    """Run the command in a process of its own."""
    command = [sys.executable, "-m", "edgeharfer.cli", "analyze", *map(str, inputs), *options]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=child_environment())


@main.command()
@click.option("--engine", type=click.Choice(list(ENGINES)), default="local", show_default=True)
@click.option("--inputs", "counts", default="10,100,1000,10000", show_default=True, help="Numbers of inputs.")
@click.option("--workers", default=2, show_default=True, help="Inputs analysed at the same time.")
def flat(engine: str, counts: str, workers: int) -> None:
    """Measure the driver of a job whose workers write small reports without analysing anything."""
    for count in map(int, counts.split(",")):
        with tempfile.TemporaryDirectory(prefix="edgeharfer-many-") as folder:
            command = [sys.executable, __file__, "job", folder, engine, str(count), str(workers)]
            environment = child_environment(PYTHONPATH=os.pathsep.join([str(TESTS), *filter(None, sys.path)]))
            subprocess.run(command, check=True, env=environment)


@main.command(hidden=True)
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("engine")
@click.argument("count", type=int)
@click.argument("workers", type=int)
def job(folder: Path, engine: str, count: int, workers: int) -> None:
    """Run one job of `flat` in this process."""
    from edgeharfer.report.batch import Batch, Workload
    from edgeharfer.report.combined import write_combined
    from edgeharfer.report.engine import Engine, LocalWorkers
    from edgeharfer.report.inputs import find_inputs, plan_tasks
    from edgeharfer.report.manifest import JobManifest
    from edgeharfer.report.ray_driver import RayOptions
    from edgeharfer.report.ray_engine import RayEngine
    from edgeharfer.report.settings import AnalysisSettings
    from edgeharfer.report.workers import WorkerProcess

    clock, out = SystemClock(), folder / "out"
    out.mkdir()
    for number in range(count):
        (folder / f"{number}.mp4").write_text("many")
    chosen: Engine = LocalWorkers(workers, lambda: WorkerProcess("{}", STUB))
    if engine == "ray":
        work = f"{Path(__file__).stem}:{write_small_report.__name__}"
        chosen = RayEngine(RayOptions(AnalysisSettings().to_json(), workers=workers, work=work))
    warm = resident_mb()
    specs = (str(folder / f"{number}.mp4") for number in range(count))
    tasks = Workload.stream(plan_tasks(find_inputs(specs), out, {}), count)
    start_s, start_cpu_s = clock.monotonic(), time.process_time()
    with JobManifest(out, clock) as manifest:
        Batch(chosen, tasks, Quiet(), lambda: False, manifest, clock).run()
    middle_s, cpu_s = clock.monotonic(), time.process_time()
    write_combined(out, "csv")
    figures = {
        "engine": engine,
        "inputs": count,
        "driver_cpu_ms_each": 1e3 * (cpu_s - start_cpu_s) / count,
        "wall_ms_each": 1e3 * (middle_s - start_s) / count,
        "tables_ms_each": 1e3 * (clock.monotonic() - middle_s) / count,
        "driver_mb_more": resident_mb() - warm,
        "largest_child_mb": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024,
    }
    click.echo(json.dumps({key: round(v, 2) if isinstance(v, float) else v for key, v in figures.items()}))


def write_small_report(settings: str, task: dict[str, Any]) -> dict[str, Any]:
    """What a task of Ray does."""
    from analysis_stub import write_stub

    item = task["input"]
    resume = {"resume": {"place": item["place"], "key": task["key"]}}
    write_stub(Path(task["folder"]), item["name"], resume, sweep=False)
    return {"place": item["place"], "name": item["name"], "folder": task["folder"], "text": "1 person"}


class Quiet:
    """A batch's output that nobody reads."""

    def begin(self, total: int) -> None:
        """Ignore it."""

    def advance(self, more: float, label: str) -> None:
        """Ignore it."""

    def close(self) -> None:
        """Ignore it."""

    def print_result(self, line: str) -> None:
        """Ignore it."""

    def print_error(self, line: str) -> None:
        """Show it, because no input should fail."""
        click.echo(line, err=True)


def resident_mb() -> float:
    """Resident memory of this process in MB; NaN if it is unknown."""
    value = rss_mb()
    return float("nan") if value is None else value


if __name__ == "__main__":
    main()
