"""The tutorials in examples/ run as they are, and print what their pages show."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from edgeharfer.cli import run_command
from kiosk_broker import Broker

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
EDGEHARFER = [sys.executable, "-m", "edgeharfer"]

WITHOUT_ARGUMENTS = {
    "webcam_loop": "out/webcam.png",
    "photos_to_table": "out/faces.csv",
    "own_task": None,
    "teach_action": "out/taught/receipt.json",
    "video_report": "out/reports/demo/report.pdf",
    "onnx_to_package": "out/own-onnx/manifest.json",
    "keras_to_package": "out/own-keras/manifest.json",
    "training_run": "out/trained/manifest.json",
}
"""Name of a script -> a file that it writes."""


@pytest.fixture(autouse=True)
def commands_in_this_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty folder, and `edgeharfer` commands in this process, which loads their libraries once."""

    def run(command: list[Any], **options: Any) -> Any:
        if command[:3] != EDGEHARFER:
            return in_a_process(command, **options)
        code = run_command([str(word) for word in command[3:]])
        return subprocess.CompletedProcess(command, code).check_returncode()

    in_a_process = subprocess.run
    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.chdir(tmp_path)


def run_script(name: str, *arguments: str) -> None:
    sys.argv[:] = [name, *arguments]
    runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")


def shape(line: str) -> str:
    """A line without its numbers and emotions, which change with the models and a little with the machine."""
    label = r"\b(angry|contempt|disgust|fear|happy|neutral|sad|surprise|uncertain)\b"
    return re.sub(r"-?\d+(\.\d+)?(e-?\d+)?", "0", re.sub(label, "EMOTION", line))


def shown(name: str) -> list[str]:
    """The output on the page of a script."""
    return (EXAMPLES / "output" / f"{name}.txt").read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("name", WITHOUT_ARGUMENTS)
def test_a_tutorial_runs_and_ends_as_its_page_shows(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [])
    run_script(name)
    printed = capsys.readouterr().out.splitlines()
    assert shape(printed[-1]) == shape(shown(name)[-1])
    written = WITHOUT_ARGUMENTS[name]
    assert written is None or Path(written).stat().st_size > 0


@pytest.mark.needs("mosquitto")
def test_the_kiosk_announces_its_sensors_and_publishes_decisions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [])
    with Broker(tmp_path) as broker:
        run_script("kiosk_mqtt", "127.0.0.1", str(broker.port))
    printed = capsys.readouterr().out.splitlines()
    begun = [
        {shape(line) for line in lines if "'end'" not in line} for lines in (printed, shown("kiosk_mqtt"))
    ]
    assert begun[0] == begun[1]


def test_every_tutorial_is_tested_and_shows_its_output() -> None:
    names = {path.stem for path in EXAMPLES.glob("*.py")}
    assert names == {*WITHOUT_ARGUMENTS, "kiosk_mqtt"}
    assert names == {path.stem for path in (EXAMPLES / "output").glob("*.txt")}
