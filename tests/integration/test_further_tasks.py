"""`edgeharfer tasks` and `run --task`: further tasks in the events, recordings and configuration files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgeharfer.cli import run_command
from edgeharfer.runtime.tasks import TASKS

RUN = ("run", "--view", "none", "--action", "off", "--emotion", "off")
DEMO = ("--source", "demo", "--pace", "fast", "--max-frames", "8")


def results(capsys: pytest.CaptureFixture[str], *options: str) -> list[dict[str, Any]]:
    """Of a run, without the times that differ from run to run."""
    assert run_command([*RUN, "--events", "-", *options]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    return [
        {key: value for key, value in row.items() if key != "age_ms"}
        for row in rows
        if row["kind"] == "result"
    ]


def test_every_task_has_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["tasks"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(TASKS)


def test_head_poses_are_in_the_events_and_play_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = str(tmp_path / "demo.rec")
    found = results(capsys, *DEMO, "--task", "headpose", "--task", "headpose", "--record", file)
    faces = [face for row in found for face in row["faces"]]
    assert len(faces) == 2 * len(found) == 16
    assert all(set(face["headpose"]["values"]) == {"yaw", "pitch", "roll"} for face in faces)
    assert results(capsys, "--replay", file, "--task", "headpose") == found
    plain = results(capsys, "--replay", file)
    assert [set(face) for row in plain for face in row["faces"]] == [
        {"track", "box", "score", "emotion"}
    ] * 16


def test_tasks_stand_in_a_configuration_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "run.toml"
    config.write_text('task = ["headpose"]\n', encoding="utf-8")
    [row] = results(capsys, *DEMO[:-1], "1", "--config", str(config))
    assert "headpose" in row["faces"][0]


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ('["pose"]', "'pose' is neither 'headpose'"),
        ('"headpose"', "a list of strings"),
        ("[1]", "a list of strings"),
    ],
)
def test_a_wrong_list_in_a_configuration_file_is_named(
    setting: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "run.toml"
    config.write_text(f"task = {setting}\n", encoding="utf-8")
    assert run_command([*RUN, *DEMO, "--config", str(config)]) == 2
    told = capsys.readouterr().err
    assert message in told and f"{config}: task" in told


def test_an_unknown_task_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command([*RUN, *DEMO, "--task", "pose"]) == 2
    assert "headpose" in capsys.readouterr().err
