"""A GPU that was asked for and is not there: exit code 3, or the fallback that was allowed, seen by all."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgeharfer.runtime.inference.providers import probe_providers
from kiosk_process import KioskProcess

RUN = [
    sys.executable,
    "-c",
    "from edgeharfer.cli import main; main()",
    "run",
    "--source",
    "demo",
    "--view",
    "none",
]
CPU = "CPUExecutionProvider"


@pytest.fixture(scope="module", autouse=True)
def no_gpu() -> None:
    if probe_providers()["cuda"] is None:
        pytest.skip("this machine has a GPU that works")


def run(*options: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run(
        [*RUN, *options], capture_output=True, text=True, timeout=120, env=environment, check=False
    )


@pytest.mark.parametrize("provider", ["cuda", "tensorrt"])
def test_a_run_that_insists_ends_with_3(provider: str) -> None:
    done = run("--provider", provider)
    assert done.returncode == 3
    (line,) = done.stderr.splitlines()
    assert provider in line and "install" in line


def test_a_run_that_may_falls_back_and_its_summary_says_so(tmp_path: Path) -> None:
    stats = tmp_path / "stats.json"
    done = run("--provider", "cuda", "--allow-fallback", "--max-frames", "2", "--stats", str(stats))
    assert done.returncode == 0
    assert set(json.loads(stats.read_text())["provider"].values()) == {CPU}
    assert "cuda" in done.stderr, "and the log tells why"


def test_the_kiosk_insists_too(tmp_path: Path) -> None:
    pytest.importorskip("prometheus_client", reason="needs the kiosk extra")
    pytest.importorskip("paho.mqtt.client", reason="needs the kiosk extra")
    kiosk = KioskProcess(tmp_path, "demo", provider="cuda")
    code, complaints = kiosk.run_to_its_end()
    assert code == 3
    assert "cuda" in complaints and "Traceback" not in complaints


def test_the_health_of_the_kiosk_names_what_it_runs_on(tmp_path: Path) -> None:
    pytest.importorskip("prometheus_client", reason="needs the kiosk extra")
    pytest.importorskip("paho.mqtt.client", reason="needs the kiosk extra")
    with KioskProcess(tmp_path, "demo", provider="auto") as kiosk:
        kiosk.wait_for_ping()
        health = json.loads(kiosk.fetch("/readyz")[1])
        metrics = kiosk.fetch("/metrics")[1]
        kiosk.stop()
    assert set(health["provider"].values()) == {CPU}
    assert f'action_provider="{CPU}"' in metrics
