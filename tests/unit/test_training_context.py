"""EMOTIC and MPII read from files of their published layouts, and the table of emotions and actions."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from edgeharfer.cli.train_context import context as command
from edgeharfer.evaluate.ferplus import LABELS
from edgeharfer.runtime import ConfigError, SinkError, SourceError
from edgeharfer.training.context.emotic import EMOTION_OF_CATEGORY, AnnotatedPerson, read_emotic
from edgeharfer.training.context.mpii import Activity, read_mpii
from edgeharfer.training.context.table import build_context, read_pairs, write_context

EMPTY = np.zeros((0, 0))


def structs(rows: Sequence[Mapping[str, object]]) -> np.ndarray:
    """A 1xn struct array, as MATLAB keeps it."""
    array = np.empty((1, len(rows)), [(name, "O") for name in rows[0]] if rows else [("none", "O")])
    for i, row in enumerate(rows):
        array[0, i] = tuple(row.values())
    return array


def cells(*values: object) -> np.ndarray:
    """A 1xn cell array."""
    array = np.empty((1, len(values)), object)
    array[0, :] = values
    return array


def feelings() -> dict[str, object]:
    return {
        "worker_id": "A3C8KN9",
        "work_time": 361,
        "batch_id": 128,
        "valence": 8,
        "arousal": 4,
        "dominance": 7,
    }


def train_person(*categories: str) -> dict[str, object]:
    """One annotator."""
    said = {"worker_id": "AHI8X7N", "work_time": 511, "batch_id": 2, "categories": cells(*categories)}
    return {
        "body_bbox": np.array([[86.0, 58, 564, 628]]),
        "annotations_categories": structs([said]),
        "annotations_continuous": structs([feelings()]),
        "gender": "Male",
        "age": "Adult",
    }


def val_person(*annotators: Sequence[str]) -> dict[str, object]:
    """Several annotators, and all that they said together."""
    joined = sorted({category for categories in annotators for category in categories})
    return {
        "body_bbox": np.array([[10.0, 20, 30, 40]]),
        "annotations_categories": structs([{"categories": cells(*said)} for said in annotators]),
        "combined_categories": cells(*joined),
        "annotations_continuous": structs([feelings() for _ in annotators]),
        "combined_continuous": structs([feelings()]),
        "gender": "Female",
        "age": "Teenager",
    }


def scene(folder: str, filename: str, *people: Mapping[str, object]) -> dict[str, object]:
    return {
        "filename": filename,
        "folder": folder,
        "image_size": structs([{"n_col": 640, "n_row": 640}]),
        "original_database": structs(
            [{"name": folder.split("/")[0], "info": structs([{"image_id": 562243}])}]
        ),
        "person": structs(people),
    }


def emotic_mat(path: Path, **splits: Sequence[Mapping[str, object]]) -> Path:
    io = pytest.importorskip("scipy.io")
    variables = {split: structs(images) for split, images in splits.items()}
    io.savemat(path, variables, do_compression=True)
    return path


def mpii_mat(path: Path, *acts: tuple[str, str, str]) -> Path:
    """Pictures with name, activity and category; without the latter two as for the test pictures."""
    io = pytest.importorskip("scipy.io")
    pictures, activities = [], []
    for number, (name, activity, category) in enumerate(acts):
        rect = {"scale": 3.88, "objpos": structs([{"x": 594, "y": 257}])}
        pictures.append({
            "image": structs([{"name": name}]),
            "annorect": structs([rect] * (number % 3)) if number % 3 else EMPTY,
            "frame_sec": EMPTY if not category else 11.0,
            "vididx": EMPTY if not category else 1660.0,
        })  # fmt: skip
        activities.append({
            "cat_name": category or EMPTY, "act_name": activity or EMPTY, "act_id": 1 if category else -1
        })  # fmt: skip
    persons = np.empty((len(acts), 1), object)
    persons[:] = np.ones((1, 1))
    release = {
        "annolist": structs(pictures),
        "img_train": np.ones((1, len(acts)), np.uint8),
        "version": "12",
        "single_person": persons,
        "act": structs(activities).T,
        "video_list": cells("uniyAZOGS9M", "Q6gpZ9ZGKGM"),
    }
    io.savemat(path, {"RELEASE": structs([release])}, do_compression=True)
    return path


def table(path: Path, header: Sequence[str], *rows: Sequence[object]) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def emotic_csv(path: Path, *people: tuple[str, str, object]) -> Path:
    header = ["Index", "Folder", "Filename", "Image Size", "BBox", "Categorical_Labels", "Continuous_Labels",
              "Gender", "Age"]  # fmt: skip
    rows = [[i, folder, name, [640, 480], [1, 2, 3, 4], labels, [5.0, 6, 7], "Male", "Adult"]
            for i, (folder, name, labels) in enumerate(people)]  # fmt: skip
    return table(path, header, *rows)


def test_emotic_is_read_with_one_annotator_and_with_several(tmp_path: Path) -> None:
    path = emotic_mat(
        tmp_path / "Annotations.mat",
        train=[
            scene(
                "mscoco/images",
                "COCO_val2014_000000562243.jpg",
                train_person("Disconnection", "Doubt/Confusion"),
            ),
            scene("emodb_small/images", "1a9.jpg", train_person("Anger"), train_person("Fear", "Surprise")),
        ],
        val=[scene("ade20k/images", "x.jpg", val_person(["Happiness"], ["Happiness", "Pleasure"]))],
        test=[scene("framesdb/images", "frame_1.jpg", val_person(["Peace"]))],
    )
    assert read_emotic(path) == [
        AnnotatedPerson("mscoco/images/COCO_val2014_000000562243.jpg", ("Disconnection", "Doubt/Confusion")),
        AnnotatedPerson("emodb_small/images/1a9.jpg", ("Anger",)),
        AnnotatedPerson("emodb_small/images/1a9.jpg", ("Fear", "Surprise")),
        AnnotatedPerson("ade20k/images/x.jpg", ("Happiness", "Pleasure")),
        AnnotatedPerson("framesdb/images/frame_1.jpg", ("Peace",)),
    ]


def test_emotic_is_read_from_csv(tmp_path: Path) -> None:
    path = emotic_csv(
        tmp_path / "train.csv",
        ("mscoco/images", "a.jpg", ["Engagement", "Sadness"]),
        ("ade20k/images", "b.jpg", []),
    )
    assert read_emotic(path) == [
        AnnotatedPerson("mscoco/images/a.jpg", ("Engagement", "Sadness")),
        AnnotatedPerson("ade20k/images/b.jpg", ()),
    ]


def test_every_category_maps_to_an_emotion_or_to_none() -> None:
    assert len(EMOTION_OF_CATEGORY) == 26
    assert {emotion for emotion in EMOTION_OF_CATEGORY.values() if emotion} == set(LABELS)


@pytest.mark.parametrize(
    ("categories", "shares"),
    [
        (("Anger",), {"angry": 1}),
        (("Affection", "Happiness", "Sadness"), {"happy": 2 / 3, "sad": 1 / 3}),
        (("Engagement", "Happiness"), {"happy": 1}),  # attention shows nothing of its own
        (("Engagement", "Anticipation"), {"neutral": 1}),
        (("Engagement", "Peace"), {"neutral": 1}),
        (("Anticipation", "Yearning"), {}),
        ((), {}),
    ],
)
def test_a_person_is_shared_out_among_the_emotions(
    categories: tuple[str, ...], shares: dict[str, float]
) -> None:
    expected = [shares.get(label, 0) for label in LABELS]
    np.testing.assert_allclose(AnnotatedPerson("a.jpg", categories).shares(), expected)


def test_mpii_is_read_without_the_pictures_whose_activity_is_withheld(tmp_path: Path) -> None:
    path = mpii_mat(
        tmp_path / "mpii_human_pose_v1_u12_1.mat",
        ("037454012.jpg", "", ""),
        ("015601864.jpg", "curling", "winter activities"),
        ("015599452.jpg", "running, stairs, up", "running"),
        ("005808361.jpg", "", ""),
    )
    assert read_mpii(path) == [
        Activity("015601864.jpg", "curling", "winter activities"),
        Activity("015599452.jpg", "running, stairs, up", "running"),
    ]


@pytest.mark.parametrize("name", ["NAME", "image"])
def test_mpii_is_read_from_csv_a_picture_once(name: str, tmp_path: Path) -> None:
    header = [name, "r ankle_X", "r ankle_Y", "Scale", "Activity", "Category"]
    path = table(
        tmp_path / "mpii.csv",
        header,
        ["1.jpg", 804, 711, 4.7, "curling", "winter activities"],
        ["1.jpg", 317, 412, 3.1, "curling", "winter activities"],
        ["2.jpg", -1, -1, 2.0, "", ""],
    )
    assert read_mpii(path) == [Activity("1.jpg", "curling", "winter activities")]


def test_one_picture_and_one_person_are_read_too(tmp_path: Path) -> None:
    emotic = emotic_mat(tmp_path / "a.mat", train=[scene("mscoco/images", "a.jpg", train_person("Fear"))])
    assert read_emotic(emotic) == [AnnotatedPerson("mscoco/images/a.jpg", ("Fear",))]
    mpii = mpii_mat(tmp_path / "m.mat", ("a.jpg", "yoga, Power", "conditioning exercise"))
    assert read_mpii(mpii) == [Activity("a.jpg", "yoga, Power", "conditioning exercise")]


def test_pictures_that_both_name_are_counted_together(tmp_path: Path) -> None:
    emotic = emotic_csv(
        tmp_path / "train.csv",
        ("mscoco/images", "1.jpg", ["Anger"]),
        ("mscoco/images", "1.jpg", ["Happiness", "Surprise"]),
        ("mscoco/images", "2.jpg", ["Yearning"]),
        ("mscoco/images", "only-emotic.jpg", ["Fear"]),
    )
    mpii = table(
        tmp_path / "mpii.csv",
        ["image", "activity", "category"],
        ["1.jpg", "soccer", "sports"], ["2.jpg", "soccer", "sports"], ["3.jpg", "ballet", "dancing"],
    )  # fmt: skip
    found = build_context([emotic], mpii)
    assert found.actions == ("sports",)
    assert dict(zip(LABELS, found.counts[:, 0].tolist(), strict=True)) == {
        **dict.fromkeys(LABELS, 0), "angry": 1, "happy": 0.5, "surprise": 0.5
    }  # fmt: skip
    assert found.source["relation"] == "joint"
    assert found.source["people_joined"] == 2
    assert found.source["people"] == 4
    assert found.source["people_with_emotion"] == 3


def test_without_a_shared_picture_emotions_and_activities_are_independent(tmp_path: Path) -> None:
    emotic = [
        emotic_csv(tmp_path / f"{split}.csv", ("mscoco/images", f"{split}.jpg", labels))
        for split, labels in (
            ("train", ["Anger"]),
            ("val", ["Happiness"]),
            ("test", ["Pleasure", "Affection"]),
        )
    ]
    mpii = mpii_mat(
        tmp_path / "m.mat", ("1.jpg", "a", "sports"), ("2.jpg", "b", "sports"), ("3.jpg", "c", "dancing")
    )
    found = build_context(emotic, mpii)
    assert found.source["relation"] == "independent"
    assert found.actions == ("dancing", "sports")
    assert found.counts.sum() == pytest.approx(3)
    np.testing.assert_allclose(found.counts.sum(axis=0), [1, 2])
    np.testing.assert_allclose(found.counts[LABELS.index("happy")], [2 / 3, 4 / 3])
    shares = found.counts[found.counts.any(axis=1)]
    np.testing.assert_allclose(shares / shares.sum(axis=1, keepdims=True), [[1 / 3, 2 / 3]] * 2)


def test_pairs_of_ones_own_are_counted(tmp_path: Path) -> None:
    path = table(
        tmp_path / "pairs.csv",
        ["Image", "Emotion", "Action"],
        ["1.jpg", "happy", "dancing"], ["1.jpg", "Happiness", "dancing"], ["2.jpg", "anger", "reading"],
    )  # fmt: skip
    found = build_context(pairs=path)
    assert found.actions == ("dancing", "reading")
    assert found.counts[LABELS.index("happy")].tolist() == [2, 0]
    assert found.counts[LABELS.index("angry")].tolist() == [0, 1]
    assert found.counts.sum() == 3


def test_the_file_is_strict_json_with_all_that_a_reader_needs(tmp_path: Path) -> None:
    pairs = table(tmp_path / "pairs.csv", ["image", "emotion", "action"], ["1.jpg", "sad", "wartet – müde"])
    write_context(build_context(pairs=pairs, smoothing=0.5), tmp_path / "context.json")
    content = json.loads((tmp_path / "context.json").read_text(encoding="utf-8"))
    assert content.keys() == {"format", "emotions", "actions", "counts", "smoothing", "source"}
    assert content["format"] == 1
    assert content["emotions"] == list(LABELS)
    assert content["actions"] == ["wartet – müde"]
    assert content["counts"] == [[float(label == "sad")] for label in LABELS]
    assert content["smoothing"] == 0.5
    assert content["source"]["files"][0].keys() == {"name", "sha256"}
    with pytest.raises(SinkError, match="cannot be written"):
        write_context(build_context(pairs=pairs), tmp_path / "none" / "context.json")
    assert {file.name for file in tmp_path.iterdir()} == {"pairs.csv", "context.json"}


def test_the_command_writes_the_table_and_says_how_it_came_about(tmp_path: Path) -> None:
    emotic = emotic_csv(tmp_path / "train.csv", ("mscoco/images", "1.jpg", ["Anger"]))
    mpii = table(tmp_path / "mpii.csv", ["image", "activity", "category"], ["2.jpg", "soccer", "sports"])
    out = tmp_path / "context.json"
    options = ["--emotic", str(emotic), "--mpii", str(mpii), "--out", str(out)]
    done = CliRunner().invoke(command, options)
    assert done.exit_code == 0
    assert done.output.startswith("1 actions, 1 people counted, independent\nno image has both")
    assert json.loads(out.read_text())["actions"] == ["sports"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "nothing to count: pass --emotic and --mpii, or --pairs"),
        ({"emotic": [Path("a.mat")]}, "pass both"),
        ({"mpii": Path("m.mat")}, "pass both"),
    ],
)
def test_too_little_to_count_is_an_error(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_context(**given)


def test_nobody_with_an_emotion_is_an_error(tmp_path: Path) -> None:
    emotic = emotic_csv(tmp_path / "train.csv", ("mscoco/images", "1.jpg", ["Yearning"]))
    mpii = table(tmp_path / "mpii.csv", ["image", "activity", "category"], ["2.jpg", "soccer", "sports"])
    with pytest.raises(ConfigError, match="nothing to count"):
        build_context([emotic], mpii)


@pytest.mark.parametrize(
    ("labels", "fault"),
    [
        ("['Joy']", r"line 2: unknown EMOTIC category 'Joy'"),
        ("Happiness", r"line 2: Categorical_Labels is not a list of names: 'Happiness'"),
        ("[1, 2]", r"line 2: Categorical_Labels is not a list"),
        ("[" * 500, r"line 2: Categorical_Labels is not a list"),
        ("__import__('os').getcwd()", r"line 2: Categorical_Labels is not a list"),
    ],
)
def test_a_bad_cell_of_emotic_is_told_with_its_line(labels: str, fault: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=fault):
        read_emotic(emotic_csv(tmp_path / "train.csv", ("mscoco/images", "1.jpg", labels)))


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        (["1.jpg", "bored", "waiting"], "line 2: unknown emotion 'bored': choose from angry, disgust"),
        (["1.jpg", "sad", ""], "line 2: the action is missing"),
        (["1.jpg"], "line 2: unknown emotion ''"),
    ],
)
def test_a_bad_pair_is_told_with_its_line(row: list[str], fault: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=fault):
        read_pairs(table(tmp_path / "pairs.csv", ["image", "emotion", "action"], row))


@pytest.mark.parametrize("read", [read_emotic, read_mpii, read_pairs])
def test_other_and_empty_csv_files_are_refused(read: Callable[[Path], object], tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no column"):
        read(table(tmp_path / "other.csv", ["a", "b"], [1, 2]))
    with pytest.raises(SourceError, match="cannot be read as csv"):
        read(tmp_path / "none.csv")
    header = [
        "image",
        "emotion",
        "action",
        "activity",
        "category",
        "Folder",
        "Filename",
        "Categorical_Labels",
    ]
    with pytest.raises(SourceError, match="contains no "):
        read(table(tmp_path / "empty.csv", header))


@pytest.mark.parametrize("read", [read_emotic, read_mpii])
def test_files_that_are_no_matlab_files_are_refused(read: Callable[[Path], object], tmp_path: Path) -> None:
    pytest.importorskip("scipy.io")
    path = tmp_path / "a.mat"
    for content in (b"", b"no matlab", b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + bytes(100)):
        path.write_bytes(content)
        with pytest.raises(
            SourceError, match=r"a\.mat: (not a readable MATLAB file|MATLAB 7\.3 is not supported)"
        ):
            read(path)
    with pytest.raises(SourceError, match=r"none\.mat: not a readable MATLAB file"):
        read(tmp_path / "none.mat")


def test_a_damaged_matlab_file_is_refused(tmp_path: Path) -> None:
    path = emotic_mat(tmp_path / "a.mat", train=[scene("mscoco/images", "a.jpg", train_person("Fear"))])
    whole = path.read_bytes()
    for place in range(140, len(whole), len(whole) // 9):
        flipped = bytearray(whole)
        flipped[place] ^= 0x55
        for content in (whole[:place], flipped):
            path.write_bytes(content)
            with pytest.raises(SourceError, match=r"a\.mat: not a readable MATLAB file"):
                read_emotic(path)


def test_other_layouts_of_matlab_files_are_refused(tmp_path: Path) -> None:
    io = pytest.importorskip("scipy.io")
    path = tmp_path / "a.mat"
    io.savemat(path, {"other": np.ones(3)})
    with pytest.raises(SourceError, match=r"it has none of train, val, test"):
        read_emotic(path)
    with pytest.raises(SourceError, match=r"not MPII's RELEASE"):
        read_mpii(path)
    io.savemat(path, {"train": np.ones(3), "RELEASE": {"annolist": np.ones(3), "act": np.ones(2)}})
    with pytest.raises(SourceError, match=r"train\(1\): unexpected layout for EMOTIC"):
        read_emotic(path)
    with pytest.raises(SourceError, match=r"annolist has 3 images, but act has 2"):
        read_mpii(path)
    io.savemat(path, {"train": structs([{"folder": "a", "filename": "b", "person": structs([{"age": 3}])}]),
                      "RELEASE": {"annolist": np.ones(2), "act": np.ones(2)}})  # fmt: skip
    with pytest.raises(
        SourceError, match=r"train\(1\): unexpected layout for EMOTIC: 'annotations_categories'"
    ):
        read_emotic(path)
    with pytest.raises(SourceError, match=r"RELEASE\(1\): unexpected layout for MPII"):
        read_mpii(path)
