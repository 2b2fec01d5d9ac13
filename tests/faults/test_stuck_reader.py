"""Standard output or error is a pipe that nobody reads: the run goes on, or stops when it is told to."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mjpeg_server import allowed_s

Figures = Callable[..., None]

pytestmark = pytest.mark.skipif(os.name != "posix", reason="pipes of POSIX")

COMMAND = [sys.executable, "-c", "from edgeharfer.cli import main; main()"]
RUN = [*COMMAND, "run", "--source", "demo", "--view", "none", "--action", "off", "--emotion", "off"]


@pytest.fixture
def full() -> Iterator[int]:
    """The writing end of a pipe that is full to the last byte."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    for size in (1 << 16, 1):
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(writing, bytes(size))
    os.set_blocking(writing, True)
    yield writing
    os.close(reading)
    os.close(writing)


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}


def test_nobody_reads_what_is_said_and_the_run_goes_on(tmp_path: Path, full: int) -> None:
    events = tmp_path / "events.jsonl"
    words = [*RUN, "--events", str(events), "--max-frames", "60"]
    done = subprocess.run(words, stderr=full, env=environment(), timeout=60, check=False)
    assert done.returncode == 0
    assert json.loads(events.read_text().splitlines()[-1])["frames_processed"] == 60


def test_a_stop_comes_through_events_that_nobody_reads(full: int, figures: Figures) -> None:
    with subprocess.Popen(
        [*RUN, "--events", "-"], stdout=full, stderr=subprocess.PIPE, text=True, env=environment()
    ) as run:
        time.sleep(allowed_s(3.0))  # it waits for its reader, as it should
        assert run.poll() is None
        start_s = time.monotonic()
        run.send_signal(signal.SIGTERM)
        _, said = run.communicate(timeout=60)
    stopped_s = time.monotonic() - start_s
    figures(stopped_s=stopped_s)
    assert stopped_s < allowed_s(2.0)
    assert run.returncode == 2
    assert "standard output: cannot be written (its reader does not keep up)" in said


def test_a_slow_reader_gets_every_line() -> None:
    with subprocess.Popen(
        [*RUN, "--events", "-", "--max-frames", "400"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=environment(),
    ) as run:  # fmt: skip
        assert run.stdout is not None
        time.sleep(allowed_s(3.0))  # by now the pipe is full
        rows = [json.loads(line) for line in run.stdout]
    assert run.returncode == 0
    assert [row["seq"] for row in rows[:-1]] == list(range(400))
