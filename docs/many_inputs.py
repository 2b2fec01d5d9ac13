"""Measure `edgeharfer analyze` on many inputs: `python docs/many_inputs.py --help`."""

from __future__ import annotations

import ctypes
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from statistics import median

import av
import click
from av.video.frame import PictureType

from edgeharfer.runtime.child import child_environment
from edgeharfer.runtime.clock import SystemClock

PR_SET_CHILD_SUBREAPER = 36  # prctl(2)
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


if __name__ == "__main__":
    main()
