"""Made expressions: what each action unit moves, which faces are changed, and what they are taught."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edgeharfer.evaluate import ferplus
from edgeharfer.runtime.errors import ConfigError
from edgeharfer.runtime.types import Floats, Image
from edgeharfer.training.emotion import expressions
from edgeharfer.training.emotion.expressions import PROTOTYPES, MadeFaces, change_expression, make_expressions
from edgeharfer.training.emotion.face_mesh import POINTS, FaceMesh
from edgeharfer.training.emotion.faces import NO_LABEL, Faces
from edgeharfer.training.emotion.kaggle import FER7

SIDE = 48
EYES, BROWS, MOUTH = 20.0, 13.0, 36.0
"""Heights of the parts of the drawn face; its eyes are at 15 and 33."""
FOLDS = 14, 34
"""Columns of the folds between nose and lips."""
CONTEMPT, ANGRY = ferplus.LABELS.index("contempt"), ferplus.LABELS.index("angry")


def draw() -> tuple[Image, Floats]:
    """A bright face with dark brows and lips, and the points of its mesh."""
    points = np.full((POINTS, 2), 24.0, np.float32)
    for side, middle in enumerate((15.0, 33.0)):
        inner = 1 if side == 0 else -1
        outer, end = expressions._EYE_CORNERS[side] if side == 0 else expressions._EYE_CORNERS[side][::-1]
        points[outer], points[end] = (middle - 4, EYES), (middle + 4, EYES)
        for lids, height in ((expressions._UPPER_LIDS, EYES - 1), (expressions._LOWER_LIDS, EYES + 1)):
            points[list(lids[side])] = [(middle + inner * x, height) for x in (-3, -1.5, 0, 1.5, 3)]
        brow = [(middle + inner * x, BROWS) for x in (-5, -2.5, 0, 2.5, 5)]
        points[list(expressions._BROWS[side])] = brow + brow
    for lips in (*expressions._UPPER_LIP, *expressions._LOWER_LIP):
        points[list(lips)] = [(x, MOUTH) for x in np.linspace(18, 30, 9)]
    points[list(expressions._CORNERS[0])] = (17, MOUTH)
    points[list(expressions._CORNERS[1])] = (31, MOUTH)
    points[list(expressions._CHIN)] = (24, 46)
    for fold, column in zip(expressions._FOLDS, FOLDS, strict=True):
        points[list(fold)] = [(column, row) for row in (24, 26, 28, 30)]
    face = np.full((SIDE, SIDE), 220, np.uint8)
    for left, right, height in ((10, 20, BROWS), (28, 38, BROWS), (17, 31, MOUTH)):
        face[int(height) - 1 : int(height) + 2, left : right + 1] = 20
    return face, points


def height(face: Image, columns: slice, rows: slice) -> float:
    """Mean row of what is dark."""
    dark = np.clip(200 - face[rows, columns].astype(float), 0, None)
    return float((dark.sum(axis=1) * np.arange(SIDE)[rows]).sum() / dark.sum())


def moved(units: Mapping[str, float], columns: slice, rows: slice) -> float:
    """How far down the units move what is dark there."""
    face, points = draw()
    return height(change_expression(face, points, units), columns, rows) - height(face, columns, rows)


UPPER, LOWER = slice(4, 18), slice(28, 46)
OUTER, INNER, RIGHT_INNER = slice(10, 13), slice(17, 20), slice(29, 32)
LEFT_CORNER, RIGHT_CORNER = slice(17, 20), slice(29, 32)


@pytest.mark.parametrize(
    ("units", "columns", "rows", "least", "most"),
    [
        ({"4": 1}, INNER, UPPER, 1.0, 2.5),
        ({"4": 1}, RIGHT_INNER, UPPER, 1.0, 2.5),
        ({"4": 2}, INNER, UPPER, 2.5, 5),
        ({"1": 1}, INNER, UPPER, -4, -1.5),
        ({"1": 1}, OUTER, UPPER, -1, 0.3),
        ({"2": 1}, OUTER, UPPER, -4, -1.0),
        ({"12 left": 1}, LEFT_CORNER, LOWER, -3, -0.8),
        ({"12 left": 1}, RIGHT_CORNER, LOWER, -0.3, 0.3),
        ({"12 right": 1}, RIGHT_CORNER, LOWER, -3, -0.8),
        ({"12 left": -1}, LEFT_CORNER, LOWER, 0.8, 3),
        ({"15": 1}, LEFT_CORNER, LOWER, 0.7, 3),
        ({"15": 1}, INNER, UPPER, -0.1, 0.1),
        ({}, INNER, UPPER, -0.1, 0.1),
    ],
)
def test_a_unit_moves_its_part_of_the_face(
    units: dict[str, float], columns: slice, rows: slice, least: float, most: float
) -> None:
    assert least < moved(units, columns, rows) < most


def test_units_follow_the_size_and_the_tilt_of_the_face() -> None:
    face, points = draw()
    units = {"4": 1.0, "15": 1.0}
    changed = change_expression(face, points, units).astype(int)
    enlarged: Any = cv2.resize(face, (2 * SIDE, 2 * SIDE), interpolation=cv2.INTER_CUBIC)
    of_large = change_expression(enlarged, 2 * points + 0.5, units)
    smaller = cv2.resize(of_large, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    assert abs(smaller - changed).mean() < 0.1 * abs(changed - face).mean()
    turned = np.ascontiguousarray(np.rot90(face))
    turned_points = np.stack([points[:, 1], SIDE - 1 - points[:, 0]], axis=1)
    of_turned = np.rot90(change_expression(turned, turned_points, units), -1).astype(int)
    assert abs(of_turned - changed).mean() < 0.5 * abs(changed - face).mean()


def darkened(units: Mapping[str, float], fold: int) -> float:
    """How much darker the units make a fold between nose and lips, as a fraction."""
    face, points = draw()
    changed = change_expression(face, points, units)
    return 1 - float(changed[26:29, FOLDS[fold]].mean()) / 220


def test_units_of_nose_and_lips_furrow_the_face() -> None:
    for unit in ("9", "10"):
        assert 0.1 < darkened({unit: 1}, 0) < 0.25
        assert darkened({unit: 1}, 1) == pytest.approx(darkened({unit: 1}, 0), abs=0.03)
    assert darkened({"10": 0.5}, 0) == pytest.approx(darkened({"10": 1}, 0) / 2, abs=0.04)
    assert darkened({"9": 9, "10": 9}, 0) <= 0.36
    assert darkened({"12 left": 1}, 0) > 0.08
    for units in ({"12 left": -1.0}, {"12 right": 1.0}, {"24": 1.0}, {}):
        assert abs(darkened(units, 0)) < 0.02


class DrawnMesh(FaceMesh):
    """Finds the points of the drawn face; a face with a white corner is turned to the side, and one
    with a black corner is none."""

    def __init__(self) -> None:
        self.asked: list[bytes] = []

    def find(self, face: Image) -> tuple[Floats, float]:
        self.asked.append(face.tobytes())
        points = draw()[1]
        if face[0, 0] == 255:
            points[expressions._NOSE[0], 0] += 8
        return points, 0.2 if face[0, 0] == 0 else 0.99


def faces_of(classes: list[str], corners: Mapping[int, int] | None = None) -> tuple[Faces, Floats]:
    """Drawn faces of these classes; `corners` sets the brightness of the upper left corner."""
    pictures = np.stack([draw()[0]] * len(classes))
    pictures[:, -1, -1] = np.arange(len(classes))
    for index, value in (corners or {}).items():
        pictures[index, :8, :8] = value
    votes = np.full((len(classes), 8), 0.02, np.float32)
    votes[np.arange(len(classes)), [ferplus.LABELS.index(name) for name in classes]] = 0.86
    names = [str(i) for i in range(len(classes))]
    return Faces(names, pictures, np.zeros(len(classes), np.int64), pictures), votes


SOURCES = ["neutral", "happy", "surprise", "sad", "disgust"]


def test_made_faces_have_the_expressions_of_their_prototypes() -> None:
    faces, votes = faces_of(SOURCES)
    made = make_expressions(faces, votes, 400, DrawnMesh(), np.random.default_rng(1))
    assert made.faces.pictures.shape == (400, SIDE, SIDE)
    assert (made.faces.labels == NO_LABEL).all()
    total = sum(one.chance for one in PROTOTYPES)
    for name in {one.expression for one in PROTOTYPES}:
        label = NO_LABEL if name is None else ferplus.LABELS.index(name)
        expected = sum(one.chance for one in PROTOTYPES if one.expression == name) / total
        assert (made.expressions == label).mean() == pytest.approx(expected, abs=0.08)
        shares = made.shares[made.expressions == label]
        assert shares.max() == pytest.approx(0 if name is None else expressions.SHARES[name])
        assert shares.min() <= 0.3 * shares.max()
    again = make_expressions(faces, votes, 400, DrawnMesh(), np.random.default_rng(1))
    np.testing.assert_array_equal(made.faces.pictures, again.faces.pictures)
    angry = made.faces.pictures[(made.expressions == ANGRY) & (made.shares > 0.7)]
    face = draw()[0]
    assert all(height(one, INNER, UPPER) > height(face, INNER, UPPER) + 0.7 for one in angry)


def test_only_faces_that_look_into_the_camera_are_changed() -> None:
    turned, no_face, other = 5, 6, 7
    faces, votes = faces_of([*SOURCES, "neutral", "neutral", "angry"], {turned: 255, no_face: 0})
    mesh = DrawnMesh()
    made = make_expressions(faces, votes, 60, mesh, np.random.default_rng(0))
    assert len(mesh.asked) == 7, "not the one that is of another class"
    assert faces.aligned[other].tobytes() not in mesh.asked
    assert (abs(made.faces.pictures[:, 0, 0].astype(int) - 220) < 5).all()
    with pytest.raises(ConfigError, match="no neutral training face looks into the camera"):
        make_expressions(
            *faces_of([*SOURCES[1:], "neutral"], {4: 255}), 5, DrawnMesh(), np.random.default_rng(0)
        )


def test_an_expression_is_mixed_into_the_answers_of_heads_that_know_it() -> None:
    faces, _ = faces_of(["neutral"] * 3)
    made = MadeFaces(faces, np.array([ANGRY, CONTEMPT, NO_LABEL]), np.array([0.75, 0.5, 0], np.float32))
    answers: dict[str, Any] = {"fer7": np.full((3, 7), 1 / 7), "fer8": np.full((3, 8), 1 / 8)}
    targets = made.targets(answers)
    np.testing.assert_allclose(targets["fer8"].sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(targets["fer7"].sum(axis=1), [1, 0, 1], rtol=1e-6)
    assert targets["fer7"][0, ANGRY] == pytest.approx(0.75 + 0.25 / 7)
    assert targets["fer8"][1, CONTEMPT] == pytest.approx(0.5 + 0.5 / 8)
    np.testing.assert_allclose(targets["fer8"][2], 1 / 8)


def test_the_prototypes_are_of_known_units_and_classes() -> None:
    assert ferplus.LABELS[: len(FER7)] == FER7
    assert sum(one.chance for one in PROTOTYPES) == pytest.approx(1)
    for one in PROTOTYPES:
        assert set(one.units) <= set(expressions._UNITS)
        assert one.source in expressions.MIN_VOTES
        assert one.expression is None or one.expression in expressions.SHARES


def test_a_file_that_is_no_face_mesh_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "face_landmark.tflite"
    path.write_bytes(b"no model")
    with pytest.raises(ConfigError, match=r"--mesh .*face_landmark\.tflite"):
        FaceMesh(path)
