"""How fast the run goes: live figures for the overlay, and the summary at its end.

Memory is bounded however long the run: latencies go into fixed histograms with logarithmic bins
(every sample since the start counts, a percentile is true to 1 %), and only the last second of frame
times is kept.
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
LIVE_WINDOW_S = 1.0

LOWEST_MS, MAX_MS = 1e-3, 1e6
BIN_RATIO = 1.02  # neighbouring edges; the middle of a bin is at most 1 % off
LOG_RATIO = math.log(BIN_RATIO)
BINS = math.ceil(math.log(MAX_MS / LOWEST_MS) / LOG_RATIO)


@dataclass(frozen=True, slots=True)
class Status:
    """What the overlay tells about the run at this moment.

    fps: results a second over the last second. latency_ms: mean time spent on a frame over the same.
    provider: short text such as "CPU". source_state: "connecting", "live",
    "stalled", "frozen", "lost", "backoff" or "ended".
    source_name: without credentials. elapsed_s: time since the statistics began.
    rates_hz: how often a second each of RATES was done, over the last second.
    clock_jump: the last one of the wall clock since then.
    breaks: how often frames went on after some had been missed.
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


class LatencyHistogram:
    """Percentiles of a stream of durations in a fixed 1,047 bins."""

    def __init__(self) -> None:
        self._counts = np.zeros(BINS, np.int64)
        self._low, self._high = math.inf, -math.inf

    def add(self, milliseconds: float) -> None:
        value = min(max(milliseconds, LOWEST_MS), MAX_MS)
        self._counts[min(BINS - 1, int(math.log(value / LOWEST_MS) / LOG_RATIO))] += 1
        self._low, self._high = min(self._low, value), max(self._high, value)

    @property
    def count(self) -> int:
        """Samples so far."""
        return int(self._counts.sum())

    def percentile(self, percent: float) -> float:
        """The smallest duration that at least `percent` per cent of the samples do not exceed."""
        total = self.count
        if total == 0:
            raise ValueError("no samples")
        rank = max(1, math.ceil(total * percent / 100))
        index = int(np.searchsorted(np.cumsum(self._counts), rank))
        middle = LOWEST_MS * math.exp(LOG_RATIO * (index + 0.5))
        return min(max(middle, self._low), self._high)

    def summary(self) -> dict[str, float]:
        return {f"p{p}": round(self.percentile(p), 3) for p in PERCENTILES}


class Stats:
    """Collects results as they come; one thread at a time."""

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
        return self._clock.monotonic() - self._started_s

    def add(self, result: Result) -> None:
        """Count one result; its time is now."""
        now, cpu_s = self._clock.monotonic(), self._cpu_clock()
        if self.frames_processed == 0:
            self._first_s, self._first_cpu_s = now, cpu_s
        self._last_s, self._last_cpu_s = now, cpu_s
        self.frames_processed += 1
        self.cuts += result.cut
        self._recent.append((now, result.stages_ms))
        self._recent_count.update(result.stages_ms.keys())
        self._recent_ms += result.stages_ms.get("total", 0.0)
        self._forget(now)
        for stage, milliseconds in result.stages_ms.items():
            self._latency.setdefault(stage, LatencyHistogram()).add(milliseconds)

    def live_fps(self) -> float:
        """Results a second over the last second; falls towards 0 while none come."""
        now = self._clock.monotonic()
        self._forget(now)
        if len(self._recent) < 2:
            return 0.0
        newest = self._recent[-1][0]
        end = now if now - newest > LIVE_WINDOW_S else newest
        return _rate(len(self._recent) - 1, end - self._recent[0][0])

    def live_latency_ms(self) -> float:
        """Mean of the total time a frame took over the last second."""
        if not self._recent:
            return 0.0
        return self._recent_ms / len(self._recent)

    def live_rates_hz(self) -> dict[str, float]:
        """How often each task was done over the last second; tasks that never were are absent."""
        if not self._recent:
            return {}
        (first_s, first), (last_s, _) = self._recent[0], self._recent[-1]
        # The first of them began the time that is counted.
        return {
            task: _rate(self._recent_count[stage] - (stage in first), last_s - first_s)
            for task, stage in RATES.items()
            if stage in self._latency
        }

    def fps(self) -> float:
        """Results a second over the whole run, from the first result to the last."""
        if self.frames_processed < 2:
            return _rate(self.frames_processed, self._last_s - self._started_s)
        return _rate(self.frames_processed - 1, self._last_s - self._first_s)

    def cpu_share(self) -> float | None:
        """Processor time of this process a second, from the first result to the last; 1 is a core.

        A reader in a process of its own is not counted. None where there is no time between the two.
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
    ) -> Status:
        """The figures of this moment, beside what only the caller knows."""
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
        )

    def summary(
        self,
        *,
        frames_in: int,
        frames_dropped: int,
        provider: Mapping[str, str],
        models: Mapping[str, str],
    ) -> dict[str, Any]:
        """The figures of the whole run, as the summary line gives them; stages that never ran are absent."""
        known = [stage for stage in STAGES if stage in self._latency]
        known += sorted(set(self._latency) - set(STAGES))
        share = self.cpu_share()
        return {
            "frames_in": frames_in,
            "frames_processed": self.frames_processed,
            "frames_dropped": frames_dropped,
            "cuts": self.cuts,
            "fps": round(self.fps(), 2),
            "rates_hz": self._rates_hz(),
            "latency_ms": {stage: self._latency[stage].summary() for stage in known},
            "provider": dict(provider),
            "models": dict(models),
            "cpu_share": None if share is None else round(share, 4),
            "rss_mb": rss_mb(),
        }

    def _rates_hz(self) -> dict[str, float]:
        """How often a second each task was done, over the whole run."""
        span = self._last_s - self._first_s
        return {
            task: round(_rate(self._latency[stage].count - 1, span), 2)
            for task, stage in RATES.items()
            if stage in self._latency
        }

    def _forget(self, now: float) -> None:
        # Two results always stay, so that a rate below one a second can still be told.
        while len(self._recent) > 2 and now - self._recent[0][0] > LIVE_WINDOW_S:
            _, stages_ms = self._recent.popleft()
            self._recent_count.subtract(stages_ms.keys())
            self._recent_ms -= stages_ms.get("total", 0.0)


def _rate(count: int, seconds: float) -> float:
    return count / seconds if seconds > 0 else 0.0


def rss_mb(status_file: Path = Path("/proc/self/status")) -> float | None:
    """Resident memory of this process in MiB; its peak where there is no /proc, None on Windows."""
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
