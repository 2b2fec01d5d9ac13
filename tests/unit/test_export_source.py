"""What an export finds before it loads a model: files, records, labels, places to write."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

import tiny_models
from edgeharfer.export import ModelOptions, backend, export_model, read_labels
from edgeharfer.export.draft import draft_manifest, package_name
from edgeharfer.export.keras_model import LoadedModel
from edgeharfer.export.package_files import check_output_folder
from edgeharfer.export.source import find_source
from edgeharfer.runtime.errors import ConfigError, MissingExtra, ModelError, SinkError
from edgeharfer.runtime.installation import install_command
from edgeharfer.runtime.staging import replaced_folder


def run_folder(folder: Path, record: object = None, labels: object = None) -> Path:
    """A training run's folder with a file in the place of the model."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.keras").write_bytes(b"model")
    if record is not None:
        (folder / "package.json").write_text(json.dumps(record))
    if labels is not None:
        (folder / "labels.json").write_text(json.dumps(labels))
    return folder


@pytest.mark.parametrize(
    ("file", "kind"), [("a.keras", "keras"), ("a.h5", "hdf5"), ("a.hdf5", "hdf5"), ("A.H5", "hdf5")]
)
def test_files_are_known_by_their_ending(tmp_path: Path, file: str, kind: str) -> None:
    (tmp_path / file).write_bytes(b"")
    source = find_source(tmp_path / file)
    assert (source.kind, source.facts, source.head) == (kind, {}, None)


def test_hdf5_may_be_named_keras_as_tensorflow_did(tmp_path: Path) -> None:
    with backend.load("h5py").File(tmp_path / "a.keras", "w"):
        pass
    assert find_source(tmp_path / "a.keras").kind == "hdf5"


def test_a_keras_file_named_hdf5_is_to_be_renamed(tmp_path: Path) -> None:
    (tmp_path / "a.h5").write_bytes(b"PK\x03\x04")
    with pytest.raises(ModelError, match=r"a\.h5: a \.keras file .* rename it to \.keras"):
        find_source(tmp_path / "a.h5")


def test_a_saved_model_is_known_by_its_file(tmp_path: Path) -> None:
    (tmp_path / "saved_model.pb").write_bytes(b"graph")
    (tmp_path / "variables").mkdir()
    (tmp_path / "variables" / "data").write_bytes(b"weights")
    source = find_source(tmp_path)
    assert source.kind == "savedmodel"
    assert source.receipt()["bytes"] == 12


@pytest.mark.parametrize("name", ["absent.keras", "notes.txt", "folder"])
def test_what_is_no_model_is_told_apart(tmp_path: Path, name: str) -> None:
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "folder").mkdir()
    with pytest.raises(ModelError, match=name):
        find_source(tmp_path / name)


def test_a_run_brings_its_facts_labels_and_card(tmp_path: Path) -> None:
    run = run_folder(tmp_path / "run", {"task": "emotion", "threshold": 0.4}, ["a", "b"])
    (run / "MODELCARD.md").write_text("# My card")
    source = find_source(run)
    assert source.facts == {"task": "emotion", "threshold": 0.4, "labels": ["a", "b"]}
    assert source.card == "# My card"
    assert source.receipt()["file"] == "model.keras"


def test_one_run_can_hold_several_packages(tmp_path: Path) -> None:
    packages = {
        "one": {"head": "x", "labels": ["a", "b"]},
        "two": {"head": "y", "labels": ["c"], "threshold": 0.5},
    }
    run = run_folder(tmp_path / "run", {"threshold": 0.1, "packages": packages})
    (run / "MODELCARD.md").write_text("both")
    (run / "MODELCARD.two.md").write_text("the second")
    one, two = find_source(run, "one"), find_source(run, "two")
    assert (one.head, one.card) == ("x", "both")
    assert one.facts == {"name": "one", "labels": ["a", "b"], "threshold": 0.1}
    assert (two.head, two.card, two.facts["threshold"]) == ("y", "the second", 0.5)
    for name in (None, "three"):
        with pytest.raises(ConfigError, match="choose one with --name from one, two"):
            find_source(run, name)


