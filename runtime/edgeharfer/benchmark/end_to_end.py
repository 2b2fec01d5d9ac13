"""Frames in, results out: what the whole pipeline costs, in encoder inferences and against Keras."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from typing import Any

from edgeharfer.benchmark.worker import BenchmarkWorker
from edgeharfer.evaluate.dataset import Progress
from edgeharfer.runtime.inference.backend import Backend

FRAMES_PER_ROUND = 320
"""Ten seconds at 32 frames a second: some windows of an action model."""
KERAS_FRAMES_PER_ROUND = 5
RUNS_PER_ROUND = 20


@dataclass(frozen=True)
class EndToEnd:
    """What to run.

    options, backend: of the Pipeline. against_keras: run the Keras loop in the same rounds. agreement:
    compare the labels with those of every stage on every frame.
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
        """Settings of the job in another process."""
        return {"spec": self.source, "options": dict(self.options), "backend": asdict(self.backend)}


def measure_end_to_end(wanted: EndToEnd, progress: Progress = lambda done, total: None) -> dict[str, Any]:
    """The `end_to_end` of `benchmark --json`.

    Each side has a process of its own and they take turns, round by round, so that one never runs while
    the other is timed. Raises what the pipeline raises.
    """
    rounds = max(2, round(wanted.runs / RUNS_PER_ROUND))
    streams, blocks, loops = [], [], []
    with ExitStack() as stack:
        pipeline = stack.enter_context(BenchmarkWorker("pipeline", **wanted.job, faces=wanted.faces))
        keras = None
        if wanted.against_keras:
            threads = wanted.backend.threads or 1
            keras = stack.enter_context(BenchmarkWorker("keras", spec=wanted.source, threads=threads))
        for number in range(rounds):
            streams.append(pipeline.call("stream", frames=FRAMES_PER_ROUND))
            blocks.append(pipeline.call("blocks", frames=FRAMES_PER_ROUND))
            if keras is not None:
                loops.append(keras.call("loop", frames=KERAS_FRAMES_PER_ROUND))
            progress(number + 1, rounds)
        made_of = {"keras_loop": keras.call("summary")} if keras is not None else {}
        found = {**figures(streams, blocks, loops, pipeline.call("summary")), **made_of}
    if wanted.agreement:
        with BenchmarkWorker("agreement", **wanted.job) as both:
            found["agreement"] = both.call("compare")
    return found


def figures(
    streams: Sequence[Mapping[str, float]],
    blocks: Sequence[Mapping[str, float]],
    loops: Sequence[Mapping[str, float]],
    summary: Mapping[str, Any],
) -> dict[str, Any]:
    """Sums over all rounds.

    fps: frames with their decoding, as `run` gives them. cpu_ms_per_frame: of all threads, decoding
    excluded. encoder_unit_ms: processor time as well, so that the two compare however busy the machine is.
    ratio_to_keras_loop: both with decoding. rss_mb: of the process that only runs the pipeline, after the
    first round and before the encoder unit is loaded.
    """
    fps = _per(streams, "frames", "seconds")
    cpu_ms = 1e3 * _per(blocks, "cpu_s", "frames")
    unit_ms = 1e3 * _per(blocks, "unit_cpu_s", "units")
    loop_fps = _per(loops, "frames", "seconds") if loops else None
    return {
        "frames": int(_sum(streams, "frames")),
        "fps": round(fps, 2),
        "cpu_ms_per_frame": round(cpu_ms, 4),
        "encoder_unit_ms": round(unit_ms, 4),
        "cpu_in_encoder_units": round(cpu_ms / unit_ms, 3) if unit_ms > 0 else None,
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
        "cpu_ms_per_frame_with_decode": round(1e3 * _per(streams, "cpu_s", "frames"), 4),
        "faces_per_frame": round(summary["faces_per_frame"], 3),
        "models": summary["models"],
        "providers": summary["providers"],
    }


def _sum(rounds: Sequence[Mapping[str, float]], key: str) -> float:
    return sum(one[key] for one in rounds)


def _per(rounds: Sequence[Mapping[str, float]], what: str, of: str) -> float:
    total = _sum(rounds, of)
    return _sum(rounds, what) / total if total > 0 else 0.0


def _range(streams: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """How far the rounds lie apart: a busy machine shows here."""
    rates = [one["frames"] / one["seconds"] for one in streams if one["seconds"] > 0]
    if not rates:
        return {}
    return {
        "min": round(min(rates), 1),
        "median": round(statistics.median(rates), 1),
        "max": round(max(rates), 1),
    }
