"""`edgeharfer prepare`: pictures from FER-2013's csv, copies and damage listed, all of it or nothing."""

from __future__ import annotations

import csv
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from edgeharfer.cli.prepare import prepare as command
from edgeharfer.runtime import SinkError, SourceError
from edgeharfer.training import prepare as module
from edgeharfer.training.emotion.faces import read_splits
from edgeharfer.training.emotion.kaggle import FER7
from edgeharfer.training.prepare import prepare

USAGES = ("Training", "PublicTest", "PrivateTest")


def picture(seed: int) -> np.ndarray:
    small = np.random.default_rng(seed).integers(0, 255, (6, 6), dtype=np.uint8)
    return np.asarray(cv2.resize(small, (48, 48), interpolation=cv2.INTER_CUBIC), np.uint8)


def row(emotion: int, face: np.ndarray, usage: str = "Training") -> list[object]:
    return [emotion, " ".join(map(str, face.ravel())), usage]


def fer_csv(target: Path, extra: Sequence[Sequence[object]] = ()) -> Path:
    """Rows 0 to 20, a picture of each class for each usage, and then the extra ones."""
    rows = [
        row(label, picture(10 * i + label), usage) for i, usage in enumerate(USAGES) for label in range(7)
    ]
    with target.open("w", newline="") as file:
        csv.writer(file).writerows([["emotion", "pixels", "Usage"], *rows, *extra])
    return target


