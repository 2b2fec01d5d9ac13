"""The main job with the models that ship, on the demo source and on files that the tests make."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edgeharfer.cli import run_command
from edgeharfer.runtime import Pipeline, load_package, open_source
from edgeharfer.runtime.clock import SystemClock
from edgeharfer.runtime.source.demo import DemoSource
from films import write_film

FER8 = {"angry", "disgust", "fear", "happy", "sad", "surprise", "neutral", "contempt"}
COMMAND = [sys.executable, "-c", "from edgeharfer.cli import main; main()"]


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture(scope="module")
def demo_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """90 frames of the demo source, 3 s, as a video file."""
    path = tmp_path_factory.mktemp("clips") / "demo.mp4"
    source = DemoSource(SystemClock())
    return write_film(path, (source.picture(seq) for seq in range(90)))


def test_each_frame_of_a_file_gives_a_result(demo_clip: Path, capfd: pytest.CaptureFixture[str]) -> None:
    code = run_command(["run", "--source", str(demo_clip), "--view", "none", "--events", "-"])
    rows = lines(capfd.readouterr().out)
    results, summary = rows[:-1], rows[-1]
    assert code == 0
    assert [row["seq"] for row in results] == list(range(90))
    assert all(row["kind"] == "result" for row in results)
    assert all(len(row["faces"]) >= 1 for row in results)
    for face in (face for row in results for face in row["faces"]):
        assert set(face["emotion"]["probs"]) == FER8
        assert sum(face["emotion"]["probs"].values()) == pytest.approx(1, abs=1e-3)
    assert summary["kind"] == "summary"
    assert summary["frames_in"] == summary["frames_processed"] == 90
    assert summary["frames_dropped"] == 0
    assert {"total", "detect", "emotion", "encode", "head"} <= set(summary["latency_ms"])
    assert {"p50", "p95", "p99"} <= set(summary["latency_ms"]["total"])
    assert set(summary["provider"]) == {"faces", "emotion", "action"}
    assert summary["models"]["action"].startswith("action-ucf20")
    assert summary["rss_mb"] > 0


def test_the_action_is_ready_after_its_window_and_says_so(demo_clip: Path) -> None:
    results = list(Pipeline(emotion=None).run(open_source(demo_clip)))
    window = load_package("action-ucf20").manifest.window
    assert window is not None
    first = next(result for result in results if result.action and result.action.ready)
    assert first.pts_s == pytest.approx(window.seconds * (1 - 1 / window.frames), abs=0.04)
    assert all(r.action and r.action.label == "uncertain" for r in results if r.pts_s < first.pts_s)
    assert sum(first.action.probs.values()) == pytest.approx(1, abs=1e-3)  # type: ignore[union-attr]


def test_faces_keep_their_track_over_a_clip(demo_clip: Path) -> None:
    results = list(Pipeline(action=None).run(open_source(demo_clip)))
    assert {face.track for result in results for face in result.faces} == {1, 2}


def test_the_same_clip_gives_the_same_results(demo_clip: Path) -> None:
    pipeline = Pipeline()
    first = list(pipeline.run(open_source(demo_clip)))
    again = list(Pipeline().run(open_source(demo_clip)))
    assert [(r.faces, r.action) for r in first] == [(r.faces, r.action) for r in again]


def test_dropped_frames_change_no_window(demo_clip: Path) -> None:
    """Frames that the ring does not sample may be missing: the grid in time decides, not their count."""
    every = {r.seq: r.action for r in Pipeline(emotion=None).run(open_source(demo_clip))}
    pipeline = Pipeline(emotion=None)
    source = open_source(demo_clip)
    kept = {}
    with source:
        while (frame := source.read()) is not None:
            if frame.seq % 15 in (0, 4, 8, 12):  # the frames at or after each eighth of a second, at 30 fps
                kept[frame.seq] = pipeline.process(frame).action
    ready = [seq for seq, action in kept.items() if action and action.ready]
    assert ready
    for seq in ready:
        expected, found = every[seq], kept[seq]
        assert expected and found
        np.testing.assert_allclose(list(found.probs.values()), list(expected.probs.values()), atol=1e-5)


@pytest.mark.parametrize(("option", "key"), [("--action", "action"), ("--emotion", "emotion")])
def test_a_task_can_be_off(option: str, key: str, demo_clip: Path, capfd: pytest.CaptureFixture[str]) -> None:
    code = run_command(["run", "--source", str(demo_clip), "--view", "none", "--events", "-", option, "off",
                        "--max-frames", "5"])  # fmt: skip
    rows = lines(capfd.readouterr().out)
    assert code == 0
    if key == "action":
        assert all(row["action"] is None for row in rows[:-1])
    else:
        assert all(face["emotion"] is None for row in rows[:-1] for face in row["faces"])
    assert key not in rows[-1]["models"]


def test_all_outputs_of_one_run_agree(tmp_path: Path) -> None:
    events, saved, stats = tmp_path / "e.jsonl", tmp_path / "out.mp4", tmp_path / "s.json"
    outputs = ["--events", str(events), "--save", str(saved), "--stats", str(stats)]
    code = run_command(["run", "--source", "demo", "--duration", "1", "--view", "none", *outputs])
    assert code == 0
    rows = lines(events.read_text())
    assert len(rows) == 31
    assert json.loads(stats.read_text())["frames_processed"] == 30
    video = cv2.VideoCapture(str(saved))
    assert sum(1 for _ in iter(lambda: video.read()[0], False)) == 30


def test_settings_come_from_a_file_and_the_command_line_wins(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "run.toml"
    config.write_text('source = "demo"\nview = "none"\nevents = "-"\naction = "off"\nmax-frames = 7\n')
    assert run_command(["run", "--config", str(config), "--max-frames", "3"]) == 0
    rows = lines(capfd.readouterr().out)
    assert len(rows) == 4
    assert rows[0]["action"] is None


def test_photographs_of_a_folder_are_told_one_by_one(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    picture = DemoSource(SystemClock()).picture(0)
    cv2.imwrite(str(tmp_path / "a.png"), picture)
    cv2.imwrite(str(tmp_path / "b.png"), np.zeros((1, 1, 3), np.uint8))
    cv2.imwrite(str(tmp_path / "c.png"), cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY).astype(np.uint16) * 257)
    (tmp_path / "d.png").write_bytes(b"")
    assert run_command(["run", "--source", str(tmp_path), "--view", "none", "--events", "-"]) == 2
    rows = lines(capfd.readouterr().out)
    assert [len(row["faces"]) for row in rows[:-1]] == [2, 0, 2]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_run_cleanly(number: int, tmp_path: Path) -> None:
    events, saved = tmp_path / "events.jsonl", tmp_path / "out.mp4"
    process = subprocess.Popen(
        [*COMMAND, "run", "--source", "demo", "--pace", "realtime", "--view", "none", "--events", str(events),
         "--save", str(saved)],
        stderr=subprocess.PIPE, env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    for _ in range(600):
        if events.exists() and events.stat().st_size:
            break
        time.sleep(0.05)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 0, stderr
    rows = lines(events.read_text())
    assert rows[-1]["kind"] == "summary"
    assert rows[-1]["frames_processed"] == len(rows) - 1
    assert cv2.VideoCapture(str(saved)).read()[0]
