"""FER-2013 read from its three layouts, its damage listed, and cleaned of what stands in several splits."""

from __future__ import annotations

import csv
import zipfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edgeharfer.evaluate import ferplus
from edgeharfer.runtime import SourceError
from edgeharfer.runtime.faces.detector import Detector
from edgeharfer.runtime.types import Box, Face
from edgeharfer.training.duplicates import DatasetEntry, find_duplicates
from edgeharfer.training.emotion.augment import random_erase
from edgeharfer.training.emotion.data import prepare_data
from edgeharfer.training.emotion.faces import (
    ExcludedImage,
    Faces,
    align_faces,
    check_votes,
    read_splits,
    without_duplicates,
)
from edgeharfer.training.emotion.kaggle import FER7
from tiny_faces import read_faces

FERPLUS = "Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF"
DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "fer2013" / "fer2013-train-val.zip"


def picture(seed: int) -> np.ndarray:
    """A smooth picture of its own, so that near copies can be told from others."""
    small = np.random.default_rng(seed).integers(0, 255, (6, 6), dtype=np.uint8)
    return np.asarray(cv2.resize(small, (48, 48), interpolation=cv2.INTER_CUBIC), np.uint8)


def darker(face: np.ndarray) -> np.ndarray:
    """A near copy."""
    return np.clip(face.astype(int) * 0.8 + 20, 0, 255).astype(np.uint8)


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


def fer_csv(target: Path, extra: Sequence[Sequence[object]] = ()) -> Path:
    """35 rows: 21 to learn from, 7 public ones, 7 private ones, and then the extra ones."""
    rows: list[Sequence[object]] = [["emotion", "pixels", "Usage"]]
    for usage, count in (("Training", 3), ("PublicTest", 1), ("PrivateTest", 1)):
        for label in range(7):
            rows += [[label, pixels(100 * label + copy + len(usage)), usage] for copy in range(count)]
    with target.open("w", newline="") as file:
        csv.writer(file).writerows([*rows, *extra])
    return target


def pixels(seed: int) -> str:
    return " ".join(map(str, picture(seed).ravel()))


def published_votes(
    target: Path, without_name: Sequence[int], skipped: Sequence[int], rows: int = 35
) -> Path:
    """A FER+ table of as many rows, some without a name, of which the numbers skip some."""
    usages = ["Training"] * 21 + ["PublicTest"] * 7 + ["PrivateTest"] * 7
    lines, number = [FERPLUS], 0
    for row in range(rows):
        name = "" if row in without_name else f"fer{number:07d}.png"
        lines.append(f"{usages[row]},{name},4,6,0,0,0,0,0,0,0,0")
        number += row not in skipped
    target.write_text("\n".join(lines) + "\n")
    return target


def faces(pictures: list[np.ndarray], labels: list[int]) -> Faces:
    stack = np.stack(pictures)
    return Faces([f"{i}.png" for i in range(len(stack))], stack, np.array(labels), stack)


class OneFace(Detector):
    """A detector that sees the same face in the middle of every picture."""

    provider = "none"

    def detect(self, bgr: np.ndarray, region: Any = None, *, close_up: bool = False) -> list[Face]:
        height, width = bgr.shape[:2]
        points = np.array([(0.4, 0.4), (0.6, 0.4), (0.5, 0.5), (0.5, 0.6), (0.3, 0.45), (0.7, 0.45)])
        box = Box(width * 0.25, height * 0.25, width * 0.5, height * 0.5)
        return [Face(box, 0.9, (points * (width, height)).astype(np.float32))]

    def warm_up(self) -> None:
        pass


def test_folder_zip_and_csv_are_read_alike(tmp_path: Path) -> None:
    folder = fer_folder(tmp_path / "fer")
    for path in (folder, fer_zip(folder, tmp_path / "fer.zip"), fer_csv(tmp_path / "fer2013.csv")):
        train, test = read_faces(path)
        assert (len(train), len(test)) == (21, 7)
        assert (train.split, test.split) == ("train", "val")
        assert Counter(train.labels.tolist()) == dict.fromkeys(range(7), 3)
        assert train.pictures.shape == (21, 48, 48)
        assert all(name.startswith("fer") for name in train.names)
    np.testing.assert_array_equal(read_faces(folder)[0].pictures[5], picture(5))


def test_the_usages_of_the_csv_are_its_splits(tmp_path: Path) -> None:
    splits = read_splits(fer_csv(tmp_path / "fer2013.csv"))
    assert list(splits) == ["train", "val", "test"]
    assert splits["test"].names[0] == "fer0000028.png"


