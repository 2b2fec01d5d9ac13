"""Time the pipeline on a video with and without decoding, and the encoder unit in between."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from edgeharfer.benchmark.measure import CpuClock
from edgeharfer.benchmark.mobilenet import SIDE, encoder_unit
from edgeharfer.benchmark.video import CrowdedVideo, LoopedVideo
from edgeharfer.runtime.capture import Capture
from edgeharfer.runtime.clock import Clock, SystemClock
from edgeharfer.runtime.faces import make_detector
from edgeharfer.runtime.inference.backend import Backend
from edgeharfer.runtime.inference.graph import Graph
from edgeharfer.runtime.inference.session import Session, make_session
from edgeharfer.runtime.pipeline import Pipeline
from edgeharfer.runtime.process import pipeline_process
from edgeharfer.runtime.result import Result
from edgeharfer.runtime.stats import LatencyHistogram, Stats, rss_mb
from edgeharfer.runtime.types import Frame

BLOCK_FRAMES = 32
"""Frames that are decoded in advance, so that the decoder is idle while they are processed."""
UNITS_PER_BLOCK = 5
"""Timed encoder inferences before each block, after one untimed inference."""


class PipelineJob:
    """A pipeline for use in a child process, so that the memory usage is that of the pipeline alone.

    Args:
        spec: A video file.
        options: Options of `Pipeline`.
        backend: Backend of the pipeline.
        faces: Paste the largest face this many times into each frame; None leaves the video unchanged.
        clock: Clock for wall time.
        cpu_clock: Processor time of all threads in seconds.
        unit_clock: Processor time of the calling thread in seconds, which alone runs the encoder unit.
    """

    def __init__(
        self,
        spec: str,
        options: Mapping[str, Any],
        backend: Backend | None = None,
        *,
        faces: int | None = None,
        clock: Clock | None = None,
        cpu_clock: CpuClock = time.process_time,
        unit_clock: CpuClock = time.thread_time,
    ) -> None:
        self._spec, self._faces = spec, faces
        self._clock, self._cpu_clock, self._unit_clock = clock or SystemClock(), cpu_clock, unit_clock
        self._multiplier = make_detector("blazeface") if faces is not None else None
        self._pipeline = Pipeline(**options, backend=backend, background_build=False, clock=self._clock)
        self._pipeline.warm_up()
        self._stats = {name: Stats(self._clock) for name in ("stream", "blocks")}
        self._last_s = 0.0
        self._video: LoopedVideo | None = None
        self._unit: tuple[Session, Any] | None = None
        self._faces_seen = 0

    def stream(self, frames: int) -> dict[str, Any]:
        """Process frames including decoding in a separate thread, as `edgeharfer run --view none` does.

        Frames that the pipeline does not need are not decoded where the file allows it. Timing starts with
        the first result, so that opening the file is excluded.

        Returns:
            "frames", "seconds", "cpu_s", "p99_ms" (latency) and "rss_mb".
        """
        latency = LatencyHistogram()
        video = self._open()
        self._pipeline.skip_unneeded(video)
        capturing = Capture(video, pace="fast", clock=self._clock, precompute=self._pipeline.precompute)
        with pipeline_process(), capturing as capture:
            self._take(self._next(capture), "stream")
            start_s, start_cpu_s = self._clock.monotonic(), self._cpu_clock()
            for _ in range(frames):
                latency.add(self._take(self._next(capture), "stream").stages_ms["total"])
            seconds, cpu_s = self._clock.monotonic() - start_s, self._cpu_clock() - start_cpu_s
        return {
            "frames": frames,
            "seconds": seconds,
            "cpu_s": cpu_s,
            "p99_ms": round(latency.percentile(99), 3),
            "rss_mb": rss_mb(),
        }

    def blocks(self, frames: int) -> dict[str, Any]:
        """Process frames that were all decoded in advance, and encoder units in between.

        Conversions from the decoder's pixel format count: the pipeline asks for them.

        Returns:
            "frames", "seconds", "cpu_s", "units" and "unit_cpu_s".
        """
        figures = {"frames": 0.0, "seconds": 0.0, "cpu_s": 0.0, "units": 0.0, "unit_cpu_s": 0.0}
        with pipeline_process():
            while figures["frames"] < frames:
                self._time_block(figures, min(BLOCK_FRAMES, frames - int(figures["frames"])))
        return figures

    def _time_block(self, figures: dict[str, float], count: int) -> None:
        block = self._block(count)
        figures["unit_cpu_s"] += self._run_units()
        start_s, start_cpu_s = self._clock.monotonic(), self._cpu_clock()
        for frame in block:
            self._take(frame, "blocks")
        figures["cpu_s"] += self._cpu_clock() - start_cpu_s
        figures["seconds"] += self._clock.monotonic() - start_s
        figures["frames"] += len(block)
        figures["units"] += UNITS_PER_BLOCK

    def summary(self) -> dict[str, Any]:
        """Models and providers of the pipeline, faces per frame, and latencies of its stages."""
        frames = sum(stats.frames_processed for stats in self._stats.values())
        return {
            "providers": self._pipeline.providers,
            "models": self._pipeline.models,
            "faces_per_frame": self._faces_seen / max(1, frames),
            **{
                name: stats.summary(frames_in=0, frames_dropped=0, provider={}, models={})["latency_ms"]
                for name, stats in self._stats.items()
            },
        }

    def close(self) -> None:
        """Close the video."""
        if self._video is not None:
            self._video.close()

    def _open(self) -> LoopedVideo:
        if self._faces is None or self._multiplier is None:
            return LoopedVideo(self._spec, self._clock, self._last_s)
        return CrowdedVideo(
            self._spec, self._clock, self._last_s, faces=self._faces, detector=self._multiplier
        )

    def _next(self, frames: Capture) -> Frame:
        frame = frames.next_frame()
        assert frame is not None, "a looped video has no end"
        return frame

    def _block(self, count: int) -> list[Frame]:
        if self._video is None:
            self._video = self._open()
        frames = [frame for _ in range(count) if (frame := self._video.read()) is not None]
        # Blocks and streams alternate; timestamps increase across both.
        step_s = 1 / (self._video.fps or 30.0)
        return [
            Frame(frame.seq, self._last_s + number * step_s, frame.captured_s, frame.picture)
            for number, frame in enumerate(frames, 1)
        ]

    def _take(self, frame: Frame, mode: str) -> Result:
        result = self._pipeline.process(frame)
        self._last_s = frame.pts_s
        self._faces_seen += len(result.faces)
        self._stats[mode].add(result)
        return result

    def _run_units(self) -> float:
        """Processor time of UNITS encoder inferences on one thread, in seconds."""
        if self._unit is None:
            session = make_session(Graph.scan(encoder_unit(), "encoder unit"))
            picture = np.random.default_rng(0).uniform(-1, 1, (1, SIDE, SIDE, 3)).astype(np.float32)
            self._unit = session, picture
            session.run1(picture)
        session, picture = self._unit
        session.run1(picture)
        start_s = self._unit_clock()
        for _ in range(UNITS_PER_BLOCK):
            session.run1(picture)
        return self._unit_clock() - start_s
