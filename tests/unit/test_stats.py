"""Live figures, percentiles over a whole run, and the summary's fields."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from edgeharfer.runtime.clock import ManualClock
from edgeharfer.runtime.result import Result
from edgeharfer.runtime.stats import BINS, LatencyHistogram, Stats, rss_mb


def result(seq: int = 0, **stages: float) -> Result:
    return Result(seq=seq, pts_s=seq / 30, age_ms=1.0, stages_ms=stages)


def feed(stats: Stats, clock: ManualClock, count: int, every_s: float, **stages: float) -> None:
    for seq in range(count):
        clock.sleep(every_s)
        stats.add(result(seq, **stages))


@pytest.mark.parametrize("percent", [50, 95, 99])
def test_percentiles_are_true_to_one_per_cent(percent: int) -> None:
    samples = np.random.default_rng(7).lognormal(1.0, 0.8, 20_000)
    histogram = LatencyHistogram()
    for sample in samples:
        histogram.add(float(sample))
    assert histogram.percentile(percent) == pytest.approx(np.percentile(samples, percent), rel=0.011)


def test_a_single_sample_is_told_exactly() -> None:
    histogram = LatencyHistogram()
    histogram.add(2.345)
    assert histogram.summary() == {"p50": 2.345, "p95": 2.345, "p99": 2.345}


@pytest.mark.parametrize("milliseconds", [0.0, -1.0, 1e-9, 1e12, float("inf")])
def test_absurd_durations_stay_in_the_histogram(milliseconds: float) -> None:
    histogram = LatencyHistogram()
    histogram.add(milliseconds)
    assert 0 < histogram.percentile(50) <= 1e6


def test_no_samples_have_no_percentile() -> None:
    with pytest.raises(ValueError, match="no samples"):
        LatencyHistogram().percentile(50)


def test_memory_does_not_grow_with_the_run() -> None:
    clock = ManualClock()
    stats = Stats(clock)
    feed(stats, clock, 20_000, 1 / 100, total=2.0)
    assert len(stats._recent) <= 102
    assert [len(histogram._counts) for histogram in stats._latency.values()] == [BINS]


def test_fps_counts_intervals_not_the_warm_up_before_them() -> None:
    clock = ManualClock()
    stats = Stats(clock)
    clock.sleep(5.0)
    feed(stats, clock, 101, 0.04, total=1.0)
    assert stats.fps() == pytest.approx(25.0)
    assert stats.elapsed_s == pytest.approx(5.0 + 101 * 0.04)


def test_live_fps_follows_the_last_second() -> None:
    clock = ManualClock()
    stats = Stats(clock)
    feed(stats, clock, 100, 0.1)
    assert stats.live_fps() == pytest.approx(10.0)
    feed(stats, clock, 100, 0.02)
    assert stats.live_fps() == pytest.approx(50.0)


def test_live_fps_tells_slow_sources_and_falls_in_silence() -> None:
    clock = ManualClock()
    stats = Stats(clock)
    assert stats.live_fps() == 0.0
    feed(stats, clock, 5, 2.0)
    assert stats.live_fps() == pytest.approx(0.5)
    clock.sleep(8.0)
    assert stats.live_fps() == pytest.approx(0.1)


def test_status_shows_the_mean_latency_of_the_last_second() -> None:
    clock = ManualClock()
    stats = Stats(clock)
    feed(stats, clock, 50, 0.1, total=90.0)
    feed(stats, clock, 50, 0.1, total=6.0)
    status = stats.status(frames_dropped=3, provider="CPU", source_state="live", source_name="demo")
    assert (status.latency_ms, status.frames_dropped, status.provider) == (6.0, 3, "CPU")
    assert status.fps == pytest.approx(10.0)
    assert status.elapsed_s == pytest.approx(10.0)


def test_the_share_of_a_core_is_that_from_the_first_result_to_the_last() -> None:
    clock, cpu_s = ManualClock(), iter([0.0, 1.0, 1.02, 1.05])  # Starting takes a second.
    stats = Stats(clock, lambda: next(cpu_s))
    assert stats.cpu_share() is None
    feed(stats, clock, 3, 0.5)
    assert stats.cpu_share() == pytest.approx(0.05)


def test_summary_has_the_fields_of_the_interface() -> None:
    clock = ManualClock()
    stats = Stats(clock)
    feed(stats, clock, 30, 0.01, head=0.1, encode=0.5, total=2.0, detect=0.8, emotion=0.3)
    clock.sleep(0.01)
    stats.add(result(30, detect=0.8, total=1.0))
    summary = stats.summary(
        frames_in=33,
        frames_dropped=2,
        provider={"emotion": "CPUExecutionProvider"},
        models={"action": "action-ucf20"},
    )
    assert list(summary) == [
        "frames_in",
        "frames_processed",
        "frames_dropped",
        "cuts",
        "fps",
        "rates_hz",
        "latency_ms",
        "provider",
        "models",
        "cpu_share",
        "rss_mb",
    ]
    assert list(summary["latency_ms"]) == ["total", "detect", "emotion", "encode", "head"]
    assert all(set(figures) == {"p50", "p95", "p99"} for figures in summary["latency_ms"].values())
    assert (summary["frames_in"], summary["frames_processed"], summary["frames_dropped"]) == (33, 31, 2)
    assert summary["fps"] == pytest.approx(100.0)
    assert summary["latency_ms"]["head"]["p50"] == pytest.approx(0.1)
    assert json.loads(json.dumps(summary)) == summary


def test_summary_of_an_empty_run() -> None:
    summary = Stats(ManualClock()).summary(frames_in=0, frames_dropped=0, provider={}, models={})
    assert (summary["fps"], summary["latency_ms"], summary["frames_processed"]) == (0.0, {}, 0)


def test_rss_is_read_from_the_process(tmp_path: Path) -> None:
    status = tmp_path / "status"
    status.write_text("Name:\tpython\nVmRSS:\t  192512 kB\n")
    assert rss_mb(status) == 188.0


def test_rss_has_a_fallback(tmp_path: Path) -> None:
    peak = rss_mb(tmp_path / "missing")
    assert peak is not None
    assert 5 < peak < 100_000


def test_each_task_has_a_rate_of_its_own() -> None:
    """Thirty frames a second for three seconds; every third with faces, every fifth with an action."""
    clock = ManualClock()
    stats = Stats(clock)
    assert stats.status().rates_hz == {}
    for seq in range(91):
        ran = {name: 1.0 for name, step in (("detect", 3), ("encode", 5)) if seq % step == 0}
        stats.add(result(seq, total=2.0, **ran))
        clock.sleep(1 / 30)
    live = stats.status().rates_hz
    assert live == {"faces": pytest.approx(10, abs=0.7), "actions": pytest.approx(6, abs=0.7)}
    whole = stats.summary(frames_in=91, frames_dropped=0, provider={}, models={})["rates_hz"]
    assert whole == {"faces": pytest.approx(10, abs=0.01), "actions": pytest.approx(6, abs=0.01)}
    assert stats.live_latency_ms() == pytest.approx(2.0)


def test_a_rate_falls_when_a_task_is_done_no_more() -> None:
    clock = ManualClock()
    stats = Stats(clock)
    for seq in range(120):
        ran = {"detect": 1.0} if seq < 30 else {}
        stats.add(result(seq, total=2.0, **ran))
        clock.sleep(1 / 30)
    assert stats.status().rates_hz == {"faces": 0.0}