def test_a_folder_without_a_split_to_score_on_is_an_error(tmp_path: Path) -> None:
    folder = fer_folder(tmp_path)
    (folder / "val").rename(folder / "other")
    with pytest.raises(SourceError, match=r"expected a split test .*; found 'other', 'train'"):
        read_faces(folder)


def test_what_is_damaged_is_named_and_skipped(tmp_path: Path) -> None:
    folder = fer_folder(tmp_path / "fer")
    jpeg = cv2.imencode(".jpg", picture(99))[1].tobytes()
    for name, content in {"a.png": b"no picture", "b.png": b"", "c.jpg": jpeg[: len(jpeg) // 2]}.items():
        (folder / "train" / "sad" / name).write_bytes(content)
    train, _ = read_faces(folder)
    assert len(train) == 21
    assert train.dropped == {"unreadable": 3}
    assert train.unreadable == ["train/sad/a.png", "train/sad/b.png", "train/sad/c.jpg"]


def test_a_file_that_is_damaged_inside_its_archive_is_named_and_skipped(tmp_path: Path) -> None:
    archive = fer_zip(fer_folder(tmp_path / "fer"), tmp_path / "fer.zip")
    content = bytearray(archive.read_bytes())
    start = content.index(b"fer0000004.png")
    content[start + 200] ^= 0xFF
    archive.write_bytes(content)
    train, _ = read_faces(archive)
    assert train.unreadable == ["train/disgust/fer0000004.png"]
    assert len(train) == 20


def test_other_classes_are_counted(tmp_path: Path) -> None:
    folder = fer_folder(tmp_path)
    (folder / "train" / "contempt").mkdir()
    cv2.imwrite(str(folder / "train" / "contempt" / "x.png"), picture(70))
    assert read_faces(folder)[0].dropped == {"class contempt": 1}


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        (["3", "1 2 3", "Training"], "3 pixel values instead of 2304"),
        (["3", "300 " * 2304, "Training"], "300"),
        (["3", "x " * 2304, "Training"], "x"),
        (["7", pixels(1), "Training"], "emotion is '7'"),
        (["", pixels(1), "Training"], "emotion is ''"),
        (["3", pixels(1), "Nowhere"], "Usage is 'Nowhere'"),
        (["3"], "Usage is ''"),
    ],
)
def test_damaged_rows_of_the_csv_are_named_by_line_and_skipped(
    row: list[str], fault: str, tmp_path: Path
) -> None:
    path = fer_csv(tmp_path / "fer2013.csv", [row, [0, pixels(5000), "Training"]])
    train, test = read_faces(path)
    assert (len(train), len(test)) == (22, 7)
    (told,) = train.unreadable
    assert told.startswith("line 37: ")
    assert fault in told
    assert train.names[-1] == "fer0000036.png"  # the damaged row keeps its number


@pytest.mark.parametrize("content", ["", "a,b\n1,2\n", FERPLUS + "\n"])
def test_another_csv_is_refused(content: str, tmp_path: Path) -> None:
    path = tmp_path / "fer2013.csv"
    path.write_text(content)
    with pytest.raises(SourceError, match=r"not FER-2013's csv \(emotion,pixels,Usage\): no column emotion"):
        read_faces(path)
    with pytest.raises(SourceError, match="cannot be read"):
        read_faces(tmp_path / "none.csv")


def test_a_class_without_a_picture_is_an_error(tmp_path: Path) -> None:
    folder = fer_folder(tmp_path)
    for file in (folder / "train" / "fear").iterdir():
        file.write_bytes(b"")
    with pytest.raises(SourceError, match="train: no image of class fear"):
        read_faces(folder)


def test_pictures_of_other_sizes_and_in_colour_become_grey_ones_of_48_pixels(tmp_path: Path) -> None:
    folder = fer_folder(tmp_path)
    red = np.zeros((100, 90, 3), np.uint8)
    red[..., 2] = 200
    cv2.imwrite(str(folder / "train" / "angry" / "aaa.png"), red)
    train, _ = read_faces(folder)
    assert train.pictures.shape == (22, 48, 48)
    assert train.pictures.dtype == np.uint8
    assert train.pictures[0][30, 30] == 60  # 0.299 of the red


