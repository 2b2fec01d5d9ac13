"""Throughput and latency of a run: live figures for the overlay, and the summary at the end.

Memory use does not grow with the length of the run: latencies go into histograms with a fixed number of
logarithmic bins, which hold every sample and give percentiles accurate to 1 %, and frame times are kept for
one second.
"""

from __future__ import annotations

import math
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from edgeharfer.runtime.clock import Clock, ClockJump, SystemClock
from edgeharfer.runtime.result import Result
from edgeharfer.runtime.tasks import RATES, STAGES

PERCENTILES = (50, 95, 99)
"""Percentiles in the summary."""
LIVE_WINDOW_S = 1.0
"""Length of the window of live figures."""

MIN_MS, MAX_MS = 1e-3, 1e6
BIN_RATIO = 1.02  # ratio of neighbouring edges; the middle of a bin is at most 1 % off
LOG_RATIO = math.log(BIN_RATIO)
BINS = math.ceil(math.log(MAX_MS / MIN_MS) / LOG_RATIO)


@dataclass(frozen=True, slots=True)
class Status:
    """The state of a run at the time of a result. Immutable, so it can be read from any thread.

    Attributes:
        fps: Results per second over the last second.
        latency_ms: Mean processing time of a frame in milliseconds over the last second.
        frames_dropped: Frames dropped so far.
        provider: ONNX Runtime providers in use as a short text, such as "CPU".
        source_state: "connecting", "live", "stalled", "frozen", "lost", "backoff" or "ended".
        source_name: Name of the source, without credentials.
        elapsed_s: Seconds since the start of the run.
        rates_hz: Runs per second of each of RATES over the last second.
        clock_jump: The last jump of the wall clock during the run.
        breaks: Number of gaps after which frames continued.
        source: Name of the source in results and events if there are several sources; otherwise "".
    """

    fps: float = 0.0
    latency_ms: float = 0.0
    frames_dropped: int = 0
    provider: str = ""
    source_state: str = "live"
    source_name: str = ""
    elapsed_s: float = 0.0
    rates_hz: Mapping[str, float] = field(default_factory=dict)
    clock_jump: ClockJump | None = None
    breaks: int = 0
    source: str = ""


class LatencyHistogram:
    """Percentiles of any number of durations, in a fixed number of logarithmic bins."""

    def __init__(self) -> None:
        self._counts = [0] * BINS
        self._low, self._high = math.inf, -math.inf

    def add(self, milliseconds: float) -> None:
        """Add a sample."""
        value = milliseconds
        if not MIN_MS <= value <= MAX_MS:
            value = min(max(value, MIN_MS), MAX_MS)
        self._counts[min(BINS - 1, int(math.log(value / MIN_MS) / LOG_RATIO))] += 1
        if value < self._low:
            self._low = value
        if value > self._high:
            self._high = value

    @property
    def count(self) -> int:
        """Number of samples."""
        return sum(self._counts)

    def percentile(self, percent: float) -> float:
        """Return a percentile in milliseconds (nearest rank), accurate to 1 %.

        Raises:
            ValueError: There are no samples.
        """
        total = self.count
        if total == 0:
            raise ValueError("no samples")
        rank = max(1, math.ceil(total * percent / 100))
        index = int(np.searchsorted(np.cumsum(self._counts), rank))
        middle = MIN_MS * math.exp(LOG_RATIO * (index + 0.5))
        return min(max(middle, self._low), self._high)

    def summary(self) -> dict[str, float]:
        """Return PERCENTILES by name, such as "p95"."""
        return {f"p{p}": round(self.percentile(p), 3) for p in PERCENTILES}


