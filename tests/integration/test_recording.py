"""A recording without pixels plays again to the same results, bit by bit."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edgeharfer.cli import run_command
from edgeharfer.runtime.clock import SystemClock
from edgeharfer.runtime.source.demo import DemoSource


def run(events: Path, *options: str | Path) -> list[dict[str, Any]]:
    """Results of a run, without the times that differ from run to run."""
    code = run_command(["run", "--view", "none", "--events", str(events), *map(str, options)])
    assert code == 0
    rows = [json.loads(line) for line in events.read_text().splitlines()]
    results = [row for row in rows if row["kind"] == "result"]
    return [{key: value for key, value in row.items() if key != "age_ms"} for row in results]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    folder = tmp_path_factory.mktemp("recording")
    file = folder / "demo.rec"
    options = ("--source", "demo", "--pace", "fast", "--duration", "4")
    return file, run(folder / "events.jsonl", *options, "--record", file)


def test_a_recording_plays_again_to_the_same_results(recorded: Any, tmp_path: Path) -> None:
    file, results = recorded
    assert any(row["faces"] for row in results)
    assert any(row["action"]["ready"] for row in results)
    assert run(tmp_path / "again.jsonl", "--replay", file) == results


def test_faces_without_ears_play_again_as_well(tmp_path: Path) -> None:
    file = tmp_path / "yunet.rec"
    options = ("--source", "demo", "--pace", "fast", "--max-frames", "10", "--detector", "yunet")
    results = run(tmp_path / "events.jsonl", *options, "--record", file)
    assert all(row["faces"] for row in results)
    assert run(tmp_path / "again.jsonl", "--replay", file) == results


def write_two_scenes(path: Path, before: int, after: int) -> Path:
    """A film of the demo that is cut to a mirrored demo in other colours."""
    source = DemoSource(SystemClock())
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 30, (640, 480))
    for seq in range(before):
        writer.write(source.picture(seq))
    for seq in range(after):
        writer.write(np.ascontiguousarray(source.picture(seq)[:, ::-1, ::-1]))
    writer.release()
    return path


def test_a_cut_starts_everything_again_and_is_recorded(tmp_path: Path) -> None:
    film = write_two_scenes(tmp_path / "cut.avi", 66, 20)
    recording = tmp_path / "cut.rec"
    options = ("--source", film, "--pace", "fast")
    results = run(tmp_path / "events.jsonl", *options, "--record", recording)
    rows = [json.loads(row) for row in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert [row for row in rows if row["kind"] == "cut"] == [{"kind": "cut", "seq": 66, "pts_s": 2.2}]
    assert rows[66]["kind"] == "cut" and rows[67]["seq"] == 66
    assert rows[-1]["cuts"] == 1
    tracks = [
        {face["track"] for row in part for face in row["faces"]} for part in (results[:66], results[66:])
    ]
    assert tracks == [{1, 2}, {3, 4}]
    ready = [row["action"]["ready"] for row in results]
    assert ready[65] and not any(ready[66:])
    assert all(face["emotion"] for row in results for face in row["faces"])

    assert sum('"cut":true' in row for row in recording.read_text().splitlines()) == 1
    assert run(tmp_path / "again.jsonl", "--replay", recording) == results
    again = [json.loads(row) for row in (tmp_path / "again.jsonl").read_text().splitlines()]
    assert [row["kind"] for row in again] == [row["kind"] for row in rows]


def test_a_recording_of_a_live_run_plays_again_face_by_face(recorded: Any, tmp_path: Path) -> None:
    """Live, and before files read all new faces at once, the second face was read a frame later."""
    lines = [json.loads(line) for line in recorded[0].read_text().splitlines()]
    first, second = (base64.b64decode(lines[1]["probs"])[part] for part in (slice(32), slice(32, 64)))
    assert "probs" not in lines[2]
    lines[1]["probs"], lines[2]["probs"] = (base64.b64encode(part).decode() for part in (first, second))
    older = tmp_path / "older.rec"
    older.write_text("".join(json.dumps(line) + "\n" for line in lines[:5]))
    results = run(tmp_path / "events.jsonl", "--replay", older)
    assert [[face["emotion"] is None for face in row["faces"]] for row in results] == [
        [False, True], [False, False], [False, False], [False, False]
    ]  # fmt: skip


def test_a_recording_holds_no_picture(recorded: Any) -> None:
    file, results = recorded
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    assert rows[0]["size"] == [640, 480]
    assert {key for row in rows[1:] for key in row} == {"seq", "pts_s", "faces", "probs", "features"}
    assert len(rows) == len(results) + 1
    assert max(map(len, file.read_text().splitlines())) < 20_000


def test_other_models_are_refused(recorded: Any, capsys: pytest.CaptureFixture[str]) -> None:
    file, _ = recorded
    assert run_command(["run", "--replay", str(file), "--emotion", "emotion-fer7", "--view", "none"]) == 2
    assert "was made with" in capsys.readouterr().err


def test_nothing_is_recorded_over(recorded: Any, capsys: pytest.CaptureFixture[str]) -> None:
    file, _ = recorded
    before = file.read_bytes()
    assert run_command(["run", "--source", "demo", "--record", str(file), "--view", "none"]) == 2
    assert "cannot create the recording" in capsys.readouterr().err
    assert file.read_bytes() == before


FEATURES, POINTS = (base64.b64encode(bytes(4 * count)).decode() for count in (1280, 12))
FACE = f'{{"box": [0, 0, 9, 9], "score": 0.9, "points": "{POINTS}"}}'


@pytest.mark.parametrize(
    ("line", "content", "reason"),
    [
        (0, '{"format": 2}', "not a recording"),
        (0, "{}", "not a recording"),
        (0, '{"format": 1, "size": 3, "models": {}}', "line 1.size: must be a list of 2"),
        (0, '{"format": 1, "size": [60000, 60000], "models": {}}', "invalid picture size 60000x60000"),
        (1, "[]", "line 2: must be an object"),
        (1, '{"seq": 0}', "line 2: key pts_s is missing"),
        (1, '{"seq": 0, "pts_s": 0}', "frame 0 has no features"),
        (
            1,
            '{"seq": 0, "pts_s": 0, "faces": [], "features": "AAAA"}',
            "line 2.features: not an array of float32",
        ),
        (1, '{"seq": 0, "pts_s": 0, "faces": [], "features": "AADAfw=="}', "line 2.features: contains NaN"),
        (
            1,
            '{"seq": 0, "pts_s": 0, "faces": [], "probs": "", "features": ""}',
            "frame 0 has 0 features, not",
        ),
        (
            1,
            f'{{"seq": 0, "pts_s": 0, "faces": [{FACE}], "probs": "AAAAAA==", "features": "{FEATURES}"}}',
            "has 1 probabilities for 1 faces",
        ),
        (2, '{"seq": 0, "pts_s": 0}', "line 3: frame 0 follows frame 0"),
        (2, '{"seq": 1', "not valid JSON"),
    ],
)
def test_a_broken_recording_is_refused(
    recorded: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], line: int, content: str, reason: str
) -> None:
    lines = recorded[0].read_text().splitlines()
    lines[line] = content
    broken = tmp_path / "broken.rec"
    broken.write_text("\n".join(lines) + "\n")
    assert run_command(["run", "--replay", str(broken), "--view", "none"]) == 2
    assert reason in capsys.readouterr().err