def test_an_only_package_can_be_named_anew(tmp_path: Path) -> None:
    run = run_folder(tmp_path / "run", {"packages": {"one": {"head": "x", "labels": ["a", "b"]}}})
    (run / "MODELCARD.one.md").write_text("its card")
    for name, wanted in ((None, "one"), ("one", "one"), ("mine", "mine")):
        source = find_source(run, name)
        assert (source.head, source.card, source.facts["name"]) == ("x", "its card", wanted)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"treshold": 0.4}, "unknown key 'treshold'"),
        ({"files": {}}, "unknown key 'files'"),
        ([], "must be an object"),
        ({"head": 3}, "head: must be the name"),
        ({"packages": {"a": 1}}, "packages: must be an object of objects"),
        ({"packages": {"a": {"packages": {}, "colour": 1}}}, "unknown key 'colour'"),
    ],
)
def test_a_wrong_record_is_refused_by_file_and_key(tmp_path: Path, record: object, message: str) -> None:
    run = run_folder(tmp_path / "run", record)
    with pytest.raises(ModelError, match=message) as caught:
        find_source(run)
    assert str(caught.value).startswith(str(run / "package.json"))


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("l.json", '["a", "b b"]'),
        ("l.json", '{"labels": ["a", "b b"], "more": 1}'),
        ("l.json", '{"0": "a", "1": "b b"}'),
        ("l.json", '{"b b": 1, "a": 0}'),
        ("l.json", '{"labels": {"1": "b b", "0": "a"}}'),
        ("l.txt", "a\n\n b b \r\n"),
        ("l.txt", "0 a\n1 b b\n"),
        ("l.txt", "1: b b\n0: a\n"),
        ("l.txt", "\ufeff0 a\n1 b b\n"),
    ],
)
def test_labels_come_as_json_or_lines(tmp_path: Path, file: str, text: str) -> None:
    (tmp_path / file).write_text(text, encoding="utf-8")
    assert read_labels(tmp_path / file) == ("a", "b b")


def test_numbers_that_are_no_count_belong_to_the_names(tmp_path: Path) -> None:
    (tmp_path / "l.txt").write_text("2 fingers\n3 fingers\n")
    assert read_labels(tmp_path / "l.txt") == ("2 fingers", "3 fingers")