def test_aligned_pictures_have_the_size_of_the_others(tmp_path: Path) -> None:
    train, _ = read_faces(fer_folder(tmp_path))
    whole = train.pictures.copy()
    assert align_faces(train, OneFace()) == 21
    assert train.aligned.shape == train.pictures.shape == whole.shape
    assert train.aligned.dtype == np.uint8
    assert not np.array_equal(train.aligned, whole)
    np.testing.assert_array_equal(train.pictures, whole)


def test_copies_blanks_and_conflicts_leave_the_training_set() -> None:
    held_out = faces([picture(1), picture(2)], [0, 1])
    train = faces(
        [picture(1), darker(picture(2)), np.full((48, 48), 9, np.uint8),  # in the evaluation set twice, blank
         picture(3), picture(3), picture(4), picture(4), picture(5)],  # agreeing copies, conflicting ones
        [0, 1, 0, 2, 2, 3, 4, 5],
    )  # fmt: skip
    clean = without_duplicates(train, held_out)
    assert clean.names == ["3.png", "7.png"]
    assert clean.dropped == {
        "blank": 1, "also in the evaluation set": 2, "copies with conflicting labels": 2, "second copies": 1,
    }  # fmt: skip
    assert clean.excluded == [
        ExcludedImage("2.png", "blank"),
        ExcludedImage("0.png", "also in the evaluation set", "0.png"),
        ExcludedImage("1.png", "also in the evaluation set", "1.png"),
        ExcludedImage("5.png", "copies with conflicting labels", "6.png"),
        ExcludedImage("6.png", "copies with conflicting labels", "5.png"),
        ExcludedImage("4.png", "second copies", "3.png"),
    ]


def test_what_stands_in_any_held_out_split_leaves_the_training_set() -> None:
    train = faces([picture(1), picture(2), picture(3)], [0, 1, 2])
    clean = without_duplicates(train, faces([picture(1)], [0]), faces([picture(3)], [2]))
    assert clean.names == ["1.png"]


def test_copies_in_colour_are_found_too() -> None:
    colored = [cv2.applyColorMap(picture(seed), cv2.COLORMAP_JET) for seed in (1, 2, 1)]
    clean = without_duplicates(faces(colored, [0, 1, 0]), faces([darker(colored[1])], [1]))
    assert clean.names == ["0.png"]


def test_every_copy_is_listed_once_with_the_first_that_it_repeats() -> None:
    stack = np.stack([picture(1), picture(2), picture(1), darker(picture(2)), picture(3), picture(1)])
    labels = ["sad", "happy", "sad", "angry", "fear", "happy"]
    entries = [DatasetEntry(f"{i}", "val" if i < 2 else "train", label) for i, label in enumerate(labels)]
    found = find_duplicates(entries, stack)
    assert [(copy.entry.name, copy.of.name, copy.kind, copy.conflict, copy.across) for copy in found] == [
        ("2", "0", "exact", False, True),
        ("3", "1", "near", True, True),
        ("5", "0", "exact", True, True),
    ]
    assert find_duplicates([], np.empty((0, 48, 48), np.uint8)) == []


def test_near_copies_are_found_across_the_blocks_that_are_compared_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("edgeharfer.training.duplicates._BLOCK", 3)
    stack = np.stack([*map(picture, range(7)), darker(picture(1)), darker(picture(6))])
    found = find_duplicates([DatasetEntry(f"{i}", "train", "sad") for i in range(9)], stack)
    assert [(copy.entry.name, copy.of.name) for copy in found] == [("7", "1"), ("8", "6")]


def test_rows_are_named_as_the_published_votes_name_them(tmp_path: Path) -> None:
    path = fer_csv(tmp_path / "fer2013.csv")
    table = published_votes(tmp_path / "votes.csv", without_name=[2, 5], skipped=[5])
    names = [name for split in read_splits(path, votes=table).values() for name in split.names]
    assert names[:8] == [
        "fer0000000.png", "fer0000001.png", "fer9000002.png", "fer0000003.png", "fer0000004.png",
        "fer9000005.png", "fer0000005.png", "fer0000006.png",
    ]  # fmt: skip
    assert set(ferplus.read_votes(table)) == {name for name in names if not name.startswith("fer9")}


def test_votes_that_number_pictures_by_row_leave_the_names_as_they_are(tmp_path: Path) -> None:
    table = tmp_path / "votes.csv"
    table.write_text(f"{FERPLUS}\nTraining,fer0000007.png,4,6,0,0,0,0,0,0,0,0\n")
    train, _ = read_faces(fer_csv(tmp_path / "fer2013.csv"), votes=table)
    assert train.names[:2] == ["fer0000000.png", "fer0000001.png"]


