"""A disk that is full for a while, for real: a small file system in memory, in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

Figures = Callable[..., None]

pytestmark = [
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="mounts a file system of Linux"),
    pytest.mark.needs("leave to mount a file system"),
]

FRAMES, FULL_AT, FREE_AT = 300, 100, 200

# Frames at their own pace through a pipeline that takes 5 ms each; the disk is full for the middle third.
CHILD = f"""
import json, sys, time
from pathlib import Path
import av, numpy as np
from edgeharfer.runtime.capture import Capture
from edgeharfer.runtime.clock import SystemClock
from edgeharfer.runtime.errors import SinkError
from edgeharfer.runtime.channel import RunInput
from edgeharfer.runtime.runner import Runner
from edgeharfer.runtime.sinks.events import EventsSink
from edgeharfer.runtime.sinks.video import VideoSink
from edgeharfer.runtime.source.base import BaseSource
from edgeharfer.runtime.result import Result

disk = Path(sys.argv[1])
times = []

class Source(BaseSource):
    seq = -1

    def _next(self):
        self.seq += 1
        if self.seq == {FRAMES}:
            return None
        return self._frame(self.seq, self.seq / 30, np.full((48, 64, 3), self.seq % 256, np.uint8))

class Pipeline:
    providers, models, precision_reasons = {{}}, {{}}, {{}}

    def process(self, frame):
        if frame.seq == {FULL_AT}:
            with (disk / "ballast").open("wb", buffering=0) as ballast:
                try:
                    while ballast.write(bytes(1 << 16)):
                        pass
                except OSError:
                    pass
        if frame.seq == {FREE_AT}:
            (disk / "ballast").unlink()
        times.append(time.perf_counter())
        time.sleep(0.005)
        return Result(frame.seq, frame.pts_s, 0.0)

events, video = EventsSink(disk / "events.jsonl"), VideoSink(disk / "video.avi", 30.0)
source = Source("frames", SystemClock())
with Capture(source, pace="fast") as capture, events, video:
    summary = Runner([RunInput(Pipeline(), capture)], [events, video]).run()
with av.open(str(disk / "video.avi")) as reader:
    shown = [float(frame.time) for frame in reader.decode(video=0)]
text = (disk / "events.jsonl").read_text()
print(json.dumps({{"lines": text.splitlines(), "whole": text.endswith("\\n"), "summary": summary,
                  "shown": shown, "times": times}}))
"""


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    disk = tmp_path_factory.mktemp("disk")
    inner = 'mount -t tmpfs -o size=48m tmpfs "$1" && exec "$2" -c "$3" "$1"'
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", inner, "sh", str(disk)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [*command, sys.executable, CHILD],
        capture_output=True,
        text=True,
        env=environment,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return {**json.loads(done.stdout), "complaints": done.stderr.splitlines()}


def test_every_frame_is_looked_at_while_the_disk_is_full(outcome: dict[str, Any], figures: Figures) -> None:
    times = outcome["times"]
    spans = [times[at + 95] - times[at] for at in (0, FULL_AT + 2)]  # filling the disk takes its time
    figures(rate_while_full=spans[0] / spans[1])
    assert outcome["summary"]["frames_processed"] == len(times) == FRAMES


def test_no_line_is_torn_and_lines_go_on_with_the_first_result_after(
    outcome: dict[str, Any], figures: Figures
) -> None:
    rows = [json.loads(line) for line in outcome["lines"]]
    seqs = [row["seq"] for row in rows if row["kind"] == "result"]
    missed = sorted(set(range(FRAMES)) - set(seqs))
    figures(results_missed=len(missed), frames_until_writing=seqs[seqs.index(FREE_AT)] - FREE_AT)
    assert outcome["whole"]
    assert rows[-1]["kind"] == "summary"
    assert missed and missed[0] >= FULL_AT and missed[-1] < FREE_AT
    assert seqs == sorted(seqs)


def test_what_was_missed_is_counted_and_told_once_for_each_output(outcome: dict[str, Any]) -> None:
    told = outcome["complaints"]
    assert outcome["summary"]["sink_errors"] > FREE_AT - FULL_AT - 10
    assert sum("cannot be written (No space left on device)" in line for line in told) == 1
    assert sum("the disk is full" in line for line in told) == 1
    assert sum("works again" in line for line in told) == 2


def test_the_video_goes_on_and_its_time_holds(outcome: dict[str, Any]) -> None:
    shown = outcome["shown"]
    assert len(shown) >= FRAMES - (FREE_AT - FULL_AT) - 1
    assert shown[0] == 0 and shown[-1] == pytest.approx((FRAMES - 1) / 30, abs=1 / 30)
    assert all(not (FULL_AT + 1) / 30 < time_s < (FREE_AT - 1) / 30 for time_s in shown)
