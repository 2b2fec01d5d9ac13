"""`analyze --engine ray`: workers of Ray that are killed, inputs that crash, a stop."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

if sys.version_info < (3, 11):
    pytest.skip("the environment for Python 3.10 has no Ray", allow_module_level=True)
pytest.importorskip("matplotlib", reason="needs the report extra")
pytest.importorskip("ray", reason="needs the scale extra")

from analysis_processes import content_of, until_ended
from edgeharfer.runtime.child import child_environment

JOB = Path(__file__).parents[1] / "ray_job.py"
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the stub ends itself by a signal")


def start(folder: Path, **contents: str) -> subprocess.Popen[str]:
    for name, words in contents.items():
        (folder / f"{name}.mp4").write_text(words)
    inputs = [str(folder / f"{name}.mp4") for name in contents]
    command = [sys.executable, str(JOB), str(folder / "out"), *inputs]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=child_environment())


def lines_of(job: subprocess.Popen[str]) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """The outcomes by name, and the last line."""
    assert job.stdout is not None
    with job:
        lines = job.stdout.read().splitlines()
    *outcomes, last = (json.loads(line) for line in lines if line.startswith("{"))  # Ray prints as well
    assert job.returncode == 0
    return {outcome["name"]: outcome for outcome in outcomes}, last


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_lost_workers_are_replaced_and_crashing_inputs_are_given_up(tmp_path: Path) -> None:
    job = start(tmp_path, a="wait", b="crash", c="fine")
    analysing = int(content_of(tmp_path / "at_work"))
    (tmp_path / "a.mp4").write_text("fine")
    os.kill(int(content_of(tmp_path / "a.mp4.worker")), signal.SIGKILL)
    outcomes, last = lines_of(job)
    assert last == {"stops": []}
    assert (tmp_path / "c.mp4.usage").read_text() == "0", "no telemetry"
    assert {name: outcome["attempts"] for name, outcome in outcomes.items()} == {
        "a.mp4": 1,
        "b.mp4": 3,
        "c.mp4": 1,
    }
    assert "SIGSEGV" in outcomes["b.mp4"]["error"]
    assert names(tmp_path / "out") == {"a", "c"}
    until_ended(analysing)  # with its Ray worker


@pytest.mark.soak
def test_a_stop_ends_ray_and_the_same_command_goes_on(tmp_path: Path) -> None:
    job = start(tmp_path, a="fine", b="wait")
    assert job.stdout is not None
    assert json.loads(job.stdout.readline())["name"] == "a.mp4"
    content_of(tmp_path / "at_work")
    job.send_signal(signal.SIGTERM)
    _, last = lines_of(job)
    assert last["stops"] == [signal.SIGTERM], "Ray's own handler would have ended the process"
    outcomes, _ = lines_of(start(tmp_path, b="fine"))
    assert names(tmp_path / "out") == {"a", "b"}
    assert set(outcomes) == {"b.mp4"}


@pytest.mark.soak
def test_a_job_goes_on_after_its_process_was_killed(tmp_path: Path) -> None:
    job = start(tmp_path, a="fine", b="wait")
    assert job.stdout is not None
    assert json.loads(job.stdout.readline())["name"] == "a.mp4"
    analysing = int(content_of(tmp_path / "at_work"))
    with job:
        job.kill()
    until_ended(analysing)
    outcomes, _ = lines_of(start(tmp_path, b="fine"))
    assert names(tmp_path / "out") == {"a", "b"}
    assert set(outcomes) == {"b.mp4"}


@pytest.mark.soak
@pytest.mark.parametrize("part", ["raylet", "gcs_server", "ray::DashboardAgent"])
def test_a_lost_ray_is_started_again(tmp_path: Path, part: str) -> None:
    job = start(tmp_path, a="fine", b="wait")
    assert job.stdout is not None
    assert json.loads(job.stdout.readline())["name"] == "a.mp4"
    content_of(tmp_path / "at_work")
    (tmp_path / "b.mp4").write_text("fine")
    os.kill(part_of_ray(part, job.pid), signal.SIGKILL)
    outcomes, last = lines_of(job)
    assert set(outcomes) == {"b.mp4"} and last == {"stops": []}
    assert names(tmp_path / "out") == {"a", "b"}


def part_of_ray(name: str, parent: int) -> int:
    """The process of Ray with a name, among the descendants of another one."""
    lines = subprocess.run(
        ["ps", "-wweo", "pid=,ppid=,args="], capture_output=True, text=True, check=True
    ).stdout
    rows = [line.split(None, 2) for line in lines.splitlines()]
    family = {parent}
    for _ in rows:
        family |= {int(pid) for pid, above, _ in rows if int(above) in family}
    [found] = [int(pid) for pid, _, args in rows if int(pid) in family and name in args.split()[0]]
    return found
