"""SIGTERM while the source is in each of its states: the run ends with 0, its files whole, within 2 s."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mjpeg_server import MjpegServer, wait_until

Figures = Callable[..., None]

COMMAND = [sys.executable, "-c", "from edgeharfer.cli import main; main()", "run", "--view", "none"]
LIGHT = ["--action", "off", "--emotion", "off"]


@pytest.fixture
def server() -> Iterator[MjpegServer]:
    with MjpegServer() as running:
        yield running


class Run:
    """`edgeharfer run` on the server's stream, in a process of its own."""

    def __init__(self, server: MjpegServer, folder: Path) -> None:
        self.events = folder / "events.jsonl"
        self.process = subprocess.Popen(
            [*COMMAND, *LIGHT, "--source", server.url, "--events", str(self.events)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )  # fmt: skip
        wait_until(lambda: self.count("result") > 3, 90)

    def rows(self) -> list[dict[str, Any]]:
        """The whole lines so far."""
        text = self.events.read_text() if self.events.exists() else ""
        return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]

    def count(self, kind: str, state: str | None = None) -> int:
        return sum(row["kind"] == kind and row.get("state") == state for row in self.rows())

    def stop(self) -> float:
        """Seconds until it has ended well."""
        start_s = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        _, complaints = self.process.communicate(timeout=30)
        stopped_s = time.monotonic() - start_s
        assert self.process.returncode == 0, complaints
        return stopped_s


def silent(server: MjpegServer, run: Run) -> None:
    server.silent = True
    wait_until(lambda: run.count("state", "stalled") == 1)


def away(server: MjpegServer, run: Run) -> None:
    server.vanish()
    wait_until(lambda: run.count("state", "lost") == 1)


def opening(server: MjpegServer, run: Run) -> None:
    """It comes back, takes the connection, and says nothing."""
    away(server, run)
    server.mute = True
    server.appear()
    time.sleep(1.0)


@pytest.mark.parametrize("trouble", [silent, away, opening])
def test_a_stop_comes_through(
    server: MjpegServer, tmp_path: Path, trouble: Callable[[MjpegServer, Run], None], figures: Figures
) -> None:
    run = Run(server, tmp_path)
    trouble(server, run)
    stopped_s = run.stop()
    figures(stopped_s=stopped_s)
    assert run.count("summary") == 1
    assert stopped_s < 2


@pytest.mark.soak
def test_two_hundred_stops(server: MjpegServer, tmp_path: Path, figures: Figures) -> None:
    stopped = []
    for number in range(200):
        folder = tmp_path / str(number)
        folder.mkdir()
        server.silent = server.mute = False
        run = Run(server, folder)
        if number % 2:
            silent(server, run)
        stopped.append(run.stop())
    figures(stops=len(stopped), worst_s=max(stopped))
    assert max(stopped) < 2


def test_a_run_goes_on_when_its_source_vanishes_and_returns(
    server: MjpegServer, tmp_path: Path, figures: Figures
) -> None:
    run = Run(server, tmp_path)
    away(server, run)
    before = run.count("result")
    server.appear()
    recovered_s = wait_until(lambda: run.count("result") > before)
    run.stop()
    rows = run.rows()
    figures(recovered_s=recovered_s)
    states = [row["state"] for row in rows if row["kind"] == "state"]
    assert states == ["lost", "live"]
    seqs = [row["seq"] for row in rows if row["kind"] == "result"]
    assert seqs == sorted(set(seqs)), "numbered on through the loss"
    summary = rows[-1]
    assert summary["source"] == {"state": "live", "breaks": 1, "reconnects": 1, "bad_pictures": 0}
