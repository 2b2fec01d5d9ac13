"""The arithmetic of the end-to-end figures, and the pipeline's share of them."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tiny_models
from edgeharfer.benchmark import end_to_end
from edgeharfer.benchmark.end_to_end import EndToEnd, figures, measure_end_to_end
from edgeharfer.benchmark.pipeline_job import BLOCK_FRAMES, UNITS_PER_BLOCK, PipelineJob
from edgeharfer.runtime.clock import ManualClock
from edgeharfer.runtime.inference.backend import Backend
from films import write_film

PROMISED = {
    "frames", "fps", "cpu_ms_per_frame", "encoder_unit_ms", "cpu_in_encoder_units", "latency_ms",
    "keras_loop_fps", "ratio_to_keras_loop", "rss_mb",
}  # fmt: skip
STREAMS = [
    {"frames": 100, "seconds": 0.5, "cpu_s": 0.4, "rss_mb": 120.0},
    {"frames": 100, "seconds": 0.3, "cpu_s": 0.4, "rss_mb": 180.0},
]
BLOCKS = [{"frames": 50, "seconds": 0.1, "cpu_s": 0.1, "units": 10, "unit_cpu_s": 0.01}] * 2
LOOPS = [{"frames": 5, "seconds": 1.0}, {"frames": 5, "seconds": 1.5}]
SUMMARY: dict[str, Any] = {
    "models": {"action": "net fp32"}, "providers": {"action": "CPU"}, "faces_per_frame": 1.0,
    "stream": {"total": {"p50": 2.0}}, "blocks": {"total": {"p50": 1.0}},
}  # fmt: skip


def test_figures_are_sums_over_the_rounds() -> None:
    made = figures(STREAMS, BLOCKS, LOOPS, SUMMARY)
    assert set(made) >= PROMISED
    assert made["fps"] == 250.0
    assert made["frames"] == 200
    assert made["cpu_ms_per_frame"] == 2.0
    assert made["encoder_unit_ms"] == 1.0
    assert made["cpu_in_encoder_units"] == 2.0
    assert made["keras_loop_fps"] == 4.0
    assert made["ratio_to_keras_loop"] == 62.5
    assert made["rss_mb"] == 120.0
    assert made["latency_ms"] == {"total": {"p50": 2.0}}
    assert made["without_decode"] == {"frames": 100, "fps": 500.0, "latency_ms": {"total": {"p50": 1.0}}}
    assert made["fps_range"] == {"min": 200.0, "median": 266.7, "max": 333.3}


def test_without_the_keras_loop_its_figures_are_null() -> None:
    made = figures(STREAMS, BLOCKS, [], SUMMARY)
    assert (made["keras_loop_fps"], made["ratio_to_keras_loop"]) == (None, None)


class FakeWorker:
    """Writes down in which order the two sides were asked."""

    asked: list[str]

    def __init__(self, job: str, **settings: Any) -> None:
        self._job = job

    def call(self, name: str, **arguments: Any) -> Any:
        self.asked.append(f"{self._job} {name}")
        return {"stream": STREAMS[0], "blocks": BLOCKS[0], "loop": LOOPS[0], "summary": SUMMARY}[name]

    def __enter__(self) -> FakeWorker:
        return self

    def __exit__(self, *error: object) -> None:
        self.asked.append(f"{self._job} ends")


def test_the_two_sides_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    FakeWorker.asked = []
    monkeypatch.setattr(end_to_end, "BenchmarkWorker", FakeWorker)
    measure_end_to_end(EndToEnd("clip.mp4", {}, Backend(threads=1), against_keras=True, runs=60))
    turn = ["pipeline stream", "pipeline blocks", "keras loop"]
    assert FakeWorker.asked[:9] == 3 * turn
    assert sorted(FakeWorker.asked[-2:]) == ["keras ends", "pipeline ends"]


@pytest.fixture
def clip(tmp_path: Path) -> str:
    path = tmp_path / "clip.avi"
    write_film(path, (np.full((240, 320, 3), 20 * number, np.uint8) for number in range(10)), 30, "MJPG")
    return str(path)


def ticking(step_s: float) -> Callable[[], float]:
    """A clock that moves on by itself at each look."""
    ticks = count()
    return lambda: next(ticks) * step_s


def test_the_pipeline_is_timed_with_and_without_decode_and_units_beside_it(tmp_path: Path, clip: str) -> None:
    package = tiny_models.action_package(tmp_path / "action")
    options = {"action": str(package.path), "emotion": None}
    job = PipelineJob(clip, options, clock=ManualClock(), cpu_clock=ticking(1.0), unit_clock=ticking(0.25))
    stream, blocks = job.stream(40), job.blocks(BLOCK_FRAMES + 8)
    summary = job.summary()
    job.close()
    assert (stream["frames"], stream["cpu_s"]) == (40, 1.0)
    assert blocks == {
        "frames": BLOCK_FRAMES + 8, "seconds": 0.0, "cpu_s": 2.0,
        "units": 2 * UNITS_PER_BLOCK, "unit_cpu_s": 0.5,
    }  # fmt: skip
    assert summary["models"] == {"action": "tiny-action fp32"}
    assert set(summary["providers"]) == {"faces", "action"}
    # Time runs on over both, so the window stays full and the head runs in both.
    assert {"total", "detect", "encode", "head"} <= set(summary["stream"]) & set(summary["blocks"])
