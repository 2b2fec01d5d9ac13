"""The tutorials in examples/ run as they are and leave what they promise."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from kiosk_broker import Broker

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run_here(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a script in this process, which has loaded its libraries."""
    monkeypatch.setattr(sys, "argv", [name])
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")


def run(name: str, *arguments: str) -> str:
    command = [sys.executable, str(EXAMPLES / name), *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def test_webcam_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    run_here("webcam_loop.py", monkeypatch)
    assert Path("out/webcam.png").stat().st_size > 10_000


def test_photos_to_table(monkeypatch: pytest.MonkeyPatch) -> None:
    run_here("photos_to_table.py", monkeypatch)
    lines = Path("out/faces.csv").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 7 and lines[0].startswith("file,x,y,")


def test_own_task(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    run_here("own_task.py", monkeypatch)
    assert json.loads(capsys.readouterr().out)["values"]["seconds"] > 0


@pytest.mark.soak
def test_teach_action() -> None:
    assert "shake" in run("teach_action.py").splitlines()[-1]


@pytest.mark.soak
def test_video_report() -> None:
    assert "report.pdf" in run("video_report.py")


@pytest.mark.soak
@pytest.mark.parametrize("name", ["onnx_to_package.py", "keras_to_package.py"])
def test_own_model(name: str) -> None:
    assert "'happy'" in run(name).splitlines()[-1]


@pytest.mark.soak
@pytest.mark.needs("mosquitto")
def test_kiosk_mqtt(tmp_path: Path) -> None:
    with Broker(tmp_path) as broker:
        printed = run("kiosk_mqtt.py", "127.0.0.1", str(broker.port), "8")
    assert "edgeharfer/demo/event/emotion start" in printed


@pytest.mark.soak
def test_training_run() -> None:
    assert "model.keras" in run("training_run.py")
