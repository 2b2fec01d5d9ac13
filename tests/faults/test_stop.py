"""SIGTERM while the source is in each of its states: the run ends with 0, its files whole, within 2 s."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edgeharfer.chaos.supervised import WatchedRun
from mjpeg_server import MjpegServer, allowed_s

Figures = Callable[..., None]

LIGHT = ["--action", "off", "--emotion", "off"]


@pytest.fixture
def server() -> Iterator[MjpegServer]:
    with MjpegServer() as running:
        yield running


def light(server: MjpegServer, folder: Path) -> WatchedRun:
    """A run of the face detector alone."""
    return WatchedRun(server.url, folder / "events.jsonl", LIGHT)


def live(server: MjpegServer, run: WatchedRun) -> None:
    """As it is."""


def silent(server: MjpegServer, run: WatchedRun) -> None:
    server.silent = True
    run.wait_for_state("stalled")


def away(server: MjpegServer, run: WatchedRun) -> None:
    server.stop_serving()
    run.wait_for_state("lost")


def opening(server: MjpegServer, run: WatchedRun) -> None:
    """It comes back, takes the connection, and says nothing."""
    away(server, run)
    server.mute = True
    server.serve()
    time.sleep(1.0)


@pytest.mark.parametrize("trouble", [live, silent, away, opening])
def test_a_stop_comes_through(
    server: MjpegServer, tmp_path: Path, trouble: Callable[[MjpegServer, WatchedRun], None], figures: Figures
) -> None:
    with light(server, tmp_path) as run:
        trouble(server, run)
        stopped_s = run.stop()
    figures(stopped_s=stopped_s)
    assert run.count("summary") == 1
    assert stopped_s < allowed_s(2)


@contextmanager
def busy(processes: int) -> Iterator[None]:
    """So many others that would take a core each."""
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(processes)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def test_a_stop_comes_through_on_a_busy_machine(
    server: MjpegServer, tmp_path: Path, figures: Figures
) -> None:
    """All models at work, and two others that want each core."""
    cores = os.cpu_count() or 1
    with WatchedRun(server.url, tmp_path / "events.jsonl") as run, busy(2 * cores):
        time.sleep(1.0)
        stopped_s = run.stop()
    figures(stopped_s=stopped_s, load=os.getloadavg()[0] / cores)
    assert run.count("summary") == 1
    assert stopped_s < max(allowed_s(2), 2 * 3)


@pytest.mark.soak
def test_two_hundred_stops(server: MjpegServer, tmp_path: Path, figures: Figures) -> None:
    stopped = []
    for number in range(200):
        folder = tmp_path / str(number)
        folder.mkdir()
        server.silent = server.mute = False
        with light(server, folder) as run:
            if number % 2:
                silent(server, run)
            stopped.append(run.stop())
            assert run.count("summary") == 1
    stopped.sort()
    figures(stops=len(stopped), p50_s=stopped[100], p99_s=stopped[198], worst_s=stopped[-1])
    assert stopped[198] < allowed_s(2)


def test_a_run_goes_on_when_its_source_vanishes_and_returns(
    server: MjpegServer, tmp_path: Path, figures: Figures
) -> None:
    with light(server, tmp_path) as run:
        away(server, run)
        server.serve()
        recovered_s = run.wait_for_result()
        run.stop()
    figures(recovered_s=recovered_s)
    assert [row["state"] for row in run.rows if row["kind"] == "state"] == ["lost", "live"]
    seqs = [row["seq"] for row in run.rows if row["kind"] == "result"]
    assert seqs == sorted(set(seqs)), "numbered on through the loss"
    assert run.rows[-1]["source"] == {"state": "live", "breaks": 1, "reconnects": 1, "bad_pictures": 0}
