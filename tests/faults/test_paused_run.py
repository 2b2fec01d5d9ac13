"""SIGSTOP for a while, then SIGCONT: the run tells nothing of pictures that waited meanwhile."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeharfer.chaos.supervised import WatchedRun
from edgeharfer.runtime.source.base import STALE_S
from mjpeg_server import MjpegServer

Figures = Callable[..., None]

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")


def test_a_run_that_was_paused_tells_nothing_of_old_pictures(tmp_path: Path, figures: Figures) -> None:
    with (
        MjpegServer() as server,
        WatchedRun(server.url, tmp_path / "events.jsonl", ["--action", "off", "--emotion", "off"]) as run,
    ):
        os.kill(run.process.pid, signal.SIGSTOP)
        count = run.count("result")
        time.sleep(STALE_S + 3)  # the pictures of its first moments are still read
        os.kill(run.process.pid, signal.SIGCONT)
        resumed_s = run.wait_for_result()
        run.stop()
    results = [row for row in run.rows if row["kind"] == "result"]
    oldest_ms = max(row["age_ms"] for row in results[count:])
    figures(resumed_s=resumed_s, oldest_ms=oldest_ms)
    assert oldest_ms < STALE_S * 1e3
    summary = run.rows[-1]
    assert summary["source"]["breaks"] >= 1, "what was seen before the pause is forgotten"
    assert summary["frames_in"] == summary["frames_processed"] + summary["frames_dropped"]