def test_teachable_machine_puts_labels_beside_the_model(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("0 wave\n1 no\n")
    for name, facts in (("keras_model.h5", {"labels": ["wave", "no"]}), ("other.h5", {})):
        (tmp_path / name).write_bytes(b"")
        assert find_source(tmp_path / name).facts == facts


@pytest.mark.parametrize(
    ("file", "content"),
    [
        *(
            ("l.json", text)
            for text in (b"{}", b"[1]", b'{"a": 0, "b": 2}', b'{"a": 0, "b": 0}', b'{"a": true}')
        ),
        ("l.txt", b"\xff\xfe"),
    ],
)
def test_labels_of_another_kind_are_refused(tmp_path: Path, file: str, content: bytes) -> None:
    (tmp_path / file).write_bytes(content)
    with pytest.raises(ModelError, match=file):
        read_labels(tmp_path / file)


# The draft of a manifest ------------------------------------------------------------------------


def loaded(*shape: int | None, classes: int = 2) -> LoadedModel:
    return LoadedModel("m.h5", lambda batch: batch, shape, (None, classes))


def draft(model: LoadedModel, facts: dict[str, Any] | None = None, **options: Any) -> dict[str, Any]:
    return draft_manifest(model, {"labels": ["a", "b"], **(facts or {})}, name="fallback", **options)


def test_the_graph_decides_task_size_and_colour() -> None:
    made = draft(loaded(None, 48, 64, 1), normalize="unit")
    assert (made["task"], made["name"]) == ("emotion", "fallback")
    assert made["input"] == {"width": 64, "height": 48, "color": "gray", "normalize": "unit"}
    assert set(made["crop"]) == {"align", "expand", "shift_y"}
    assert "window" not in made


def test_a_clip_gets_a_window_of_the_frames_that_the_graph_takes() -> None:
    made = draft(loaded(None, 16, 32, 32, 3), {"window": {"seconds": 3}}, normalize="symmetric")
    assert (made["task"], made["input"]["color"]) == ("action", "rgb")
    assert made["window"] == {"seconds": 3, "max_gap_s": 0.5, "frames": 16}
    assert "crop" not in made


def test_what_is_given_goes_before_what_was_recorded() -> None:
    record = {"name": "mine", "input": {"normalize": "unit", "clahe": True}}
    made = draft(loaded(None, 48, 48, 1), record, normalize="standardize", labels=["x", "y"])
    assert (made["name"], made["labels"]) == ("mine", ["x", "y"])
    assert made["input"]["normalize"] == "standardize"
    assert made["input"]["clahe"] is True
    assert draft(loaded(None, 48, 48, 1), record)["input"]["normalize"] == "unit"


def test_options_say_how_the_model_was_trained() -> None:
    options = ModelOptions(channels="bgr", mean=(1, 2, 3), std=(4, 5, 6), crop="face")
    made = draft(loaded(None, 48, 48, 3), options=options)["input"]
    assert (made["color"], made["normalize"], made["fit"]) == ("bgr", "none", "stretch")
    assert (made["mean"], made["std"]) == ([3, 2, 1], [6, 5, 4]), "the order of the channels"
    options = ModelOptions(channels="gray", mean=(0.5,), std=(0.25,))
    made = draft(loaded(None, 48, 48, 3), options=options)["input"]
    assert (made["color"], made["normalize"]) == ("gray3", "unit")
    assert (made["mean"], made["std"]) == ([0.5] * 3, [0.25] * 3)
    made = draft(loaded(None, 48, 48, 3), {"input": made}, normalize="symmetric")["input"]
    assert made == {"color": "gray3", "width": 48, "height": 48, "normalize": "symmetric"}


@pytest.mark.parametrize(
    ("options", "window"),
    [
        ({"task": "action"}, {"frames": 1, "seconds": 0.2, "max_gap_s": 0.5}),
        ({"options": ModelOptions(crop="center")}, {"frames": 1, "seconds": 0.2, "max_gap_s": 0.5}),
        ({"options": ModelOptions(seconds=1)}, {"frames": 1, "seconds": 1, "max_gap_s": 0.5}),
    ],
)
def test_a_model_of_pictures_can_read_frames(options: dict[str, Any], window: dict[str, object]) -> None:
    made = draft(loaded(None, 48, 48, 3), normalize="unit", **options)
    assert (made["task"], made["window"]) == ("action", window)
    assert "crop" not in made


def test_free_axes_are_filled() -> None:
    options = ModelOptions(frames=6, seconds=1.5, size=(32, 24))
    made = draft(loaded(None, None, None, None, 3), normalize="unit", options=options)
    assert made["window"] == {"frames": 6, "seconds": 1.5, "max_gap_s": 0.5}
    assert (made["input"]["width"], made["input"]["height"]) == (32, 24)


def test_channels_first() -> None:
    model = LoadedModel("m.h5", lambda batch: batch, (None, 3, 24, 32), (None, 2), layout="nchw")
    made = draft(model, normalize="unit")["input"]
    assert made == {"width": 32, "height": 24, "color": "rgb", "normalize": "unit", "layout": "nchw"}


@pytest.mark.parametrize(
    ("shape", "labels", "fits"),
    [
        ((None, 2), 2, True),
        ((None, 1), 2, True),
        ((None, 1, 1, 3), 3, True),
        ((None, 4, 4, 3), 3, False),
        ((None, None), 3, False),
        ((None, 1), 3, False),
    ],
)
def test_a_row_of_scores_fits_the_labels(shape: tuple[int | None, ...], labels: int, fits: bool) -> None:
    model = LoadedModel("m.h5", lambda batch: batch, (None, 8, 8, 1), shape)
    names = [f"class {number}" for number in range(labels)]
    if fits:
        assert draft(model, normalize="unit", labels=names)["labels"] == names
    else:
        with pytest.raises(ConfigError, match=f"does not fit {labels} labels"):
            draft(model, normalize="unit", labels=names)


def test_one_output_unit_needs_two_labels() -> None:
    model = LoadedModel("m.h5", lambda batch: batch, (None, 8, 8, 1), (None, 1))
    assert draft(model, normalize="unit", labels=["a", "b"])["labels"] == ["a", "b"]
    with pytest.raises(ConfigError, match=r"m\.h5: one output unit separates two classes: pass two --labels"):
        draft(model, normalize="unit", labels=["a"])


FACE = ModelOptions(crop="face")


@pytest.mark.parametrize(
    ("shape", "facts", "options", "message"),
    [
        ((None, 8, 8, 1), {"labels": None}, {"normalize": "unit"}, "has no class names: pass --labels"),
        ((None, 8, 8, 1), {"labels": ["a"]}, {"normalize": "unit"}, "does not fit 1 labels"),
        ((None, 8, 8, 1), {}, {}, r"the scaling of its input is unknown: pass --normalize \(none, unit"),
        ((None, 8, 8, 1), {}, {"task": "action", "options": FACE}, "fits the task emotion, not action"),
        ((None, 8, 8, 1), {"task": "action"}, {"options": FACE}, "fits the task emotion, not action"),
        ((None, 4, 8, 8, 1), {}, {"options": FACE}, "is a clip of frames: remove --crop face"),
        ((None, 8), {}, {}, r"its input \? x 8 is neither an image nor a clip"),
        ((None, 8, 8, 4), {}, {"normalize": "unit"}, "takes images of 8 x 8 x 4"),
        ((None, None, None, 1), {}, {"normalize": "unit"}, r"takes images of \? x \? x 1: pass --size"),
        ((None, 8, 8, 1), {}, {"options": ModelOptions(size=(9, 8))}, "8 x 8 x 1, but --size has width 9"),
        (
            (None, 8, 8, 1),
            {},
            {"normalize": "unit", "options": ModelOptions(frames=4)},
            "reads 1 frames at a time, not 4",
        ),
        (
            (None, 3, 8, 8, 1),
            {},
            {"normalize": "unit", "options": ModelOptions(frames=4)},
            "reads 3 frames at a time, not 4",
        ),
        (
            (None, 8, 8, 1),
            {},
            {"normalize": "unit", "options": ModelOptions(channels="bgr")},
            "--channels bgr does not fit",
        ),
        ((None, 8, 8, 1), {}, {"options": ModelOptions(mean=(1, 2, 3))}, "one channel"),
        ((None, 8, 8, 3), {}, {"options": ModelOptions(mean=(0,))}, "have no effect: pass --normalize"),
        (
            *((None, 8, 8, 3), {}),
            {"normalize": "imagenet", "options": ModelOptions(mean=(1,))},
            "require --normalize unit or none, not imagenet",
        ),
        ((None, 8, 8, 1), {"input": 3}, {}, "its record of input must be an object"),
    ],
)
def test_what_is_missing_or_does_not_fit_is_told(
    shape: tuple[int | None, ...], facts: dict[str, Any], options: dict[str, Any], message: str
) -> None:
    with pytest.raises((ConfigError, ModelError), match=message) as caught:
        draft(loaded(*shape), facts, **options)
    assert "m.h5" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "name"),
    [("My Model (1)", "my-model--1-"), ("..", "model"), ("émotion", "-motion"), ("a" * 99, "a" * 64)],
)
def test_folder_names_become_package_names(text: str, name: str) -> None:
    assert package_name(text) == name.lstrip("-")


