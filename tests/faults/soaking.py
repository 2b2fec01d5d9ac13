"""`edgeharfer …` with a look inside it now and then: `python soaking.py FILE PERIOD COMMAND [OPTION…]`.

The command is the product's own. The processor time that its thread spends on each frame is taken, and after
every tenth frame that of one fixed inference, to which a busy machine does what it does to the frames.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from edgeharfer.cli import run_command
from edgeharfer.runtime.inference.package import load_package
from edgeharfer.runtime.pipeline import Pipeline
from edgeharfer.runtime.result import Result
from edgeharfer.runtime.stats import rss_mb
from edgeharfer.runtime.tasks.emotion import EmotionModel
from edgeharfer.runtime.types import Frame

REFERENCE_EVERY = 10
QUANTILES = (0.5, 0.9, 0.95, 0.99)


class Look:
    """Collects what frames and the reference cost, and writes a line on the process once a period."""

    def __init__(self, path: Path, period_s: float) -> None:
        self._file = path.open("a", encoding="utf-8", buffering=1)
        self._period_s = period_s
        self._start_s = self._last_s = time.monotonic()
        self._cpu_s = time.process_time()
        self._frames: list[float] = []
        self._references: list[float] = []
        self._model = EmotionModel(load_package("emotion-fer8", "emotion"))
        self._face = np.random.default_rng(0).integers(0, 256, (96, 96, 3), np.uint8)

    def process(self, really: Callable[[Frame], Result], frame: Frame) -> Result:
        """One frame through the pipeline, measured."""
        before_s = time.thread_time()
        result = really(frame)
        self._frames.append(1e3 * (time.thread_time() - before_s))
        if len(self._frames) % REFERENCE_EVERY == 0:
            before_s = time.thread_time()
            self._model.classify([self._face])
            self._references.append(1e3 * (time.thread_time() - before_s))
        if time.monotonic() - self._last_s >= self._period_s and self._references:
            self._tell()
        return result

    def _tell(self) -> None:
        now_s, cpu_s = time.monotonic(), time.process_time()
        row = {
            "at_s": round(now_s - self._start_s, 1),
            "frames": len(self._frames),
            "cpu_share": round((cpu_s - self._cpu_s) / (now_s - self._last_s), 3),
            "rss_mb": rss_mb(),
            "reader_mb": sum(rss_mb(Path(f"/proc/{pid}/status")) or 0.0 for pid in children()),
            "descriptors": entries("/proc/self/fd"),
            "threads": entries("/proc/self/task"),
            "frame_ms": np.quantile(self._frames, QUANTILES).round(3).tolist(),
            "reference_ms": np.quantile(self._references, QUANTILES).round(3).tolist(),
        }
        self._file.write(json.dumps(row) + "\n")
        self._frames.clear()
        self._references.clear()
        self._last_s, self._cpu_s = now_s, cpu_s


def children() -> list[str]:
    """The processes that this one has started."""
    told = [file.read_text().split() for file in Path("/proc/self/task").glob("*/children")]
    return [pid for pids in told for pid in pids]


def entries(folder: str) -> int:
    """How many there are."""
    return sum(1 for _ in Path(folder).iterdir())


def main(path: str, period_s: str, *arguments: str) -> int:
    """Run the command with the look inside it, and return its exit code."""
    look = Look(Path(path), float(period_s))
    process = Pipeline.process

    def measured(pipeline: Pipeline, frame: Frame) -> Result:
        return look.process(lambda one: process(pipeline, one), frame)

    setattr(Pipeline, "process", measured)  # noqa: B010 - mypy would not have it assigned
    return run_command(list(arguments))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
