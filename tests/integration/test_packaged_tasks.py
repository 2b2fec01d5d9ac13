"""Packages for further tasks: no code of their own, and they run wherever tasks do."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tiny_models
from edgeharfer.cli import run_command
from edgeharfer.kiosk.calibrate import calibrate_site
from edgeharfer.kiosk.calibration import load_floors
from edgeharfer.kiosk.config import load_config
from edgeharfer.kiosk.discovery import discovery_messages
from edgeharfer.runtime.clock import SystemClock
from edgeharfer.runtime.errors import ConfigError, ModelError
from edgeharfer.runtime.inference.manifest import Manifest, ValueSpec, dump_manifest, parse_manifest
from edgeharfer.runtime.inference.package import load_package, verify_package, write_manifest
from edgeharfer.runtime.pipeline import Pipeline
from edgeharfer.runtime.source.demo import DemoSource
from edgeharfer.runtime.tasks import make_task
from edgeharfer.runtime.tasks.action import ActionModel
from edgeharfer.runtime.tasks.emotion import EmotionModel
from edgeharfer.runtime.types import Box, Face, Frame, TrackedFace

RUN = ("run", "--view", "none", "--action", "off", "--emotion", "off", "--source", "demo", "--pace", "fast")
GLASSES = ("none", "glasses")
AGE = {"age": "years", "spread": ""}


def glasses(folder: Path, **changes: Any) -> Path:
    return tiny_models.picture_package(folder / "glasses", "glasses", labels=GLASSES, **changes).path


def age(folder: Path, **changes: Any) -> Path:
    return tiny_models.picture_package(folder / "age", "age", values=AGE, **changes).path


def lines_of(capsys: pytest.CaptureFixture[str], *options: object) -> list[dict[str, Any]]:
    assert run_command([*RUN, "--events", "-", *map(str, options)]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def faces(count: int, seen_s: float) -> list[TrackedFace]:
    points = np.array([(10, 15), (20, 15), (15, 20), (15, 25), (5, 15), (25, 15)], np.float32)
    return [
        TrackedFace(
            n, Box(40 * n, 10, 30, 30), 0.9, last=Face(Box(40 * n, 10, 30, 30), 0.9, points), seen_s=seen_s
        )
        for n in range(count)
    ]


def frame(seq: int, value: int = 90, *, still: bool = False) -> Frame:
    return Frame(seq, seq / 10, 0.0, np.full((60, 480, 3), value, np.uint8), still)


def test_classes_and_values_of_faces_are_in_the_events_and_the_summary(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    *rows, summary = lines_of(
        capsys, "--max-frames", 6, "--task", glasses(tmp_path), "--task", age(tmp_path), "--task", "headpose"
    )
    assert len(rows) == 6
    for face in (face for row in rows for face in row["faces"]):
        assert set(face["glasses"]) == {"label", "score", "probs"} and set(face["glasses"]["probs"]) == {
            *GLASSES
        }
        assert sum(face["glasses"]["probs"].values()) == pytest.approx(1)
        assert set(face["age"]) == {"values"} and set(face["age"]["values"]) == {*AGE}
        assert face["emotion"] is None and "headpose" in face
    assert len(rows[0]["faces"]) == 2
    assert summary["models"] == {"glasses": "tiny-glasses fp32", "age": "tiny-age fp32"}
    assert set(summary["provider"]) == {"faces", "glasses", "age"}
    assert {"glasses", "age"} <= set(summary["latency_ms"])


def test_whole_frames_and_clips_are_read_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weather = tiny_models.picture_package(
        tmp_path / "weather", "weather", labels=("sun", "rain"), reads="frame"
    )
    gesture = tiny_models.action_package(tmp_path / "gesture", task="gesture", seconds=0.4)
    *rows, summary = lines_of(
        capsys,
        "--max-frames",
        20,
        "--task",
        weather.path,
        "--task",
        gesture.path,
        "--task",
        glasses(tmp_path),
    )
    assert all(row["weather"]["label"] in ("sun", "rain") for row in rows)
    assert rows[0]["gesture"] == {"label": "uncertain", "probs": {}}
    assert set(rows[-1]["gesture"]["probs"]) == {*tiny_models.ACTIONS}
    assert rows[-1]["action"] is None
    assert {"weather", "gesture"} <= set(summary["models"])


def test_the_overlay_shows_them(tmp_path: Path) -> None:
    picture = DemoSource(SystemClock()).picture(0)
    with Pipeline(action=None, emotion=None, extra_tasks=[make_task(str(age(tmp_path)))]) as pipeline:
        with_age = pipeline.process(picture)
        assert pipeline.models == {"age": "tiny-age fp32"} and pipeline.labels == {}
    with Pipeline(action=None, emotion=None) as pipeline:
        without = pipeline.process(picture)
    assert with_age.faces[0].readings["age"].values is not None
    assert (with_age.plot(picture) != without.plot(picture)).any()


def test_values_are_averaged_over_time_and_begin_again_after_a_reset(tmp_path: Path) -> None:
    task = make_task(str(age(tmp_path)))

    def told(seq: int, value: int) -> float:
        readings: Any = task.step(frame(seq, value), faces(1, seq / 10))
        return float(readings[0].values["age"])

    dark, after = told(0, 50), told(1, 200)
    task.reset()
    bright = told(0, 200)
    assert dark < after < bright or dark > after > bright
    assert bright == pytest.approx(4 * dark, rel=0.01)
    task.close()


def test_each_face_is_read_once_for_each_time_it_was_seen_and_new_ones_first(tmp_path: Path) -> None:
    task = make_task(str(glasses(tmp_path)))

    def read(seq: int, count: int, seen_s: float, *, still: bool = False) -> list[int]:
        return sorted(task.step(frame(seq, still=still), faces(count, seen_s)) or {})  # type: ignore[arg-type]

    assert read(0, 3, 0.0) == [0, 1, 2]
    assert read(1, 3, 0.0) == []
    assert read(2, 9, 0.2) == [0, 1, 3, 4, 5, 6, 7, 8]
    assert [read(seq, 9, 0.2) for seq in (3, 4)] == [[2], []]
    task.reset()
    assert read(7, 12, 0.7, still=True) == [*range(12)]


def test_a_package_with_an_option_of_its_own_is_not_added(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    emotion = tiny_models.emotion_package(tmp_path / "e").path
    for task in (str(emotion), "emotion-fer7", "emotion"):
        assert run_command([*RUN, "--max-frames", "1", "--task", task]) == 2
        assert "--emotion" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="a face detector cannot be run as a task"):
        make_task("face-yunet")


def test_a_recording_has_no_pictures_for_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--task", str(glasses(tmp_path)), "--record", str(tmp_path / "a.rec"))
    assert run_command([*RUN, "--max-frames", "1", *options]) == 2
    assert "which recordings do not contain" in capsys.readouterr().err


def test_a_signature_is_asked_of_them_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("cryptography", reason="signatures need the sign extra")
    assert run_command(["models", "keygen", str(tmp_path / "key")]) == 0
    options = ("--task", str(glasses(tmp_path)), "--require-signature", str(tmp_path / "key.pub"))
    assert run_command([*RUN, "--max-frames", "1", *options]) == 2
    assert "not signed" in capsys.readouterr().err


def test_models_verify_tries_them_and_evaluate_refuses_values(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    age(tmp_path)
    assert run_command(["models", "verify", str(tmp_path / "age")]) == 0
    assert "1 model file verified" in capsys.readouterr().out
    assert run_command(["evaluate", str(tmp_path / "age"), "--data", str(tmp_path)]) == 2
    assert "only classifiers" in capsys.readouterr().err


def test_a_kiosk_runs_announces_and_calibrates_them(tmp_path: Path) -> None:
    config_file = tmp_path / "kiosk.toml"
    tasks = [str(glasses(tmp_path)), str(age(tmp_path)), "headpose"]
    models = f"[models]\naction = 'off'\nemotion = 'off'\ntasks = {json.dumps(tasks)}\n"
    config_file.write_text(f"[site]\nname = 'shop'\n{models}", encoding="utf-8")
    config = load_config(config_file)
    topics = [topic for topic, _ in discovery_messages(config, "1.0")]
    assert [topic.split("/")[3] for topic in topics] == ["glasses", "online"]
    found = calibrate_site(config, tmp_path / "state", seconds=0.5, source="demo")
    assert set(found.floors) == {"action", "emotion", "glasses"} and set(found.floors["glasses"]) == {
        *GLASSES
    }
    assert load_floors(tmp_path / "state") == found.floors


# What a manifest may say ------------------------------------------------------------------------------


def test_values_survive_a_round_trip_in_their_order(tmp_path: Path) -> None:
    manifest = load_package(age(tmp_path)).manifest
    assert manifest.values == (ValueSpec("age", "years"), ValueSpec("spread"))
    assert (manifest.value_names, manifest.outputs, manifest.kind) == (("age", "spread"), 2, "face")
    assert parse_manifest(dump_manifest(manifest), "m") == manifest
    verify_package(tmp_path / "age")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": ("a", "b")}, "values: must not be combined with labels"),
        ({"output": "probs"}, 'output: must be "values"'),
        ({"values": (ValueSpec("age"), ValueSpec("age"))}, "values: duplicate value"),
        ({"values": ()}, "key labels is missing; a package needs labels or values"),
        ({"reads": "frame"}, "crop: is required in packages that read faces"),
        ({"reads": "clip"}, "must contain exactly encoder and head"),
        ({"values": (ValueSpec("age"), ValueSpec("b"), ValueSpec("c"))}, "logits is batch x 2, but"),
    ],
)
def test_a_manifest_that_contradicts_itself_is_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    manifest = replace(load_package(age(tmp_path)).manifest, **changes)
    with pytest.raises(ModelError, match=message):
        write_manifest(tmp_path / "age", manifest)
        verify_package(tmp_path / "age")


def test_a_package_that_is_not_what_its_task_needs_is_refused(tmp_path: Path) -> None:
    values = tiny_models.picture_package(tmp_path / "v", "emotion", values=AGE)
    whole = tiny_models.picture_package(tmp_path / "w", "emotion", labels=GLASSES, reads="frame")
    clips = tiny_models.action_package(tmp_path / "c", task="emotion")
    for package in (values, whole, clips):
        with pytest.raises(
            ModelError, match="but a package for the task emotion takes faces and outputs classes"
        ):
            EmotionModel(package)
    with pytest.raises(ModelError, match="but a package for the task action takes clips"):
        ActionModel(tiny_models.picture_package(tmp_path / "a", "action", labels=GLASSES))


def test_a_manifest_from_before_means_what_it_meant(tmp_path: Path) -> None:
    def written(manifest: Manifest) -> set[str]:
        return set(json.loads(dump_manifest(manifest)))

    emotion, action = tiny_models.emotion_package(tmp_path / "e"), tiny_models.action_package(tmp_path / "a")
    assert (emotion.manifest.kind, action.manifest.kind) == ("face", "clip")
    assert load_package("face-yunet").manifest.kind == "frame"
    assert written(emotion.manifest).isdisjoint({"values", "reads"})
