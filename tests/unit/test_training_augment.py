"""Augmentation of faces: shapes and ranges, and mixing whose targets follow the pictures."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgeharfer.training.emotion.augment import FaceAugmentation, augment, cutmix, mix, mixup

NO_AUGMENTATION = FaceAugmentation(
    flip_probability=0, rotation_deg=0, zoom=0, shift=0, gamma=0, contrast=0, blur_probability=0,
    noise_probability=0, erase_probability=0, mixup_probability=0,
)  # fmt: skip

STRONG = FaceAugmentation(
    brightness=0.2,
    saturation=0.5,
    hue=20,
    blur_probability=1,
    noise_probability=1,
    erase_probability=1,
    low_resolution_probability=1,
    jpeg_probability=1,
    shading_probability=1,
)


def face(channels: int, side: int = 40) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (side, side + 8, channels), np.uint8)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_changed_copy_has_the_shape_of_the_picture(channels: int) -> None:
    picture = face(channels)
    changed = augment(picture, STRONG, np.random.default_rng(0))
    assert changed.shape == picture.shape
    assert changed.dtype == np.float32
    assert not np.allclose(changed, picture)
    assert -60 < changed.min() < changed.max() < 315


@pytest.mark.parametrize("channels", [1, 3])
def test_without_augmentation_the_picture_stays(channels: int) -> None:
    picture = face(channels)
    np.testing.assert_allclose(
        augment(picture, NO_AUGMENTATION, np.random.default_rng(0)), picture, atol=1e-3
    )


def test_hue_changes_colours_and_leaves_grey() -> None:
    how = replace(NO_AUGMENTATION, hue=90)
    gray = np.repeat(face(1), 3, axis=2)
    np.testing.assert_allclose(augment(gray, how, np.random.default_rng(0)), gray, atol=0.5)
    assert np.abs(augment(face(3), how, np.random.default_rng(0)) - face(3)).mean() > 5


def test_brightness_lifts_or_lowers_the_whole_picture() -> None:
    picture = np.full((8, 8, 1), 100, np.uint8)
    how = replace(NO_AUGMENTATION, brightness=0.2)
    values = {float(augment(picture, how, np.random.default_rng(seed)).mean()) for seed in range(20)}
    assert min(values) < 80 < 120 < max(values)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_distant_face_keeps_its_light_and_loses_its_detail(channels: int) -> None:
    picture = face(channels)
    how = replace(NO_AUGMENTATION, low_resolution_probability=1, low_resolution_side=5)
    changed = augment(picture, how, np.random.default_rng(0))
    assert changed.std() < 0.7 * picture.std()
    assert changed.mean() == pytest.approx(picture.mean(), abs=3)


@pytest.mark.parametrize("channels", [1, 3])
def test_compression_changes_a_face_little(channels: int) -> None:
    smooth = np.repeat(np.tile(np.arange(48, dtype=np.uint8) * 4, (48, 1))[..., None], channels, axis=2)
    changed = augment(smooth, replace(NO_AUGMENTATION, jpeg_probability=1), np.random.default_rng(0))
    assert 0 < np.abs(changed - smooth).mean() < 8


def test_light_from_one_side_changes_opposite_sides_in_opposite_ways() -> None:
    gray = np.full((9, 9, 1), 100, np.uint8)
    changed = augment(gray, replace(NO_AUGMENTATION, shading_probability=1), np.random.default_rng(0))
    np.testing.assert_allclose(changed + changed[::-1, ::-1], 200, atol=0.1)
    assert np.ptp(changed) > 1


def test_cutmix_gives_each_picture_its_share_of_the_target() -> None:
    x = np.arange(6, dtype=np.float32)[:, None, None, None] * np.ones((1, 20, 20, 1), np.float32)
    y = {"head": np.eye(6, dtype=np.float32)}
    cutmix(x, y, 1.0, np.random.default_rng(3))
    assert len(np.unique(x[0])) <= 2
    for picture, row in zip(x, y["head"], strict=True):
        shares = [(picture == label).mean() for label in range(6)]
        np.testing.assert_allclose(row, shares, atol=1e-6)
    assert (y["head"].max(axis=1) < 1).any()


def test_mixup_blends_pictures_and_targets_alike() -> None:
    x = np.arange(6, dtype=np.float32)[:, None, None, None] * np.ones((1, 4, 4, 1), np.float32)
    y = {"head": np.eye(6, dtype=np.float32)}
    mixup(x, y, 1.0, np.random.default_rng(3))
    np.testing.assert_allclose(y["head"] @ np.arange(6), x[:, 0, 0, 0], atol=1e-5)


@pytest.mark.parametrize(("mixups", "cutmixes"), [(1.0, 0.0), (0.0, 1.0), (0.0, 0.0)])
def test_a_batch_is_mixed_as_often_as_the_settings_say(mixups: float, cutmixes: float) -> None:
    how = replace(NO_AUGMENTATION, mixup_probability=mixups, cutmix_probability=cutmixes)
    x = np.random.default_rng(0).normal(size=(8, 12, 12, 1)).astype(np.float32)
    before, y = x.copy(), {"head": np.eye(8, dtype=np.float32)}
    mix(x, y, how, np.random.default_rng(5))
    assert np.array_equal(before, x) == (mixups == cutmixes == 0)
    np.testing.assert_allclose(y["head"].sum(axis=1), 1, atol=1e-6)
