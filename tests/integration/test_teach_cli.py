"""`edgeharfer teach` from recordings to a package that the other commands take."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgeharfer.cli import run_command
from edgeharfer.runtime.clock import SystemClock
from edgeharfer.runtime.source.base import Source
from edgeharfer.runtime.types import Frame
from edgeharfer.teach.enrolment import read_enrolment
from edgeharfer.teach.recording import RecordOptions, record
from films import write_film
from tiny_models import action_package


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return action_package(tmp_path_factory.mktemp("base") / "tiny").path


def film(path: Path, brightness: Callable[[int], float], seconds: float) -> Path:
    pictures = [np.full((32, 32, 3), brightness(i), np.uint8) for i in range(int(10 * seconds))]
    return write_film(path, pictures, 10)


def test_recordings_become_a_package(base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The source is a film; a camera is read in the same way."""
    for label, step in (("blink", 60), ("still", 0)):
        source = film(tmp_path / f"{label}.mp4", lambda i, step=step: 120 + step * (i // 3 % 2) + i % 7, 14)  # type: ignore[misc]
        words = ["teach", "--source", str(source), "--label", label, "--seconds", "12", "--countdown", "2"]
        out = str(tmp_path / f"{label}.enrol")
        assert run_command([*words, "--view", "none", "--base", str(base), "--out", out]) == 0
        said = capsys.readouterr()
        assert re.match(rf"{label} in 2\n{label} in 1\nRecording {label}: 12 s left\n", said.err)
        assert said.out.endswith(f"12 s of {label}, as features without pixels\n")
    enrolment = read_enrolment(tmp_path / "blink.enrol")
    assert enrolment.features.shape[1] == 8 and enrolment.times[0] == 0
    assert (tmp_path / "blink.enrol").stat().st_size < 5000  # a picture of the film alone has 3072 bytes
    files = [str(tmp_path / f"{label}.enrol") for label in ("blink", "still")]
    package = str(tmp_path / "package")
    assert run_command(["teach", *files, "--base", str(base), "--out", package, "--name", "own"]) == 0
    said = capsys.readouterr()
    assert "100.0 % of 4 left-out examples recognised" in said.out and "warning: " in said.err
    (tmp_path / "state").mkdir()
    kiosk = ["--config", str(tmp_path / "none.toml"), "--state", str(tmp_path / "state")]
    assert run_command(["models", "install", package, *kiosk]) == 0  # verifies and tries it first
    events = tmp_path / "events.jsonl"
    run = ["run", "--source", str(tmp_path / "blink.mp4"), "--view", "none", "--emotion", "off"]
    assert run_command([*run, "--action", package, "--events", str(events)]) == 0
    results = [json.loads(line) for line in events.read_text().splitlines()]
    assert {line["action"]["label"] for line in results if line["kind"] == "result"} == {"uncertain", "blink"}


class ScriptedCamera(Source):
    """A live source of thirty pictures a second, without a camera."""

    live = True

    def __init__(self, stop: threading.Event | None = None) -> None:
        self.name, self.size = "scripted", (32, 32)
        self._clock, self._seq, self._stop = SystemClock(), 0, stop
        self._start_s = self._clock.monotonic()

    def read(self) -> Frame | None:
        self._clock.sleep(1 / 30)
        self._seq += 1
        if self._stop is not None and self._seq == 10:
            self._stop.set()
        now_s = self._clock.monotonic()
        return Frame(self._seq, now_s - self._start_s, now_s, np.full((32, 32, 3), self._seq % 255, np.uint8))


def scripted(monkeypatch: pytest.MonkeyPatch, stop: threading.Event | None = None) -> None:
    monkeypatch.setattr("edgeharfer.teach.recording.open_source", lambda *_, **__: ScriptedCamera(stop))


def test_a_camera_is_recorded_after_a_countdown(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted(monkeypatch)
    said: list[str] = []
    options = RecordOptions("0", "wave", 2.0, countdown_s=0.5, base=base, view="none")
    enrolment = record(options, tmp_path / "wave.enrol", stopping=lambda: False, report=said.append)
    assert said[0] == "wave in 1" and said[1].startswith("Recording wave: ")
    assert enrolment is not None and 1.0 <= enrolment.times[-1] <= 2.0


def test_a_stopped_recording_writes_nothing(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop = threading.Event()
    scripted(monkeypatch, stop)
    options = RecordOptions("0", "wave", 30.0, countdown_s=0, base=base, view="none")
    assert record(options, tmp_path / "wave.enrol", stopping=stop.is_set, report=lambda line: None) is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "pass DATA to create a package, or --label"),
        (["--label", "wave"], "the name of a recording must end in .enrol"),
        (["clips", "--label", "wave"], "--label applies to recordings: remove it, or remove DATA"),
        (["clips", "--name", "Wave!"], "--name Wave!: a name needs lower-case letters"),
        (["nowhere"], "nowhere: no such file or folder"),
    ],
)
def test_wrong_usage_is_told_in_one_line(
    words: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["teach", *words, "--out", str(tmp_path / "out")]) == 2
    assert told in capsys.readouterr().err


@pytest.mark.parametrize("label", ["background", "Uncertain", " "])
def test_a_label_with_a_meaning_of_its_own_is_refused(
    label: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["teach", "--source", "demo", "--label", label, "--out", str(tmp_path / "x.enrol")]
    assert run_command(words) == 2
    assert "class" in capsys.readouterr().err


def test_something_else_is_not_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "letter.txt").write_text("dear", encoding="ascii")
    assert run_command(["teach", str(tmp_path), "--out", str(tmp_path)]) == 2
    assert "exists and is not a model package" in capsys.readouterr().err
