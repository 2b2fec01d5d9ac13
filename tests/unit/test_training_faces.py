"""FER-2013 read from its three layouts, and cleaned of what stands on both sides of the split."""

from __future__ import annotations

import zipfile
from collections import Counter
from pathlib import Path

import cv2
import keras
import numpy as np
import pytest

from edgeharfer.runtime import SourceError
from edgeharfer.training.emotion.augment import FaceAugmentation, augment, erase, mixup
from edgeharfer.training.emotion.faces import FER7, Faces, read_faces, without_copies
from edgeharfer.training.losses import soft_cross_entropy


def picture(seed: int) -> np.ndarray:
    """A smooth picture of its own, so that near copies can be told from others."""
    small = np.random.default_rng(seed).integers(0, 255, (6, 6), dtype=np.uint8)
    return np.asarray(cv2.resize(small, (48, 48), interpolation=cv2.INTER_CUBIC), np.uint8)


def fer_folder(folder: Path) -> Path:
    seed = 0
    for split, count in (("train", 3), ("val", 1)):
        for label in FER7:
            (folder / split / label).mkdir(parents=True)
            for _ in range(count):
                cv2.imwrite(str(folder / split / label / f"fer{seed:07d}.png"), picture(seed))
                seed += 1
    return folder


def fer_zip(folder: Path, target: Path) -> Path:
    with zipfile.ZipFile(target, "w") as archive:
        for file in sorted(folder.rglob("*.png")):
            archive.write(file, file.relative_to(folder).as_posix())
    return target


def fer_csv(target: Path) -> Path:
    rows = ["emotion,pixels,Usage"]
    for usage, count in (("Training", 3), ("PublicTest", 1), ("PrivateTest", 1)):
        for label in range(7):
            for copy in range(count):
                pixels = " ".join(map(str, picture(100 * label + copy + len(usage)).ravel()))
                rows.append(f"{label},{pixels},{usage}")
    target.write_text("\n".join(rows) + "\n")
    return target


def faces(pictures: list[np.ndarray], labels: list[int]) -> Faces:
    stack = np.stack(pictures)
    return Faces([f"{i}.png" for i in range(len(stack))], stack, np.array(labels), stack)


def test_folder_zip_and_csv_are_read_alike(tmp_path: Path) -> None:
    folder = fer_folder(tmp_path / "fer")
    for path in (folder, fer_zip(folder, tmp_path / "fer.zip"), fer_csv(tmp_path / "fer2013.csv")):
        train, test = read_faces(path)
        assert (len(train), len(test)) == (21, 7)
        assert Counter(train.labels.tolist()) == dict.fromkeys(range(7), 3)
        assert train.pictures.shape == (21, 48, 48)
        assert all(name.startswith("fer") for name in train.names)


def test_unreadable_pictures_are_counted_and_skipped(tmp_path: Path) -> None:
    folder = fer_folder(tmp_path)
    (folder / "train" / "sad" / "broken.png").write_bytes(b"no picture")
    train, _ = read_faces(folder)
    assert len(train) == 21
    assert train.dropped == {"unreadable": 1}


def test_a_class_without_a_picture_is_an_error(tmp_path: Path) -> None:
    folder = fer_folder(tmp_path)
    for file in (folder / "train" / "fear").iterdir():
        file.unlink()
    with pytest.raises(SourceError, match="fear"):
        read_faces(folder)


def test_copies_blanks_and_conflicts_leave_the_training_set() -> None:
    held_out = faces([picture(1), picture(2)], [0, 1])
    brighter = np.clip(picture(2).astype(int) * 0.8 + 20, 0, 255).astype(np.uint8)
    train = faces(
        [picture(1), brighter, np.full((48, 48), 9, np.uint8),  # in the evaluation set twice, blank
         picture(3), picture(3), picture(4), picture(4), picture(5)],  # agreeing copies, conflicting ones
        [0, 1, 0, 2, 2, 3, 4, 5],
    )  # fmt: skip
    clean = without_copies(train, held_out)
    assert clean.names == ["3.png", "7.png"]
    assert clean.dropped == {
        "blank": 1, "also in the evaluation set": 2, "copies with conflicting labels": 2, "second copies": 1,
    }  # fmt: skip


def test_an_augmented_face_is_another_picture_of_the_same_kind() -> None:
    rng = np.random.default_rng(0)
    face = picture(7)
    copies = np.stack([augment(face, FaceAugmentation(), rng) for _ in range(200)])
    assert copies.shape == (200, 48, 48)
    assert copies.dtype == np.float32
    assert np.isfinite(copies).all()
    assert all(not np.array_equal(copy, face) for copy in copies)
    assert abs(float(copies.mean()) - float(face.mean())) < 20


def test_erasing_changes_one_rectangle_of_the_stated_size() -> None:
    rng = np.random.default_rng(0)
    face = np.random.default_rng(1).uniform(0, 255, (48, 48)).astype(np.float32)
    for _ in range(100):
        changed = erase(face, rng) != face
        rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
        area = (np.ptp(rows) + 1) * (np.ptp(columns) + 1)
        assert changed[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
        assert 0.02 < area / face.size < 0.23


def test_mixup_blends_pictures_and_targets_alike() -> None:
    rng = np.random.default_rng(0)
    x = np.arange(6, dtype=np.float32)[:, None, None, None] * np.ones((1, 2, 2, 1), np.float32)
    y = {"head": np.eye(6, dtype=np.float32)}
    mixup(x, y, 0.4, rng)
    np.testing.assert_allclose(y["head"].sum(axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(x[:, 0, 0, 0], y["head"] @ np.arange(6, dtype=np.float32), atol=1e-5)


def test_a_row_without_targets_moves_nothing() -> None:
    targets = np.array([[0.0, 0.0, 0.0], [0.2, 0.8, 0.0]], np.float32)
    logits = np.array([[1.0, 2.0, 3.0], [0.5, -0.5, 1.0]], np.float32)
    dense = keras.layers.Dense(3, use_bias=False, kernel_initializer="identity")
    model = keras.Sequential([keras.Input((3,)), dense])
    model.compile(keras.optimizers.SGD(1.0), soft_cross_entropy)
    expected = -(targets[1] * (logits[1] - np.log(np.exp(logits[1]).sum()))).sum() / 2
    assert float(model.train_on_batch(logits, targets)) == pytest.approx(expected, abs=1e-5)
    gradient = np.outer(logits[1], np.exp(logits[1]) / np.exp(logits[1]).sum() - targets[1]) / 2
    np.testing.assert_allclose(np.asarray(dense.kernel), np.eye(3) - gradient, atol=1e-5)
