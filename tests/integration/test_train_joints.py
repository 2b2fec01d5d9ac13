"""A training on joints, from tiny data to a package that runs: labels, folds, figures, export."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("tensorflow")
from edgeharfer.cli import run_command
from edgeharfer.evaluate.golden import check_golden
from edgeharfer.runtime.errors import ConfigError
from edgeharfer.runtime.inference.package import load_package, verify_package
from edgeharfer.runtime.pipeline import Pipeline
from edgeharfer.runtime.tasks.action import ActionModel
from edgeharfer.runtime.types import Action, Frame
from edgeharfer.training.joints.tracks import (
    FALL,
    fall_start,
    parse_events,
    read_true_joints,
    right_labels,
)

ACTIONS = ("clap", "wave", "pick", "walk", "sit", "stand", "push", "throw")


def write_true_joints(path: Path) -> Path:
    """Two clips of each action and one of another, of 20 frames, in the layout of JHMDB's joints."""
    rng = np.random.default_rng(0)
    names = [*ACTIONS, *ACTIONS, "golf"]
    xy = rng.uniform(0, 1, (len(names) * 20, 15, 2)).astype(np.float32)
    frames, labels = np.full(len(names), 20, np.int32), np.array(names)
    np.savez(
        path,
        train_xy=xy,
        train_frames=frames,
        train_label=labels,
        test_xy=xy,
        test_frames=frames,
        test_label=labels,
    )
    return path


def write_clip(path: Path, seconds: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 8, (64, 48))
    for number in range(round(8 * seconds)):
        writer.write(np.full((48, 64, 3), 10 * (number % 2), np.uint8))
    writer.release()


def test_annotations_say_what_is_right_when() -> None:
    events = list(parse_events("Drinking[3.5 to 5.3]; Walking[0 to 1; 2 to 3.6]; Falling (BW)[6.9 to 12]"))
    assert events == [
        ("drinking", 3.5, 5.3),
        ("walking", 0, 1),
        ("walking", 2, 3.6),
        ("falling", 6.9, 12),
    ]
    assert fall_start(events) == 6.9
    assert right_labels(events, "", 3.5) == frozenset({"walk"})
    assert right_labels(events, "", 4.5) == frozenset({"walk", "background", "sit", "stand"})
    assert right_labels(events, "", 5.6) == frozenset({"background"})
    assert right_labels(events, "", 7.0) is None
    assert right_labels(events, "", 8.0) == frozenset({FALL})
    assert right_labels(events, "", 11.0) == frozenset({FALL, "background"})
    assert "pick" in (right_labels(events, "Picking a pen from the floor", 5.6) or ())


def test_another_file_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "other.npz", x=np.zeros(3))
    with pytest.raises(ConfigError, match="not a file of true joints"):
        read_true_joints(tmp_path / "other.npz", "train", ACTIONS)


def test_from_joints_to_a_package_that_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    npz = write_true_joints(tmp_path / "joints.npz")
    write_clip(tmp_path / "webcam" / "one.mp4", 3)
    home = tmp_path / "home"
    write_clip(home / "subject-1" / "Fall" / "01.mp4", 4)
    (home / "subject-1" / "Fall.csv").write_text(
        "File Name,Length (seconds),Description, Classes\n"
        "01.mp4,04,A fall,Standing[0 to 1]; Falling[1.5 to 4]\n"
        "02.mp4,04,Not here,Falling[0 to 4]\n",
        encoding="utf-8",
    )
    run, package = tmp_path / "run", tmp_path / "package"
    arguments = ["--true-joints", npz, "--annotated", home, "--background", tmp_path / "webcam", "--out", run]
    small = ["windows=120", "epochs=1", "units=8", "provenance=['Noise.']", "background_threshold=0.3"]
    sets = [part for one in small for part in ("--set", one)]
    assert run_command(["train", "joints", *map(str, arguments), *sets]) == 0
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["true_joints"]["clips"] == 16 and 0 <= metrics["true_joints"]["top1"] <= 1
    assert metrics["sources"]["webcam"]["frames"] == 9
    assert [row["clip"] for row in metrics["falls"]] == ["subject-1/Fall/01.mp4"]
    assert metrics["falls"][0]["start_s"] == 1.5

    assert run_command(["export", str(run), "--out", str(package)]) == 0
    manifest = verify_package(package).manifest
    assert (manifest.encoder, manifest.roles, manifest.kind) == ("pose", ("head",), "clip")
    assert manifest.labels == (*ACTIONS, FALL, "background")
    assert (manifest.threshold, manifest.background_threshold) == (0.6, 0.3)
    receipt = json.loads((package / "receipt.json").read_text(encoding="utf-8"))
    assert receipt["parity"]["fp32"] < 1e-4
    check_golden(load_package(package))
    card = (package / "MODELCARD.md").read_text(encoding="utf-8")
    assert "Never seen as pictures" in card and "- Noise." in card
    assert "`background` from a score of 0.3, or `uncertain`" in card

    with Pipeline(action=package, emotion=None) as pipeline:
        picture = np.zeros((48, 64, 3), np.uint8)
        results = [pipeline.process(Frame(n, n / 8, n / 8, picture)) for n in range(17)]
        assert pipeline.labels["action"] == list(manifest.labels)
    assert not any(result.action and result.action.ready for result in results[:15])
    assert isinstance(results[-1].action, Action) and results[-1].action.ready
    model = ActionModel(load_package(package))
    assert model.row_size == 51 and model.encode(picture).shape == (51,)
    model.close()

    demo = ["run", "--view", "none", "--action", str(package), "--emotion", "off", "--events", "-"]
    capsys.readouterr()
    record = ["--source", "demo", "--max-frames", "70", "--record", str(tmp_path / "demo.rec")]
    assert run_command([*demo, *record]) == 0
    seen = actions_of(capsys.readouterr().out)
    assert any(action["ready"] for action in seen)
    assert run_command([*demo, "--replay", str(tmp_path / "demo.rec")]) == 0
    assert actions_of(capsys.readouterr().out) == seen


def actions_of(events: str) -> list[dict[str, Any]]:
    rows = map(json.loads, events.splitlines())
    return [row["action"] for row in rows if row["kind"] == "result"]
