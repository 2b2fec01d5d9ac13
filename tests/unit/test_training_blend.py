"""Faces made of two: which parts are of which face."""

from __future__ import annotations

import numpy as np
import pytest

from edgeharfer.training.emotion import blend
from edgeharfer.training.emotion.augment import FaceAugmentation
from edgeharfer.training.emotion.blend import blend_faces
from edgeharfer.training.emotion.faces import NO_LABEL, Faces

LEFT, TOP = 0, 1


@pytest.fixture
def faces() -> Faces:
    """A face that is bright on the left and one that is bright at the top, aligned ones inverted."""
    pictures = np.zeros((2, 48, 48), np.uint8)
    pictures[LEFT, :, :24] = pictures[TOP, :24] = 200
    return Faces(["left", "top"], pictures, np.array([3, 4]), 200 - pictures)


@pytest.fixture
def still(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blend, "MOVED", FaceAugmentation(flip_probability=0, rotation_deg=0, zoom=0, shift=0))


def only(monkeypatch: pytest.MonkeyPatch, averaged: float, joined: float) -> None:
    monkeypatch.setattr(blend, "AVERAGED", averaged)
    monkeypatch.setattr(blend, "JOINED", joined)


def test_results_are_faces_without_labels(faces: Faces) -> None:
    found = blend_faces(faces, 50, 0.5, np.random.default_rng(0))
    assert found.pictures.shape == found.aligned.shape == (50, 48, 48)
    assert (found.labels == NO_LABEL).all()
    assert len({picture.tobytes() for picture in found.pictures}) > 45
    again = blend_faces(faces, 50, 0.5, np.random.default_rng(0))
    np.testing.assert_array_equal(found.pictures, again.pictures)


@pytest.mark.usefixtures("still")
def test_an_average_shows_both_faces(faces: Faces, monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, 1, 0)
    found = blend_faces(faces, 200, 0, np.random.default_rng(0)).pictures
    quarters = {tuple(np.unique(picture).tolist()) for picture in found}
    assert any(len(values) == 4 for values in quarters), "left and top with different weights"


@pytest.mark.usefixtures("still")
def test_a_joined_face_has_one_face_above_and_one_below(
    faces: Faces, monkeypatch: pytest.MonkeyPatch
) -> None:
    only(monkeypatch, 0, 1)
    chances = np.array([1.0, 0.0])
    for picture in blend_faces(faces, 50, 0, np.random.default_rng(0), chances).pictures.astype(int):
        across = picture[:, :24].mean(axis=1) - picture[:, 24:].mean(axis=1)
        assert abs(across[:12]).min() > 50
        assert abs(across[36:]).min() > 50
        changes = np.flatnonzero(np.diff(np.sign(across)))
        assert all(17 <= row <= 32 for row in changes)


@pytest.mark.usefixtures("still")
def test_faces_are_drawn_by_chance_aligned_and_mirrored(
    faces: Faces, monkeypatch: pytest.MonkeyPatch
) -> None:
    only(monkeypatch, 0, 0)
    chances = np.array([0.0, 1.0])
    as_given = blend_faces(faces, 40, 0, np.random.default_rng(0), chances).pictures.astype(int)
    assert (as_given[:, 0] > as_given[:, 47]).all()
    aligned = blend_faces(faces, 40, 1, np.random.default_rng(0), chances).pictures.astype(int)
    assert (aligned[:, 0] < aligned[:, 47]).all()
    sides = blend_faces(faces, 40, 0, np.random.default_rng(0), chances[::-1]).pictures.astype(int)
    bright_left = (sides[:, :, 0] > sides[:, :, 47]).all(axis=1)
    assert 5 < bright_left.sum() < 35
