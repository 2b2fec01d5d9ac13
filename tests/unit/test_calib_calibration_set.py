"""Which items a model is calibrated on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tiny_patterns
from edgeharfer.calib import open_calibration_source
from edgeharfer.calib.calibration_set import read_calibration_set, shuffled, take_balanced
from edgeharfer.calib.data import floats
from edgeharfer.runtime.errors import ConfigError, EdgeharferError, ModelError, SourceError
from edgeharfer.runtime.inference.package import Package
from edgeharfer.runtime.inference.preprocess import preprocess_images
from edgeharfer.runtime.source.decode import decode_image


@pytest.mark.parametrize(
    ("sizes", "wanted", "chosen"),
    [
        ({"a": 9, "b": 9}, 6, {"a": 3, "b": 3}),
        ({"a": 9, "b": 9}, 5, {"a": 3, "b": 3}),
        ({"a": 9, "b": 1, "c": 9}, 9, {"a": 4, "b": 1, "c": 4}),
        ({"a": 2, "b": 1}, 500, {"a": 2, "b": 1}),
        ({"a": 0, "b": 3}, 2, {"a": 0, "b": 2}),
    ],
)
def test_all_classes_give_alike(sizes: dict[str, int], wanted: int, chosen: dict[str, int]) -> None:
    found = take_balanced({label: range(size) for label, size in sizes.items()}, wanted)
    assert {label: len(items) for label, items in found.items()} == chosen


def test_only_the_seed_decides_the_order() -> None:
    items = list(range(50))
    assert shuffled(items, 1) == shuffled(items, 1) != shuffled(items, 2)
    assert sorted(shuffled(items, 1)) == items


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    return tiny_patterns.write_pictures(tmp_path / "data", {"train": 9, "val": 4})


@pytest.fixture
def package(tmp_path: Path) -> Package:
    return tiny_patterns.picture_package(tmp_path / "package")


def test_pictures_come_from_the_training_split_and_as_the_runtime_prepares_them(
    pictures: Path, package: Package
) -> None:
    calibration = open_calibration_source(package.manifest, pictures).calibration(20, seed=1)
    assert {label: len(items) for label, items in calibration.chosen.items.items()} == dict.fromkeys(
        tiny_patterns.CLASSES, 5
    )
    originals = [decode_image(path.read_bytes(), "x") for path in pictures.glob("train/*/*.png")]
    prepared = preprocess_images(originals, package.manifest.input)
    given = floats(calibration.pictures, package.manifest)
    assert {one.tobytes() for one in given} <= {one.tobytes() for one in prepared}


def test_a_set_is_stored_as_hashes_and_found_again(tmp_path: Path, pictures: Path, package: Package) -> None:
    material = open_calibration_source(package.manifest, pictures)
    first = material.calibration(12, seed=3)
    (tmp_path / "set.json").write_text(first.chosen.dump())
    stored = read_calibration_set(tmp_path / "set.json")
    assert stored == first.chosen
    assert stored.sha256 == first.chosen.sha256
    assert ".png" not in first.chosen.dump()
    again = material.stored_calibration(stored)
    np.testing.assert_array_equal(again.pictures, first.pictures)
    assert material.calibration(12, seed=4).chosen != stored


def test_copies_count_once(tmp_path: Path, package: Package) -> None:
    data = tiny_patterns.write_pictures(tmp_path / "data", {"train": 3})
    for path in sorted(data.glob("train/*/0.png")):
        (path.parent / "copy.png").write_bytes(path.read_bytes())
    assert len(open_calibration_source(package.manifest, data).calibration(100, seed=1).chosen) == 12


def test_frames_come_from_many_clips_and_windows_beside_them(tmp_path: Path) -> None:
    package = tiny_patterns.clip_package(tmp_path / "package")
    data = tiny_patterns.write_clips(tmp_path / "clips", clips=3)
    material = open_calibration_source(package.manifest, data)
    calibration = material.calibration(40, seed=1)
    assert len(calibration.chosen) == len(calibration.pictures) >= 40
    clips = {item.partition("@")[0] for items in calibration.chosen.items.values() for item in items}
    assert len(clips) == 12
    assert calibration.windows is not None
    assert calibration.windows.shape == (12, 4, 24, 24, 3)
    again = material.stored_calibration(calibration.chosen)
    assert {one.tobytes() for one in again.pictures} == {one.tobytes() for one in calibration.pictures}


def test_all_windows_of_clips_are_judged(tmp_path: Path) -> None:
    package = tiny_patterns.clip_package(tmp_path / "package")
    data = tiny_patterns.write_clips(tmp_path / "clips", clips=1)
    (data / "down" / "broken.avi").write_bytes(b"no video")
    found = open_calibration_source(package.manifest, data).evaluation(tmp_path)
    assert found.truth.tolist() == [0, 1, 2, 3]
    assert found.windows is not None and found.owners is not None
    assert found.windows.shape == (len(found.owners), 4)
    assert found.windows.max() == len(found.pictures) - 1
    assert set(found.owners.tolist()) == {0, 1, 2, 3}


# Bad input --------------------------------------------------------------------------------------


def refused(error: type[EdgeharferError], message: str, call: Any) -> None:
    with pytest.raises(error, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_a_folder_without_pictures(tmp_path: Path, package: Package) -> None:
    (tmp_path / "empty").mkdir()
    refused(
        SourceError, "empty: no .*png", lambda: open_calibration_source(package.manifest, tmp_path / "empty")
    )
    refused(
        SourceError, "absent: no such", lambda: open_calibration_source(package.manifest, tmp_path / "absent")
    )


def test_the_wrong_classes(tmp_path: Path, package: Package) -> None:
    data = tiny_patterns.write_pictures(tmp_path / "data", {"train": 1})
    for folder in list((data / "train").iterdir()):
        folder.rename(folder.with_name(f"not-{folder.name}"))
    message = "none of its classes is a class of the model: across, down"
    refused(SourceError, message, lambda: open_calibration_source(package.manifest, data).calibration(9, 1))


def test_pictures_that_cannot_be_read(tmp_path: Path, package: Package) -> None:
    data = tiny_patterns.write_pictures(tmp_path / "data", {"train": 1})
    for path in data.glob("train/*/*.png"):
        path.write_bytes(b"no picture")
    refused(
        SourceError,
        "none of its images can be read",
        lambda: open_calibration_source(package.manifest, data).calibration(9, 1),
    )


def test_no_training_split(tmp_path: Path, package: Package) -> None:
    data = tiny_patterns.write_pictures(tmp_path / "data", {"test": 1, "val": 1})
    refused(
        SourceError,
        "no training split to calibrate on, only test, val",
        lambda: open_calibration_source(package.manifest, data).calibration(9, 1),
    )


def test_a_stored_set_for_another_model_or_other_data(
    tmp_path: Path, pictures: Path, package: Package
) -> None:
    chosen = open_calibration_source(package.manifest, pictures).calibration(12, seed=3).chosen
    other = tiny_patterns.write_pictures(tmp_path / "other", {"train": 3}, seed=9)
    refused(
        ConfigError,
        "12 of the calibration set's 12 files are missing",
        lambda: open_calibration_source(package.manifest, other).stored_calibration(chosen),
    )
    clips = tiny_patterns.clip_package(tmp_path / "clips")
    refused(ConfigError, "is for the task emotion", lambda: chosen.check(clips.manifest))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not valid JSON"),
        ("[]", "must be an object"),
        ('{"format": 1}', "key input is missing"),
        (
            json.dumps({"format": 2, "task": "emotion", "input": {}, "seed": 1, "items": {}}),
            "format: must be an integer from 1 to 1",
        ),
        (
            json.dumps({"format": 1, "task": "emotion", "input": {}, "seed": 1, "items": {"a": ["../x"]}}),
            r"items.a\[0\]: must be a SHA-256",
        ),
    ],
)
def test_a_damaged_set(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "set.json").write_text(text)
    refused(
        ModelError,
        f"set.json: .*{message}",
        lambda: read_calibration_set(tmp_path / "set.json"),
    )
