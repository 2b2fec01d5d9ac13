"""Benchmark of the whole pipeline: frame rate, CPU time in encoder units, and comparison with Keras."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from typing import Any

from edgeharfer.benchmark.measure import Progress
from edgeharfer.benchmark.worker import BenchmarkWorker
from edgeharfer.runtime.inference.backend import Backend

FRAMES_PER_ROUND = 320
"""Ten seconds at 32 frames per second, which is several windows of an action model."""
KERAS_FRAMES_PER_ROUND = 5
RUNS_PER_ROUND = 20


@dataclass(frozen=True)
class EndToEnd:
    """Settings of an end-to-end benchmark.

    Attributes:
        source: A video file.
        options: Options of `Pipeline`.
        backend: Backend of the pipeline.
        faces: Paste the largest face this many times into each frame; None leaves the video unchanged.
        against_keras: Run the Keras loop in the same rounds.
        agreement: Compare the labels with those of a reference that processes every frame in full.
        runs: Number of runs, RUNS_PER_ROUND of which make a round.
    """

    source: str
    options: Mapping[str, Any]
    backend: Backend = field(default_factory=Backend)
    faces: int | None = None
    against_keras: bool = False
    agreement: bool = False
    runs: int = 200

    @property
    def job(self) -> dict[str, Any]:
        """Settings of the job in its child process."""
        return {"spec": self.source, "options": dict(self.options), "backend": asdict(self.backend)}


def measure_end_to_end(setup: EndToEnd, progress: Progress = lambda done, total: None) -> dict[str, Any]:
    """Compute the `end_to_end` object of `benchmark --json`.

    The pipeline and the Keras loop have a process each and take turns, so that neither runs while the other
    is timed. Errors of the pipeline are raised here.
    """
    rounds = max(2, round(setup.runs / RUNS_PER_ROUND))
    streams, blocks, loops = [], [], []
    with ExitStack() as stack:
        pipeline = stack.enter_context(BenchmarkWorker("pipeline", **setup.job, faces=setup.faces))
        keras = None
        if setup.against_keras:
            threads = setup.backend.threads or 1
            keras = stack.enter_context(BenchmarkWorker("keras", spec=setup.source, threads=threads))
        for number in range(rounds):
            streams.append(pipeline.call("stream", frames=FRAMES_PER_ROUND))
            blocks.append(pipeline.call("blocks", frames=FRAMES_PER_ROUND))
            if keras is not None:
                loops.append(keras.call("loop", frames=KERAS_FRAMES_PER_ROUND))
            progress(number + 1, rounds)
        loop_summary = {"keras_loop": keras.call("summary")} if keras is not None else {}
        result = {**figures(streams, blocks, loops, pipeline.call("summary")), **loop_summary}
    if setup.agreement:
        with BenchmarkWorker("agreement", **setup.job) as worker:
            result["agreement"] = worker.call("compare")
    return result


def figures(
    streams: Sequence[Mapping[str, float]],
    blocks: Sequence[Mapping[str, float]],
    loops: Sequence[Mapping[str, float]],
    summary: Mapping[str, Any],
) -> dict[str, Any]:
    """Combine the results of all rounds.

    Returns:
        "fps" includes decoding, as in a live run. "cpu_ms_per_frame" is that of all threads without
        decoding, but with the conversion of pictures. "encoder_unit_ms" is processor time too, so the ratios
        to it do not depend on the load.
        "ratio_to_keras_loop" includes decoding on both sides. "rss_mb" is that of the process that runs only
        the pipeline, after the first round and before the encoder unit is loaded.
    """
    fps = _per(streams, "frames", "seconds")
    cpu_ms = 1e3 * _per(blocks, "cpu_s", "frames")
    decode_cpu_ms = 1e3 * _per(streams, "cpu_s", "frames")
    unit_ms = 1e3 * _per(blocks, "unit_cpu_s", "units")
    loop_fps = _per(loops, "frames", "seconds") if loops else None
    return {
        "frames": int(_sum(streams, "frames")),
        "fps": round(fps, 2),
        "cpu_ms_per_frame": round(cpu_ms, 4),
        "encoder_unit_ms": round(unit_ms, 4),
        "cpu_in_encoder_units": _in_units(cpu_ms, unit_ms),
        "cpu_with_decode_in_encoder_units": _in_units(decode_cpu_ms, unit_ms),
        "latency_ms": summary["stream"],
        "keras_loop_fps": None if loop_fps is None else round(loop_fps, 3),
        "ratio_to_keras_loop": round(fps / loop_fps, 2) if loop_fps else None,
        "rss_mb": streams[0]["rss_mb"],
        "fps_range": _range(streams),
        "without_decode": {
            "frames": int(_sum(blocks, "frames")),
            "fps": round(_per(blocks, "frames", "seconds"), 2),
            "latency_ms": summary["blocks"],
        },
        "cpu_ms_per_frame_with_decode": round(decode_cpu_ms, 4),
        "faces_per_frame": round(summary["faces_per_frame"], 3),
        "models": summary["models"],
        "providers": summary["providers"],
    }


def _in_units(cpu_ms: float, unit_ms: float) -> float | None:
    return round(cpu_ms / unit_ms, 3) if unit_ms > 0 else None


def _sum(rounds: Sequence[Mapping[str, float]], key: str) -> float:
    return sum(figures[key] for figures in rounds)


def _per(rounds: Sequence[Mapping[str, float]], what: str, of: str) -> float:
    total = _sum(rounds, of)
    return _sum(rounds, what) / total if total > 0 else 0.0


def _range(streams: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The spread of the frame rates of the rounds, which is large on a busy machine."""
    rates = [one["frames"] / one["seconds"] for one in streams if one["seconds"] > 0]
    if not rates:
        return {}
    return {
        "min": round(min(rates), 1),
        "median": round(statistics.median(rates), 1),
        "max": round(max(rates), 1),
    }