def listed(folder: Path) -> list[dict[str, str]]:
    with (folder / "copies.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def messy(tmp_path: Path) -> Path:
    """With a blank, an exact and a near copy of held-out pictures, a second copy, a conflict, bad rows."""
    near = np.clip(picture(11).astype(int) * 0.8 + 20, 0, 255).astype(np.uint8)
    return fer_csv(
        tmp_path / "fer2013.csv",
        [
            row(0, np.full((48, 48), 7, np.uint8)),  # 21: blank
            row(0, picture(10)),  # 22: the public test's first
            row(1, near),  # 23: nearly its second
            row(2, picture(2)),  # 24: row 2 again
            row(5, picture(3)),  # 25: row 3, under another label
            [4, "1 2 3", "Training"],  # 26
            row(9, picture(90)),  # 27: no such emotion
        ],
    )


def test_the_csv_becomes_pictures_that_read_back_alike(messy: Path, tmp_path: Path) -> None:
    prepare(messy, tmp_path / "out")
    from_csv, from_folder = read_splits(messy), read_splits(tmp_path / "out")
    for split in ("train", "val"):
        rows, files = from_csv[split], from_folder[split]
        order = [files.names.index(name) for name in rows.names]
        np.testing.assert_array_equal(rows.pictures, files.pictures[order])
        np.testing.assert_array_equal(rows.labels, files.labels[order])
    assert (tmp_path / "out" / "test" / "disgust" / "fer0000015.png").is_file()
    assert {file.name for file in (tmp_path / "out" / "train").iterdir()} == set(FER7)


def test_copies_are_listed_with_what_they_repeat(messy: Path, tmp_path: Path) -> None:
    prepare(messy, tmp_path / "out")
    found = [tuple(row.values()) for row in listed(tmp_path / "out")]
    assert found == [
        ("fer0000022.png", "train", "angry", "fer0000007.png", "val", "angry", "exact", "no"),
        ("fer0000023.png", "train", "disgust", "fer0000008.png", "val", "disgust", "near", "no"),
        ("fer0000024.png", "train", "fear", "fer0000002.png", "train", "fear", "exact", "no"),
        ("fer0000025.png", "train", "surprise", "fer0000003.png", "train", "happy", "exact", "yes"),
    ]


def test_the_report_counts_and_names(messy: Path, tmp_path: Path) -> None:
    facts: dict[str, Any] = prepare(messy, tmp_path / "out")
    assert facts == json.loads((tmp_path / "out" / "report.json").read_text())
    counts = dict(zip(FER7, (3, 2, 2, 1, 1, 2, 1), strict=True))
    assert facts["pictures"] == {
        "train": counts,
        "val": dict.fromkeys(FER7, 1),
        "test": dict.fromkeys(FER7, 1),
    }
    assert facts["unreadable"] == {
        "train": ["line 28: 3 pixel values instead of 2304", "line 29: emotion is '9', not 0 to 6"]
    }
    assert facts["blank"] == {"train": ["fer0000021.png"]}
    assert facts["copies"] == {"exact": 3, "near": 1, "across_splits": 2, "conflicting": 1}
    assert facts["training"] == {
        "kept": 6,
        "dropped": {"blank": 1, "also in the evaluation set": 2, "copies with conflicting labels": 2,
                    "second copies": 1},
    }  # fmt: skip


def test_a_person_is_told_what_was_found(messy: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(command, [str(messy), "--out", str(tmp_path / "out")])
    assert done.exit_code == 0
    assert "26 images: train 12, val 7, test 7" in done.output
    assert "2 damaged, skipped:\n  train line 28: 3 pixel values instead of 2304" in done.output
    assert "3 exact and 1 near duplicates, 2 across splits, 1 with conflicting labels" in done.output
    assert "left for training: 6" in done.output


def test_long_lists_are_cut_for_people(tmp_path: Path) -> None:
    lines: list[str] = []
    path = fer_csv(tmp_path / "fer2013.csv", [[4, "1 2 3", "Training"]] * 25)
    facts: dict[str, Any] = prepare(path, tmp_path / "out", report=lines.append)
    assert sum("3 pixel values" in line for line in lines) == 20
    assert "  and 5 more" in lines
    assert len(facts["unreadable"]["train"]) == 25


def test_a_folder_or_zip_is_looked_over_and_not_copied(messy: Path, tmp_path: Path) -> None:
    prepare(messy, tmp_path / "pictures")
    for file in ("copies.csv", "report.json"):
        (tmp_path / "pictures" / file).unlink()
    (tmp_path / "pictures" / "train" / "sad" / "broken.png").write_bytes(b"no picture")
    with zipfile.ZipFile(tmp_path / "pictures.zip", "w") as archive:
        for picture_file in sorted((tmp_path / "pictures").rglob("*.png")):
            archive.write(picture_file, picture_file.relative_to(tmp_path / "pictures").as_posix())
    for source in ("pictures", "pictures.zip"):
        facts: dict[str, Any] = prepare(tmp_path / source, tmp_path / f"{source}-report")
        assert {file.name for file in (tmp_path / f"{source}-report").iterdir()} == {
            "copies.csv",
            "report.json",
        }
        assert len(listed(tmp_path / f"{source}-report")) == 4
        assert facts["unreadable"] == {"train": ["train/sad/broken.png"]}
        assert facts["training"]["kept"] == 6


def test_pictures_get_the_names_of_the_votes(tmp_path: Path) -> None:
    header = "Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF"
    names = ["fer0000000.png", "", *(f"fer{number:07d}.png" for number in range(1, 20))]
    rows = [f"{USAGES[i // 7]},{name},10,0,0,0,0,0,0,0,0,0" for i, name in enumerate(names)]
    table = tmp_path / "votes.csv"
    table.write_text("\n".join([header, *rows]) + "\n")
    source = fer_csv(tmp_path / "fer2013.csv")
    facts: dict[str, Any] = prepare(source, tmp_path / "out", votes=table)
    assert (tmp_path / "out" / "train" / "disgust" / "fer9000001.png").is_file()
    assert (tmp_path / "out" / "train" / "fear" / "fer0000001.png").is_file()
    assert facts["ferplus"]["train"] == {"joined": 6, "agreement": None}
    table.write_text("\n".join([header, *rows[:-1]]) + "\n")
    with pytest.raises(SourceError, match="its 20 rows do not match those of"):
        prepare(source, tmp_path / "other", votes=table)
    assert not (tmp_path / "other").exists()


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    source = fer_csv(tmp_path / "fer2013.csv")
    (tmp_path / "empty").mkdir()
    prepare(source, tmp_path / "empty")
    before = sorted((tmp_path / "empty").rglob("*"))
    with pytest.raises(SinkError, match="exists and is not an empty folder: choose another --out"):
        prepare(source, tmp_path / "empty")
    assert sorted((tmp_path / "empty").rglob("*")) == before
    with pytest.raises(SinkError, match="choose another --out"):
        prepare(source, source)


def test_what_fails_half_way_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = fer_csv(tmp_path / "fer2013.csv")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "_write_duplicates", full)
    with pytest.raises(SinkError, match=r"cannot be written \(No space left on device\)"):
        prepare(source, tmp_path / "out")
    assert [file.name for file in tmp_path.iterdir()] == ["fer2013.csv"]


def test_data_without_one_good_picture_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "fer2013.csv"
    path.write_text("emotion,pixels,Usage\n0,1 2 3,Training\n")
    with pytest.raises(SourceError, match="contains no readable image"):
        prepare(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()
