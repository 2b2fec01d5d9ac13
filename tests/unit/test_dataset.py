"""Labelled files in folders and zips: splits, classes, names that data sets use for one class."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from edgeharfer.evaluate.dataset import Dataset, match_labels
from edgeharfer.runtime import SourceError


def make(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return folder


def zipped(folder: Path, target: Path, inside: str = "") -> Path:
    with zipfile.ZipFile(target, "w") as archive:
        for file in sorted(folder.rglob("*.*")):
            archive.write(file, inside + file.relative_to(folder).as_posix())
    return target


def test_classes_at_the_top(tmp_path: Path) -> None:
    data = Dataset(make(tmp_path, "happy/a.png", "sad/b.jpg", "sad/notes.txt"))
    assert [(s.split, s.label, s.file) for s in data.split()] == [
        ("", "happy", "a.png"),
        ("", "sad", "b.jpg"),
    ]


def test_links_to_folders_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    elsewhere = make(tmp_path / "elsewhere", "a.png", "b.png")
    data = make(tmp_path / "data", "sad/c.png")
    (data / "happy").symlink_to(elsewhere)
    (data / "sad" / "back").symlink_to(data)
    found = {(sample.label, sample.file) for sample in Dataset(data).split()}
    assert found == {("happy", "a.png"), ("happy", "b.png"), ("sad", "c.png")}


@pytest.mark.parametrize("inside", ["", "fer2013/"])
def test_a_zip_is_read_like_a_folder(tmp_path: Path, inside: str) -> None:
    folder = make(tmp_path / "data", "train/happy/a.png", "val/happy/b.png")
    data = Dataset(zipped(folder, tmp_path / "data.zip", inside))
    assert data.splits == ["train", "val"]
    (sample,) = data.split("val")
    assert data.read(sample) == b"val/happy/b.png"
    with data.local_file(sample, tmp_path) as path:
        assert path.read_bytes() == b"val/happy/b.png"
    assert not path.exists()


@pytest.mark.parametrize(
    ("splits", "chosen"),
    [(["train", "val"], "val"), (["train", "val", "test"], "test"), (["Train", "PublicTest"], "PublicTest")],
)
def test_the_split_to_measure_on_is_never_the_training_split(
    tmp_path: Path, splits: list[str], chosen: str
) -> None:
    data = Dataset(make(tmp_path, *(f"{split}/happy/a.png" for split in splits)))
    assert {sample.split for sample in data.split()} == {chosen}


def test_where_no_split_is_for_testing_one_must_be_named(tmp_path: Path) -> None:
    data = Dataset(make(tmp_path, "train/happy/a.png", "more/happy/b.png"))
    with pytest.raises(SourceError, match="--split"):
        data.split()
    with pytest.raises(SourceError, match="no split 'none'"):
        data.split("none")


def test_names_of_one_class_are_joined_and_unknown_classes_counted(tmp_path: Path) -> None:
    data = Dataset(make(tmp_path, "Happiness/a.png", "anger/b.png", "bored/c.png", "bored/d.png"))
    pairs, left_out = match_labels(data.split(), ("angry", "happy", "neutral"))
    assert [(sample.label, index) for sample, index in pairs] == [("Happiness", 1), ("anger", 0)]
    assert left_out == {"bored": 2}


def test_what_holds_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no such file"):
        Dataset(tmp_path / "missing")
    with pytest.raises(SourceError, match="<class>/<file>"):
        Dataset(make(tmp_path / "flat", "a.png"))
    (tmp_path / "broken.zip").write_bytes(b"PK this is no archive")
    with pytest.raises(SourceError, match="readable zip"):
        Dataset(tmp_path / "broken.zip")