class Stats:
    """Collects the statistics of a run. Not thread-safe.

    Attributes:
        frames_processed: Number of results.
        cuts: Number of results that begin a new scene.

    Args:
        clock: Source of time; the system's by default.
        cpu_clock: Returns the processor time of this process in seconds.
    """

    def __init__(
        self, clock: Clock | None = None, cpu_clock: Callable[[], float] = time.process_time
    ) -> None:
        self._clock = clock or SystemClock()
        self._cpu_clock = cpu_clock
        self._first_cpu_s = self._last_cpu_s = cpu_clock()
        self._started_s = self._clock.monotonic()
        self._first_s = self._last_s = self._started_s
        self._recent: deque[tuple[float, Mapping[str, float]]] = deque()
        self._recent_count: Counter[str] = Counter()
        self._recent_ms = 0.0
        self._latency: dict[str, LatencyHistogram] = {}
        self.frames_processed = self.cuts = 0

    @property
    def elapsed_s(self) -> float:
        """Seconds since this object was created."""
        return self._clock.monotonic() - self._started_s

    def add(self, result: Result) -> None:
        """Add a result, at the current time."""
        now, cpu_s = self._clock.monotonic(), self._cpu_clock()
        if self.frames_processed == 0:
            self._first_s, self._first_cpu_s = now, cpu_s
        self._last_s, self._last_cpu_s = now, cpu_s
        self.frames_processed += 1
        self.cuts += result.cut
        self._recent.append((now, result.stages_ms))
        for stage, milliseconds in result.stages_ms.items():
            self._recent_count[stage] += 1
            histogram = self._latency.get(stage)
            if histogram is None:
                histogram = self._latency[stage] = LatencyHistogram()
            histogram.add(milliseconds)
        self._recent_ms += result.stages_ms.get("total", 0.0)
        self._drop_old(now)

    def live_fps(self) -> float:
        """Return results per second over the last second; decreases towards 0 while there are none."""
        now = self._clock.monotonic()
        self._drop_old(now)
        if len(self._recent) < 2:
            return 0.0
        newest = self._recent[-1][0]
        end = now if now - newest > LIVE_WINDOW_S else newest
        return _rate(len(self._recent) - 1, end - self._recent[0][0])

    def live_latency_ms(self) -> float:
        """Return the mean processing time of a frame over the last second."""
        if not self._recent:
            return 0.0
        return self._recent_ms / len(self._recent)

    def live_rates_hz(self) -> dict[str, float]:
        """Return the runs per second of each of RATES over the last second, without those that never ran."""
        if not self._recent:
            return {}
        (first_s, first), (last_s, _) = self._recent[0], self._recent[-1]
        # The first result marks the start of the interval and is not counted.
        return {
            task: _rate(self._recent_count[stage] - (stage in first), last_s - first_s)
            for task, stage in RATES.items()
            if stage in self._latency
        }

    def fps(self) -> float:
        """Return results per second from the first result to the last."""
        if self.frames_processed < 2:
            return _rate(self.frames_processed, self._last_s - self._started_s)
        return _rate(self.frames_processed - 1, self._last_s - self._first_s)

    def cpu_share(self) -> float | None:
        """Return the processor time of this process per second, from the first result to the last.

        1 is one fully used core. Child processes, such as isolated readers, are not included. None if no
        time has passed between the two results.
        """
        span = self._last_s - self._first_s
        return (self._last_cpu_s - self._first_cpu_s) / span if span > 0 else None

    def status(
        self,
        *,
        frames_dropped: int = 0,
        provider: str = "",
        source_state: str = "live",
        source_name: str = "",
        clock_jump: ClockJump | None = None,
        breaks: int = 0,
        source: str = "",
    ) -> Status:
        """Return the current figures, completed with values that the caller knows (see `Status`)."""
        return Status(
            fps=self.live_fps(),
            latency_ms=self.live_latency_ms(),
            frames_dropped=frames_dropped,
            provider=provider,
            source_state=source_state,
            source_name=source_name,
            elapsed_s=self.elapsed_s,
            rates_hz=self.live_rates_hz(),
            clock_jump=clock_jump,
            breaks=breaks,
            source=source,
        )

    def summary(
        self,
        *,
        frames_in: int,
        frames_dropped: int,
        provider: Mapping[str, str],
        models: Mapping[str, str],
    ) -> dict[str, Any]:
        """Return the JSON object of the summary line of the run. Stages that never ran are left out.

        Args:
            frames_in: Number of frames read from the source.
            frames_dropped: Number of frames that were not processed.
            provider: ONNX Runtime provider in use, by "faces" and the name of the task.
            models: Name and precision of each package, by the name of the task.
        """
        share = self.cpu_share()
        return {
            **self.figures(frames_in=frames_in, frames_dropped=frames_dropped),
            "provider": dict(provider),
            "models": dict(models),
            "cpu_share": None if share is None else round(share, 4),
            "rss_mb": rss_mb(),
        }

    def figures(self, *, frames_in: int, frames_dropped: int) -> dict[str, Any]:
        """Return the part of the summary that is about results rather than the process."""
        known = [stage for stage in STAGES if stage in self._latency]
        known += sorted(set(self._latency) - set(STAGES))
        return {
            "frames_in": frames_in,
            "frames_processed": self.frames_processed,
            "frames_dropped": frames_dropped,
            "cuts": self.cuts,
            "fps": round(self.fps(), 2),
            "rates_hz": self._rates_hz(),
            "latency_ms": {stage: self._latency[stage].summary() for stage in known},
        }

    def _rates_hz(self) -> dict[str, float]:
        """Return the runs per second of each of RATES over the whole run."""
        span = self._last_s - self._first_s
        return {
            task: round(_rate(self._latency[stage].count - 1, span), 2)
            for task, stage in RATES.items()
            if stage in self._latency
        }

    def _drop_old(self, now: float) -> None:
        # Always keep two results, so that rates below one per second can be computed.
        while len(self._recent) > 2 and now - self._recent[0][0] > LIVE_WINDOW_S:
            _, stages_ms = self._recent.popleft()
            for stage in stages_ms:
                self._recent_count[stage] -= 1
            self._recent_ms -= stages_ms.get("total", 0.0)


def _rate(count: int, seconds: float) -> float:
    return count / seconds if seconds > 0 else 0.0


def rss_mb(status_file: Path = Path("/proc/self/status")) -> float | None:
    """Return the resident memory of this process in MiB; its peak without /proc, None on Windows."""
    try:
        text = status_file.read_text(encoding="ascii", errors="replace")
    except OSError:
        return _peak_rss_mb()
    for line in text.splitlines():
        if line.startswith("VmRSS:"):
            return round(int(line.split()[1]) / 1024, 1)
    return _peak_rss_mb()


def _peak_rss_mb() -> float | None:
    try:
        import resource
    except ImportError:  # Windows has no such module
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1024 * 1024 if sys.platform == "darwin" else 1024), 1)