def test_votes_for_other_rows_are_refused(tmp_path: Path) -> None:
    path = fer_csv(tmp_path / "fer2013.csv")
    short = published_votes(tmp_path / "votes.csv", without_name=[2], skipped=[], rows=30)
    with pytest.raises(SourceError, match=r"its 30 rows do not match those of .* \(35 rows\)"):
        read_splits(path, votes=short)


def test_a_damaged_row_does_not_keep_the_votes_from_naming_the_others(tmp_path: Path) -> None:
    path = fer_csv(tmp_path / "fer2013.csv")
    lines = path.read_text().splitlines()
    lines[2] = lines[2].replace("Training", "Tr")
    path.write_text("\n".join(lines) + "\n")
    table = published_votes(tmp_path / "votes.csv", without_name=[4], skipped=[4])
    train, _ = read_faces(path, votes=table)
    assert train.names[:4] == ["fer0000000.png", "fer0000002.png", "fer0000003.png", "fer9000004.png"]
    assert train.unreadable == ["line 3: Usage is 'Tr', not one of Training, PublicTest, PrivateTest"]


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("../../x.png", "is not a valid image name"),
        ("x", "is not a valid image name"),
        ("fer0000000.png", "repeated image name"),
    ],
)
def test_odd_names_in_the_votes_are_refused(name: str, fault: str, tmp_path: Path) -> None:
    table = published_votes(tmp_path / "votes.csv", without_name=[2], skipped=[])
    table.write_text(table.read_text().replace("fer0000003.png", name))
    with pytest.raises(SourceError, match=fault):
        read_splits(fer_csv(tmp_path / "fer2013.csv"), votes=table)


def test_votes_that_belong_to_other_pictures_are_noticed() -> None:
    labels = [i % 7 for i in range(140)]
    some = faces([picture(1)] * 140, labels)
    right = {
        name: 10 * np.eye(10, dtype=np.float32)[label] for name, label in zip(some.names, labels, strict=True)
    }
    assert check_votes(some, right) == 1.0
    shifted = {f"{i}.png": right[f"{(i + 1) % 140}.png"] for i in range(140)}
    with pytest.raises(SourceError, match=r"agree with only 0% of the labels.*edgeharfer prepare"):
        check_votes(some, shifted)
    assert check_votes(some, {"3.png": right["3.png"]}) is None


def test_erasing_changes_one_rectangle_of_the_stated_size() -> None:
    rng = np.random.default_rng(0)
    face = np.random.default_rng(1).uniform(0, 255, (48, 48)).astype(np.float32)
    for _ in range(100):
        changed = random_erase(face, 0.2, rng) != face
        rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
        area = (np.ptp(rows) + 1) * (np.ptp(columns) + 1)
        assert changed[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
        assert 0.02 < area / face.size < 0.23


@pytest.mark.soak
@pytest.mark.data
def test_what_the_shipped_models_learned_from() -> None:
    if not DATA.exists():
        pytest.skip("FER-2013 is not here: it is not part of the repository")
    clean = without_duplicates(*read_faces(DATA))
    assert len(clean) == 27133
    assert clean.dropped == {
        "blank": 11, "also in the evaluation set": 385, "copies with conflicting labels": 83,
        "second copies": 1097,
    }  # fmt: skip


def test_a_limit_draws_the_images_before_faces_are_aligned(tmp_path: Path) -> None:
    folder, lines, looks = fer_folder(tmp_path / "fer"), list[str](), list[None]()

    class Counting(OneFace):
        def detect(self, *args: Any, **options: Any) -> list[Face]:
            looks.append(None)
            return super().detect(*args, **options)

    options: Any = {"validation_share": 0.25, "seed": 1, "report": lines.append}
    whole = prepare_data(folder, None, Counting(), **options)
    looks_of_whole = len(looks)
    looks.clear()
    some = prepare_data(folder, None, Counting(), limit=4, **options)
    assert (len(whole.train), len(some.train), len(some.validation), len(some.test)) == (16, 4, 5, 7)
    assert len(looks) / looks_of_whole == (4 + 5 + 7) / (16 + 5 + 7)
    assert lines[-1] == "faces aligned: 4 of 4 training, 5 of 5 held-out and 7 of 7 evaluation images"
    places = [whole.train.names.index(name) for name in some.train.names]
    assert np.array_equal(some.train.aligned, whole.train.aligned[places])
