"""The task pose: where it looks, how often, and what joints become features and pictures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgeharfer.runtime.clock import ManualClock
from edgeharfer.runtime.errors import ModelError
from edgeharfer.runtime.inference.backend import CPU
from edgeharfer.runtime.inference.manifest import (
    InputSpec,
    Manifest,
    WindowSpec,
    dump_manifest,
    parse_manifest,
)
from edgeharfer.runtime.inference.package import Package, load_package, verify_package, write_manifest
from edgeharfer.runtime.overlay import draw
from edgeharfer.runtime.pipeline import Pipeline
from edgeharfer.runtime.result import Result
from edgeharfer.runtime.source.demo import DemoSource
from edgeharfer.runtime.tasks import make_task
from edgeharfer.runtime.tasks.action import ActionModel
from edgeharfer.runtime.tasks.joints import JOINT_FEATURES, JOINTS, POINTS, joint_features
from edgeharfer.runtime.tasks.movenet import PoseModel, cut_square, following_square, whole_square
from edgeharfer.runtime.tasks.pose import LOOK_INTERVAL_S, Pose, PoseTask
from edgeharfer.runtime.types import Box, Floats, Frame, Image
from tiny_models import ACTIONS, OPSET, file_spec, head, picture_package

SIZE = (640, 480)
STANDING = {
    "nose": (0.0, -0.6), "left_shoulder": (0.4, 0.0), "right_shoulder": (-0.4, 0.0), "left_elbow": (0.5, 0.5),
    "right_elbow": (-0.5, 0.5), "left_wrist": (0.5, 1.0), "right_wrist": (-0.5, 1.0), "left_hip": (0.3, 1.0),
    "right_hip": (-0.3, 1.0), "left_knee": (0.3, 1.8), "right_knee": (-0.3, 1.8), "left_ankle": (0.3, 2.6),
    "right_ankle": (-0.3, 2.6),
}  # fmt: skip


def standing(x: float, y: float, torso: float, seen: Sequence[str] = JOINTS) -> Floats:
    """A person whose shoulders are around (x, y); the joints of the face are at the nose."""
    rows = [
        (x + torso * place[0], y + torso * place[1], 0.9 if name in seen else 0.1)
        for name in JOINTS
        for place in [STANDING.get(name, STANDING["nose"])]
    ]
    return np.array(rows, np.float32)


class Scripted(PoseModel):
    """Finds a person of whom the picture shows nothing, and keeps where it looked."""

    def __init__(self, joints: Floats) -> None:
        super().__init__(load_package("pose"))
        self._joints, self.regions = joints, list[Box]()

    def classify(self, pictures: Sequence[Image]) -> Floats:
        region = self._region or whole_square(*SIZE)
        self.regions.append(region)
        places = (self._joints[:, :2] - (region.x, region.y)) / region.width
        rows = np.column_stack([places[:, 1], places[:, 0], self._joints[:, 2]])
        return np.asarray(rows, np.float32).reshape(1, -1)


def frame(pts_s: float, *, still: bool = False) -> Frame:
    return Frame(0, pts_s, pts_s, np.zeros((SIZE[1], SIZE[0], 3), np.uint8), still)


def test_the_first_look_is_at_the_whole_frame_and_the_next_ones_at_the_person() -> None:
    person = standing(300, 150, 60)
    task = PoseTask(model := Scripted(person))
    first = task.step(frame(0.0), ())
    assert isinstance(first, Pose)
    assert np.allclose(first.joints, person, atol=1e-3)
    assert first.values is not None and first.values["left_wrist_x"] == pytest.approx(330, abs=1e-2)
    assert task.step(frame(LOOK_INTERVAL_S / 2), ()) is None
    second = task.step(frame(LOOK_INTERVAL_S), ())
    assert isinstance(second, Pose) and np.allclose(second.joints, person, atol=1e-3)
    whole, around = model.regions
    assert whole == Box(0, -80, 640, 640)
    assert around.center == pytest.approx((300, 210)) and 200 < around.width < 320
    task.reset()
    task.step(frame(2 * LOOK_INTERVAL_S), ())
    assert model.regions[-1] == whole
    task.close()


def test_a_photograph_is_looked_at_twice() -> None:
    task = PoseTask(model := Scripted(standing(300, 150, 60)))
    assert task.step(frame(0.0, still=True), ()) is not None
    assert [region.width for region in model.regions] == [640, pytest.approx(230.4, abs=1)]
    task.close()


@pytest.mark.parametrize("hidden", [("left_hip", "right_hip"), ("left_shoulder", "right_shoulder")])
def test_without_a_torso_the_whole_frame_is_looked_at(hidden: tuple[str, ...]) -> None:
    seen = [name for name in JOINTS if name not in hidden]
    assert following_square(standing(300, 150, 60, seen), *SIZE) == whole_square(*SIZE)


def test_a_square_is_cut_out_with_black_around_the_frame() -> None:
    picture = np.full((480, 640, 3), 200, np.uint8)
    inner = cut_square(picture, Box(100, 100, 200, 200), 192)
    assert inner.shape == (192, 192, 3) and inner.min() == 200
    corner = cut_square(picture, Box(-100, -100, 200, 200), 192)
    assert corner[96:, 96:].min() == 200 and corner[:96].max() == corner[:, :96].max() == 0
    whole = cut_square(picture, whole_square(640, 480), 192)
    assert whole[:24].max() == whole[168:].max() == 0 and whole[24:168].min() == 200
    assert not cut_square(picture, Box(700, 500, 50, 50), 192).any()


def test_features_do_not_depend_on_size_or_place() -> None:
    near = np.stack([standing(300 + 6 * step, 150, 60) for step in range(8)])
    far = np.stack([standing(100 + 2 * step, 400, 20) for step in range(8)])
    features = joint_features(near)
    assert features.shape == (8, JOINT_FEATURES) and features.dtype == np.float32
    assert np.allclose(features, joint_features(far), atol=1e-4)
    local, moved = features[:, :26].reshape(8, 13, 2), features[:, 26:52].reshape(8, 13, 2)
    torso = 1.4 * 0.8  # the shoulders are wide compared with the torso
    assert np.allclose(local[0, POINTS.index("left_hip")], (0.3 / torso, 1.0 / torso), atol=1e-4)
    assert not moved[0].any() and np.allclose(moved[1:, :, 0], 0.1 / torso, atol=1e-4)


def test_a_joint_that_is_lost_stays_where_it_was() -> None:
    without_wrist = [name for name in JOINTS if name != "left_wrist"]
    joints = np.stack([standing(300, 150, 60), standing(300, 150, 60, without_wrist)])
    joints[1, JOINTS.index("left_wrist"), :2] = 0
    features = joint_features(joints)
    wrist = POINTS.index("left_wrist")
    assert not features[:, 26:52].any()
    assert features[:, 52 + wrist].tolist() == [1, 0]
    nobody = joint_features(np.zeros((4, 17, 3), np.float32))
    assert not nobody.any()


def test_the_skeleton_is_drawn_and_grows_with_the_picture() -> None:
    pose = Pose(standing(300, 100, 100))
    drawn = draw(np.zeros((480, 640, 3), np.uint8), Result(0, 0.0, 0.0, readings={"pose": pose}))
    assert drawn[200, 330].any()  # a hip
    assert not drawn[40, 300].any()  # the nose
    assert np.allclose(pose.scaled(2).joints[:, :2], 2 * pose.joints[:, :2])
    assert np.array_equal(pose.scaled(2).joints[:, 2], pose.joints[:, 2])


def test_the_shipped_model_finds_the_face_of_the_demo() -> None:
    picture = DemoSource(ManualClock()).picture(0)
    with Pipeline(action=None, emotion=None, extra_tasks=[make_task("pose")]) as pipeline:
        result = pipeline.process(picture)
        assert pipeline.models["pose"].startswith("pose ")
    pose = result.readings["pose"]
    assert isinstance(pose, Pose)
    nose = pose.joints[JOINTS.index("nose"), :2]
    away = [
        np.hypot(*(nose - face.keypoints[2])) / face.box.width
        for face in result.faces
        if face.keypoints is not None
    ]
    assert min(away) < 0.2
    assert set(result.to_dict()["pose"]) == {"values"}


def test_int8_and_fp32_agree() -> None:
    picture = np.asarray(cv2.flip(DemoSource(ManualClock()).picture(0), 1), np.uint8)
    models = [
        PoseModel(load_package("pose"), replace(CPU, precision=precision)) for precision in ("fp32", "int8")
    ]
    exact, quick = (model.locate(picture) for model in models)
    sure = exact[:, 2] > 0.5
    assert sure.sum() >= 5
    assert np.hypot(*(exact - quick)[sure, :2].T).max() < 0.03 * max(picture.shape)
    for model in models:
        model.close()


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("action-ucf20", {"encoder": "pose"}, "must contain exactly head"),
        ("action-ucf20", {"encoder": "hands"}, "encoder"),
        ("emotion-fer8", {"encoder": "pose"}, "only in packages that read clips"),
    ],
)
def test_an_encoder_that_does_not_fit_is_refused(name: str, changes: dict[str, str], message: str) -> None:
    content = json.loads(dump_manifest(load_package(name).manifest))
    if content["task"] == "emotion":
        head = {"head": content["files"]["fp32"]["model"]}
        content["files"], content["auto"] = {"fp32": head}, {}
    with pytest.raises(ModelError, match=message):
        parse_manifest(json.dumps(content | changes), "manifest.json")


def joint_package(folder: Path, features: int) -> Package:
    """A package with a head over joints that reads so many features."""
    folder.mkdir()
    spec = file_spec(folder, "head.onnx", head(4, features))
    manifest = Manifest(
        format=1, name="tiny-joints", task="action", labels=ACTIONS, input=InputSpec(192, 192, "rgb", "none"),
        encoder="pose", output="probs", files={"fp32": {"head": spec}}, opset=OPSET,
        window=WindowSpec(4, 0.5, 0.5),
    )  # fmt: skip
    write_manifest(folder, manifest)
    return verify_package(folder)


def test_a_head_reads_the_features_of_the_joints_in_the_ring(tmp_path: Path) -> None:
    model = ActionModel(joint_package(tmp_path / "joints", JOINT_FEATURES))
    rows = np.stack([model.encode(DemoSource(ManualClock()).picture(number)) for number in range(4)])
    assert rows.shape == (4, model.row_size) == (4, 51)
    features = joint_features(rows.reshape(4, 17, 3))
    expected = model.head.run1(features[None])[0]
    assert np.array_equal(model.classify(rows[None]), expected)
    model.warm_up()
    model.close()


def test_packages_with_other_sizes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="takes 8 features per frame, but the encoder pose outputs 67"):
        ActionModel(joint_package(tmp_path / "joints", 8))
    short = picture_package(tmp_path / "pose", "pose", reads="frame", values={"nose_y": "", "nose_x": ""})
    with pytest.raises(ModelError, match="has 2 values, but a package for the task pose has 51"):
        make_task(str(short.path))