# The place to write -----------------------------------------------------------------------------


def test_a_package_appears_whole(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    with replaced_folder(out) as folder:
        (folder / "file").write_text("x")
        assert not out.exists()
    assert (out / "file").read_text() == "x"
    assert [path.name for path in out.parent.iterdir()] == ["out"]
    assert out.stat().st_mode & 0o777 == 0o777 & ~umask()


def umask() -> int:
    import os

    current = os.umask(0)
    os.umask(current)
    return current


def test_a_failure_leaves_what_was_there(tmp_path: Path) -> None:
    out = tiny_models.emotion_package(tmp_path / "out").path
    before = sorted(path.name for path in out.iterdir())
    with pytest.raises(KeyboardInterrupt), replaced_folder(out) as folder:
        (folder / "half").write_text("x")
        raise KeyboardInterrupt
    assert sorted(path.name for path in out.iterdir()) == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_an_older_package_is_replaced_as_a_whole(tmp_path: Path) -> None:
    out = tiny_models.emotion_package(tmp_path / "out").path
    check_output_folder(out)
    with replaced_folder(out) as folder:
        (folder / "new").write_text("x")
    assert [path.name for path in out.iterdir()] == ["new"]


def test_of_two_exports_at_once_one_stays_whole(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with replaced_folder(out) as one, replaced_folder(out) as other:
        for folder in (one, other):
            (folder / folder.parent.name).write_text("x")
    assert len(list(out.iterdir())) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_what_is_no_package_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name in ("mine", "file", "link"):
        with pytest.raises(ConfigError, match="is not a model package"):
            check_output_folder(tmp_path / name)
    (tmp_path / "empty").mkdir()
    check_output_folder(tmp_path / "empty")


def test_a_place_that_cannot_be_written_is_a_sink_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with (
        pytest.raises(SinkError, match="cannot be written"),
        replaced_folder(tmp_path / "file" / "out"),
    ):
        pass


# Before anything heavy is loaded ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"precisions": ("fp32", "int4")}, "unknown precision 'int4': choose from fp32, fp16, int8"),
        ({"precisions": ()}, "no precision given"),
        ({"task": "sound"}, "unknown task 'sound'"),
        ({"normalize": "zscore"}, "unknown normalisation 'zscore'"),
    ],
)
def test_options_are_checked_first(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        export_model(tmp_path / "absent.keras", tmp_path / "out", **options)
    assert not list(tmp_path.iterdir())


def test_without_tensorflow_one_line_says_what_to_install() -> None:
    with pytest.raises(MissingExtra, match=re.escape(install_command("export"))):
        backend.load("edgeharfer_no_such_module")


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "m.h5").write_bytes(b"")

    def denied(path: Path, mode: str) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", denied)
    with pytest.raises(ModelError, match=r"m\.h5: cannot be read: Permission denied"):
        find_source(tmp_path / "m.h5")
