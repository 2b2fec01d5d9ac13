"""Less memory than it needs: a run ends by itself, in time and with an exit code, and a new one goes on."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeharfer.chaos.supervised import WatchedRun
from mjpeg_server import MjpegServer

Figures = Callable[..., None]

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits the address space")

MAX_S = 60.0

# So many MB beyond what the code itself takes, from the start or once the models are loaded.
LIMIT = """
import pathlib, resource
import cv2
import edgeharfer.cli.run
from edgeharfer.runtime.pipeline import Pipeline
from edgeharfer.runtime.inference.providers import probe_providers
def _limit():
    pages = int(pathlib.Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + {mb} * 2**20,) * 2)
def _warm_up(pipeline, really=Pipeline.warm_up):
    really(pipeline)
    _limit()
if {late}:
    Pipeline.warm_up = _warm_up
else:
    probe_providers()
    _limit()
"""


@pytest.mark.parametrize(
    ("mb", "late"),
    [
        (30, False),
        pytest.param(10, False, marks=pytest.mark.soak),
        pytest.param(1, True, marks=pytest.mark.soak),
    ],
)
def test_it_ends_by_itself_and_a_new_one_goes_on(
    tmp_path: Path, mb: int, late: bool, figures: Figures
) -> None:
    events = tmp_path / "events.jsonl"
    with MjpegServer() as server:
        poor = WatchedRun(server.url, events, prelude=LIMIT.format(mb=mb, late=late))
        ended_s, code = poor.run_to_exit()
        assert code in (1, 2), poor.stderr
        assert len(poor.stderr.splitlines()) == 1, poor.stderr
        assert any(word in poor.stderr.lower() for word in ("memory", "alloc", "thread")), poor.stderr
        with WatchedRun(server.url, events) as again:
            again.stop()
    figures(ended_s=ended_s, exit_code=code, first_result_s=again.first_s)
    assert ended_s < MAX_S
    assert all(json.loads(line) for line in events.read_text("ascii").splitlines())
