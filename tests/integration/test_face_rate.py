"""`run --face-rate`: how often faces are looked for, told by what a recording holds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgeharfer.cli import run_command
from edgeharfer.cli.run import run
from edgeharfer.runtime.pipeline import FACE_INTERVAL_S
from edgeharfer.runtime.schedule import face_interval_s

FRAMES = 15  # half a second of the demo, in which its faces are new


def looks(folder: Path, *options: str, frames: int = FRAMES) -> int:
    """Frames of the demo in which faces were looked for; each has a result all the same."""
    recording, events = folder / "recording", folder / "events"
    light = ("--action", "off", "--emotion", "off", "--view", "none", "--pace", "fast")
    words = ("--source", "demo", "--max-frames", str(frames), "--record", str(recording))
    assert run_command(["run", *words, "--events", str(events), *light, *options]) == 0
    rows = [json.loads(line) for line in events.read_text().splitlines()]
    assert [len(row["faces"]) for row in rows[:-1]] == [2] * frames
    return sum("faces" in json.loads(line) for line in recording.read_text().splitlines())


@pytest.mark.parametrize(("rate", "wanted"), [("0", FRAMES), ("15", 8), ("5", 3)])
def test_faces_are_looked_for_as_often_as_asked(tmp_path: Path, rate: str, wanted: int) -> None:
    assert looks(tmp_path, "--face-rate", rate) == wanted


def test_faces_that_keep_still_are_looked_at_half_as_often(tmp_path: Path) -> None:
    """2 s of the demo: 15 a second for half a second, then 7.5."""
    assert looks(tmp_path, "--face-rate", "15", frames=60) == 8 + 11


def test_the_rate_can_stand_in_the_configuration(tmp_path: Path) -> None:
    config = tmp_path / "run.toml"
    config.write_text("face-rate = 5\n")
    assert looks(tmp_path, "--config", str(config)) == 3


def test_without_it_the_rate_is_that_of_the_pipeline() -> None:
    default = next(option.default for option in run.params if option.name == "face_rate")
    assert face_interval_s(float(str(default))) == FACE_INTERVAL_S


def test_a_rate_below_zero_is_a_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["run", "--face-rate", "-1"]) == 2
    assert "--face-rate" in capsys.readouterr().err
