"""Packages: what loads, what is refused, and that nothing is used before it is checked."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import tiny_models
from edgeharfer.runtime.errors import ModelError
from edgeharfer.runtime.inference import package as package_module
from edgeharfer.runtime.inference import session as session_module
from edgeharfer.runtime.inference.backend import Backend
from edgeharfer.runtime.inference.manifest import InputSpec, dump_manifest, parse_manifest
from edgeharfer.runtime.inference.package import (
    MANIFEST,
    load_package,
    shipped_packages,
    verify_package,
    write_manifest,
)
from edgeharfer.runtime.inference.scan import scan_onnx
from edgeharfer.runtime.inference.tuning import open_graph
from edgeharfer.runtime.tasks.action import ActionModel
from edgeharfer.runtime.tasks.emotion import EmotionModel

Change = Callable[[dict[str, Any]], object]


def change_manifest(folder: Path, change: Change) -> None:
    """Rewrite a package's manifest by hand."""
    data = json.loads((folder / MANIFEST).read_text())
    change(data)
    (folder / MANIFEST).write_text(json.dumps(data))


# Loading ----------------------------------------------------------------------------------------


def test_a_package_loads_with_all_its_facts(tmp_path: Path) -> None:
    made = tiny_models.emotion_package(tmp_path / "p", threshold=0.4, training={"data": "made up"})
    package = load_package(tmp_path / "p", "emotion")
    assert package == made
    manifest = package.manifest
    assert manifest.labels == tiny_models.FER7
    assert manifest.input == InputSpec(16, 16, "gray", "unit", clahe=False)
    assert manifest.input.channels == 1
    assert manifest.threshold == 0.4
    assert manifest.training == {"data": "made up"}
    assert package.read("model", "fp32").data == (tmp_path / "p" / "model.onnx").read_bytes()


def test_an_action_package_has_two_graphs_and_a_window(tmp_path: Path) -> None:
    package = verify_package(tiny_models.action_package(tmp_path / "p").path)
    assert package.manifest.roles == ("encoder", "head")
    assert package.manifest.window is not None
    assert package.manifest.window.frames == 4
    assert package.read("head").data != package.read("encoder").data


def test_a_faces_package_has_free_options_and_no_crop(tmp_path: Path) -> None:
    options = {"strides": [4], "score": 0.5}
    model = tiny_models.encoder(16, 3, 5)
    spec = InputSpec(16, 16, "rgb", "symmetric")
    made = tiny_models.emotion_package(
        tmp_path / "p",
        model=model,
        task="faces",
        labels=("face",),
        input=spec,
        crop=None,
        prior={},
        options=options,
    )
    assert verify_package(made.path).manifest.options == options


def test_a_manifest_survives_a_round_trip(tmp_path: Path) -> None:
    package = tiny_models.action_package(tmp_path / "p")
    text = dump_manifest(package.manifest)
    assert parse_manifest(text, "m") == package.manifest
    assert (tmp_path / "p" / MANIFEST).read_text() == text
    assert dump_manifest(parse_manifest(text, "m")) == text


def test_shipped_packages_are_found_by_name_and_named_when_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(package_module, "MODELS", tmp_path / "models")
    tiny_models.emotion_package(tmp_path / "models" / "emotion-one")
    tiny_models.action_package(tmp_path / "models" / "action-two")
    assert [one.path.name for one in shipped_packages()] == ["action-two", "emotion-one"]
    assert load_package("emotion-one").manifest.task == "emotion"
    with pytest.raises(ModelError, match=r"'emotion-none'.*action-two, emotion-one"):
        load_package("emotion-none")


def test_a_shipped_name_wins_over_a_folder_that_lies_around(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(package_module, "MODELS", tmp_path / "models")
    monkeypatch.chdir(tmp_path)
    tiny_models.emotion_package(tmp_path / "models" / "same")
    tiny_models.action_package(tmp_path / "same")
    assert load_package("same").manifest.task == "emotion"
    assert load_package("./same").manifest.task == "action"
    assert load_package(Path("same")).manifest.task == "action"


def test_another_task_is_refused(tmp_path: Path) -> None:
    tiny_models.emotion_package(tmp_path / "p")
    with pytest.raises(ModelError, match=r"task emotion, but one for action"):
        load_package(tmp_path / "p", "action")


@pytest.mark.parametrize("name", ["", "no/such/folder", "a\0b", "x" * 5000])
def test_names_that_are_no_package(name: str) -> None:
    with pytest.raises(ModelError):
        load_package(name)


def test_the_folder_itself_may_be_a_link(tmp_path: Path) -> None:
    tiny_models.emotion_package(tmp_path / "p")
    (tmp_path / "link").symlink_to(tmp_path / "p")
    verify_package(tmp_path / "link")


@pytest.mark.parametrize(
    ("asked", "provider", "auto", "wanted"),
    [
        ("auto", "cpu", {}, "fp32"),
        ("auto", "cuda", {"cuda": "fp16"}, "fp16"),
        ("auto", "cpu", {"cuda": "fp16"}, "fp32"),
        ("fp16", "cpu", {}, "fp16"),
    ],
)
def test_precision_follows_the_request_then_the_provider(
    asked: str, provider: str, auto: dict[str, str], wanted: str
) -> None:
    manifest = tiny_models.emotion_manifest(files={"fp32": {}, "fp16": {}}, auto=auto)
    assert manifest.precision_for(provider, asked) == wanted


def test_a_precision_that_is_not_there_names_those_that_are(tmp_path: Path) -> None:
    package = tiny_models.emotion_package(tmp_path / "p")
    with pytest.raises(ModelError, match="has no int8 files: choose from fp32"):
        package.manifest.precision_for("cpu", "int8")
    with pytest.raises(ModelError, match="has no int8 model file"):
        package.read("model", "int8")


# Strict manifests -------------------------------------------------------------------------------

BAD_MANIFESTS: dict[str, tuple[Change, str]] = {
    "unknown key": (lambda m: m.update(colour="red"), "unknown key 'colour'"),
    "missing key": (lambda m: m.pop("labels"), "key labels is missing"),
    "unknown inner key": (lambda m: m["input"].update(depth=3), r"input: unknown key 'depth'"),
    "missing inner key": (lambda m: m["input"].pop("width"), r"input: key width is missing"),
    "other format": (lambda m: m.update(format=2), r"format: must be an integer from 1 to 1"),
    "text for a number": (lambda m: m["input"].update(width="16"), r"input\.width: must be an integer"),
    "true for a number": (lambda m: m["input"].update(width=True), r"input\.width: must be an integer"),
    "number for a flag": (lambda m: m["input"].update(clahe=1), r"input\.clahe: must be true or false"),
    "zero width": (lambda m: m["input"].update(width=0), r"input\.width"),
    "unknown colour": (
        lambda m: m["input"].update(color="hsv"),
        r"input\.color: must be one of gray, rgb",
    ),
    "loud task": (lambda m: m.update(task="../Sound"), r"task: must be a name of lower-case letters"),
    "no labels": (lambda m: m.update(labels=[]), r"labels: must be a list"),
    "empty label": (lambda m: m["labels"].__setitem__(2, ""), r"labels\[2\]: must be a name"),
    "label twice": (lambda m: m["labels"].__setitem__(1, "angry"), "labels: duplicate label"),
    "cold temperature": (lambda m: m.update(temperature=0), "temperature: must be a number"),
    "huge temperature": (lambda m: m.update(temperature=10**400), "temperature: must be a number"),
    "threshold over 1": (lambda m: m.update(threshold=1.5), "threshold"),
    "no crop": (lambda m: m.pop("crop"), "crop: is required in packages that read faces"),
    "a window": (
        lambda m: m.update(window={"frames": 4, "seconds": 1, "max_gap_s": 1}),
        "window: is required in packages that read clips",
    ),
    "short prior": (lambda m: m["prior"]["data"].pop(), r"prior\.data: must contain one share"),
    "no files": (lambda m: m.update(files={}), "files: contains no precision"),
    "unknown precision": (lambda m: m["files"].update(fp8={}), "files: unknown key 'fp8'"),
    "other role": (
        lambda m: m["files"]["fp32"].update(head=m["files"]["fp32"].pop("model")),
        r"files\.fp32: must contain exactly model",
    ),
    "auto of no files": (lambda m: m.update(auto={"cpu": "int8"}), r"auto\.cpu: the package has no int8"),
    "short hash": (
        lambda m: m["files"]["fp32"]["model"].update(sha256="ab"),
        r"files\.fp32\.model\.sha256: must be 64",
    ),
    "too many bytes": (
        lambda m: m["files"]["fp32"]["model"].update(bytes=10**12),
        r"files\.fp32\.model\.bytes",
    ),
    "a list": (lambda m: m.update(input=[]), "input: must be an object"),
    "loud name": (lambda m: m.update(name="../up"), "name: must be a name"),
}


@pytest.mark.parametrize(("change", "message"), BAD_MANIFESTS.values(), ids=BAD_MANIFESTS)
def test_a_wrong_manifest_is_refused_by_file_and_key(tmp_path: Path, change: Change, message: str) -> None:
    tiny_models.emotion_package(tmp_path / "p")
    change_manifest(tmp_path / "p", change)
    with pytest.raises(ModelError, match=message) as caught:
        load_package(tmp_path / "p")
    assert str(caught.value).startswith(str(tmp_path / "p" / MANIFEST))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "not json",
        "[]",
        '{"format": 1, "format": 1}',
        '{"threshold": NaN}',
        '{"a": ' + "[" * 100_000,
        "9" * 10_000,
        "\x00",
    ],
    ids=["empty", "text", "list", "twice", "nan", "deep", "digits", "nul"],
)
def test_what_is_no_manifest_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / MANIFEST).write_text(text)
    with pytest.raises(ModelError, match=MANIFEST):
        load_package(tmp_path)


@pytest.mark.parametrize(
    "name",
    ["../model.onnx", "/etc/passwd", "a/b.onnx", ".hidden.onnx", "..", "a\\b.onnx", "model.bin", "x\n.onnx"],
)
def test_file_names_stay_inside_the_folder(tmp_path: Path, name: str) -> None:
    tiny_models.emotion_package(tmp_path / "p")
    change_manifest(tmp_path / "p", lambda m: m["files"]["fp32"]["model"].update(file=name))
    with pytest.raises(ModelError, match=r"files\.fp32\.model\.file: must be a plain file name"):
        load_package(tmp_path / "p")


def test_a_manifest_that_would_not_load_is_not_written(tmp_path: Path) -> None:
    manifest = replace(tiny_models.emotion_package(tmp_path / "p").manifest, labels=())
    with pytest.raises(ModelError, match="labels"):
        write_manifest(tmp_path, manifest)
    assert not (tmp_path / MANIFEST).exists()


# Bytes ------------------------------------------------------------------------------------------


def test_every_flipped_byte_is_refused(tmp_path: Path) -> None:
    package = tiny_models.emotion_package(tmp_path / "p")
    path = tmp_path / "p" / "model.onnx"
    good = path.read_bytes()
    for offset in range(len(good)):
        path.write_bytes(good[:offset] + bytes([good[offset] ^ 0x20]) + good[offset + 1 :])
        with pytest.raises(ModelError, match="damaged"):
            package.read("model", "fp32")


def test_other_sizes_are_refused_before_reading(tmp_path: Path) -> None:
    package = tiny_models.emotion_package(tmp_path / "p")
    path = tmp_path / "p" / "model.onnx"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ModelError, match="bytes, expected"):
        package.read("model", "fp32")
    path.unlink()
    with pytest.raises(ModelError, match=r"model\.onnx: cannot be read: No such file"):
        package.read("model", "fp32")


@pytest.mark.parametrize("what", ["link", "fifo", "folder", "device"])
def test_only_regular_files_are_read(tmp_path: Path, what: str) -> None:
    package = tiny_models.emotion_package(tmp_path / "p")
    path = tmp_path / "p" / "model.onnx"
    path.rename(tmp_path / "elsewhere.onnx")
    if what == "link":
        path.symlink_to(tmp_path / "elsewhere.onnx")
    elif what == "device":
        path.symlink_to("/dev/zero")
    elif what == "fifo":
        os.mkfifo(path)
    else:
        path.mkdir()
    with pytest.raises(ModelError, match=r"model\.onnx"):
        package.read("model", "fp32")


def test_a_manifest_that_is_a_link_is_refused(tmp_path: Path) -> None:
    tiny_models.emotion_package(tmp_path / "p")
    (tmp_path / "p" / MANIFEST).rename(tmp_path / "m.json")
    (tmp_path / "p" / MANIFEST).symlink_to(tmp_path / "m.json")
    with pytest.raises(ModelError, match=MANIFEST):
        load_package(tmp_path / "p")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"input": InputSpec(24, 16, "gray", "unit")},
            "image is batch x 16 x 16 x 1, but manifest.json requires",
        ),
        ({"input": InputSpec(16, 16, "rgb", "unit")}, "image is"),
        ({"labels": ("a", "b"), "prior": {}}, "probs is batch x 7"),
        ({"opset": 18}, "opset 17, but manifest.json says 18"),
    ],
)
def test_verify_holds_the_graph_against_the_manifest(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    package = tiny_models.emotion_package(tmp_path / "p", **changes)
    with pytest.raises(ModelError, match=message):
        verify_package(package.path)


def test_features_are_a_row_for_each_picture(tmp_path: Path) -> None:
    nodes = [helper.make_node("ReduceMean", ["image"], ["features"], keepdims=0)]
    one_number = tiny_models.to_bytes(nodes, {"image": ["batch", 16, 16, 3]}, {"features": []})
    package = tiny_models.action_package(tmp_path, graphs={"encoder": one_number})
    with pytest.raises(ModelError, match=r"features is a scalar, but manifest\.json requires \? x \?"):
        verify_package(package.path)
    with pytest.raises(ModelError, match=r"encoder\.onnx: the output has 0 axes, not 2"):
        ActionModel(package)


def as_option(folder: Path, content: bytes = b"another engine's", **changes: Any) -> dict[str, Any]:
    """A faces package whose options name a file of another engine; returns what they say of it."""
    path = folder / "model.tflite"
    folder.mkdir(exist_ok=True)
    path.write_bytes(content)
    spec = {"file": path.name, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    model, picture = tiny_models.encoder(16, 3, 5), InputSpec(16, 16, "rgb", "symmetric")
    tiny_models.emotion_package(
        folder, model=model, task="faces", labels=("face",), input=picture, crop=None, prior={},
        options={"tflite": spec},
    )  # fmt: skip
    change_manifest(folder, lambda m: m["options"]["tflite"].update(changes))
    return spec


def test_files_that_the_options_name_are_checked_too(tmp_path: Path) -> None:
    as_option(tmp_path / "p")
    package = verify_package(tmp_path / "p")
    assert package.read_other_file("model.tflite") == b"another engine's"
    (tmp_path / "p" / "model.tflite").write_bytes(b"another engine's".swapcase())
    with pytest.raises(ModelError, match=r"model\.tflite: damaged"):
        verify_package(tmp_path / "p")
    (tmp_path / "p" / "model.tflite").unlink()
    with pytest.raises(ModelError, match=r"model\.tflite: cannot be read"):
        verify_package(tmp_path / "p")


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"file": "../up.tflite"}, "file"),
        ({"file": "manifest.sig"}, "file"),
        ({"bytes": 10**12}, "bytes"),
        ({"sha256": "ab"}, "sha256"),
        ({"colour": "red"}, "unknown key"),
    ],
)
def test_an_option_that_names_a_file_is_read_strictly(
    tmp_path: Path, changes: dict[str, Any], key: str
) -> None:
    as_option(tmp_path / "p", **changes)
    with pytest.raises(ModelError, match=rf"options\.tflite.*{key}"):
        load_package(tmp_path / "p")


def test_no_flipped_byte_of_a_package_reaches_onnx_runtime(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1,000 offsets all over the files of a package that ships, each bit of a byte in turn."""
    shutil.copytree(load_package("face-short-range").path, tmp_path / "p")
    opened: list[bytes] = []
    monkeypatch.setattr(session_module, "create_session", lambda ort, graph, *rest: opened.append(graph.data))
    path = tmp_path / "p" / "model.onnx"
    rng = np.random.default_rng(9)
    with path.open("r+b", buffering=0) as file:
        for number, offset in enumerate(rng.integers(0, path.stat().st_size, 1000).tolist()):
            flip(file, offset, 1 << number % 8)
            with pytest.raises(ModelError, match=r"model\.onnx: damaged"):
                open_graph(load_package(tmp_path / "p"), "model", Backend("cpu", "fp32", 1))
            flip(file, offset, 1 << number % 8)
    assert opened == []
    verify_package(tmp_path / "p")


def flip(file: FileIO, offset: int, bit: int) -> None:
    """Change one bit, in place."""
    file.seek(offset)
    byte = file.read(1)
    file.seek(offset)
    file.write(bytes([byte[0] ^ bit]))


def test_a_hard_link_is_read_like_any_file_and_only_once(tmp_path: Path) -> None:
    """Installers link files from their caches; whoever holds the other name changes nothing unseen."""
    package = tiny_models.emotion_package(tmp_path / "p")
    path = tmp_path / "p" / "model.onnx"
    other = tmp_path / "other.onnx"
    other.hardlink_to(path)
    good = package.read("model")
    other.write_bytes(good.data[::-1])
    assert path.read_bytes() == good.data[::-1]
    with pytest.raises(ModelError, match="damaged"):
        package.read("model")


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_an_archive_is_no_package(tmp_path: Path, kind: str) -> None:
    tiny_models.emotion_package(tmp_path / "p")
    archive = shutil.make_archive(str(tmp_path / "packed"), kind, tmp_path / "p")
    with pytest.raises(ModelError, match=r"packed.*give a folder"):
        verify_package(archive)


# The graph scan ---------------------------------------------------------------------------------


def test_the_scan_tells_what_a_graph_is() -> None:
    info = scan_onnx(tiny_models.head(4, 8, 3), "m")
    assert info.opset == tiny_models.OPSET
    assert [(one.name, one.shape) for one in info.inputs] == [("window", ("batch", 4, 8))]
    assert [(one.name, one.shape) for one in info.outputs] == [("probs", ("batch", 3))]
    assert info.nodes == {"ReduceMean": 1, "MatMul": 1, "Softmax": 1}
    assert info.initializer_bytes == 8 * 3 * 4


def identity(**tensor: object) -> onnx.ModelProto:
    """y = x + w, with fields of w replaced."""
    weight = numpy_helper.from_array(np.ones(4, np.float32), "w")
    for key, value in tensor.items():
        field = getattr(weight, key)
        if isinstance(value, list):
            del field[:]
            field.extend(value)
        else:
            setattr(weight, key, value)
    info = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [4]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Add", ["x", "w"], ["y"])], "g", info[:1], info[1:], [weight])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])


def external_data(location: str = "../../etc/passwd") -> onnx.ModelProto:
    model = identity(data_location=TensorProto.EXTERNAL, raw_data=b"")
    entry = model.graph.initializer[0].external_data.add()
    entry.key, entry.value = "location", location
    return model


def in_branch(inner: onnx.ModelProto) -> onnx.ModelProto:
    """The graph inside a branch of an If."""
    del inner.graph.input[:]
    other = identity().graph
    condition = numpy_helper.from_array(np.array(True), "c")
    node = helper.make_node("If", ["c"], ["out"], then_branch=inner.graph, else_branch=other)
    out = helper.make_tensor_value_info("out", TensorProto.FLOAT, [4])
    graph = helper.make_graph([node], "outer", [], [out], [condition])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])


def as_attribute(model: onnx.ModelProto) -> onnx.ModelProto:
    """The initializer as the value of a Constant."""
    node = helper.make_node("Constant", [], ["w"])
    attribute = node.attribute.add()
    attribute.name, attribute.type = "value", onnx.AttributeProto.TENSOR
    attribute.t.CopyFrom(model.graph.initializer[0])
    model.graph.node.insert(0, node)
    del model.graph.initializer[:]
    return model


def with_node(op: str, domain: str = "", **attributes: Any) -> onnx.ModelProto:
    model = identity()
    model.graph.node.append(helper.make_node(op, ["x"], ["z"], domain=domain, **attributes))
    return model


def grown(op: str, shape: list[int], *, constant: bool = False) -> onnx.ModelProto:
    """A few bytes that ask for a very large tensor."""
    model = identity()
    sizes = numpy_helper.from_array(np.array(shape, np.int64), "s")
    if constant:
        model.graph.node.append(helper.make_node("Constant", [], ["s"], value=sizes))
    else:
        model.graph.initializer.append(sizes)
    model.graph.node.append(helper.make_node(op, ["s"] if op == "ConstantOfShape" else ["x", "s"], ["z"]))
    return model


def nested(depth: int) -> onnx.ModelProto:
    model = identity()
    for _ in range(depth):
        model = in_branch(model)
    return model


def with_function() -> onnx.ModelProto:
    model = identity()
    node = helper.make_node("Relu", ["a"], ["b"])
    model.functions.append(helper.make_function("", "F", ["a"], ["b"], [node], [helper.make_opsetid("", 17)]))
    return model


def with_sparse() -> onnx.ModelProto:
    model = identity()
    model.graph.sparse_initializer.add().dims.append(4)
    return model


UNSAFE: dict[str, tuple[Callable[[], onnx.ModelProto], str]] = {
    "external data": (external_data, "outside the file"),
    "location without entries": (
        lambda: identity(data_location=TensorProto.EXTERNAL),
        "outside the file",
    ),
    "external data in a branch": (lambda: in_branch(external_data()), "outside the file"),
    "external data in a constant": (lambda: as_attribute(external_data()), "outside the file"),
    "custom operator": (lambda: with_node("Evil", "com.example"), "operator Evil of com.example"),
    "custom operator in a branch": (lambda: in_branch(with_node("Evil", "x.y")), "operator Evil of x.y"),
    "compiled engine": (lambda: with_node("EPContext", "com.microsoft"), "compiled engine"),
    "function": (with_function, "functions"),
    "sparse weights": (with_sparse, "sparse"),
    "40 GB claimed": (lambda: identity(dims=[10**10], raw_data=b""), "claims 10000000000 elements"),
    "negative size": (lambda: identity(dims=[-1]), "negative size"),
    "many axes": (lambda: identity(dims=[1] * 200), "too many axes"),
    "40 GB of a shape": (lambda: grown("ConstantOfShape", [10**10]), "ConstantOfShape creates a tensor"),
    "40 GB of a constant": (
        lambda: grown("Expand", [10**5, 10**5], constant=True),
        "Expand creates a tensor",
    ),
    "40 GB of tiles": (lambda: grown("Tile", [10**10]), "Tile creates a tensor"),
    "40 GB of noise": (
        lambda: with_node("RandomNormal", shape=[10**5, 10**5]),
        "RandomNormal creates a tensor",
    ),
    "deep": (lambda: nested(20), "more than 16 deep"),
}


@pytest.mark.parametrize(("make", "message"), UNSAFE.values(), ids=UNSAFE)
def test_unsafe_graphs_are_refused_with_their_reason(
    tmp_path: Path, make: Callable[[], onnx.ModelProto], message: str
) -> None:
    data = make().SerializeToString()
    package = tiny_models.emotion_package(tmp_path / "p", model=data)
    with pytest.raises(ModelError, match=message) as caught:
        verify_package(package.path)
    assert "model.onnx" in str(caught.value)


@pytest.mark.parametrize(
    "location",
    ["weights.bin", "../weights.bin", "{}/weights.bin", "link.bin", "hard.bin", "/dev/zero", "zero.bin"],
)
def test_weights_outside_the_file_are_refused_wherever_they_lie(tmp_path: Path, location: str) -> None:
    model = external_data(location.format(tmp_path))
    folder = tiny_models.emotion_package(tmp_path / "p", model=model.SerializeToString()).path
    for path in (tmp_path / "weights.bin", folder / "weights.bin"):
        path.write_bytes(np.ones(4, np.float32).tobytes())
    (folder / "link.bin").symlink_to(tmp_path / "weights.bin")
    (folder / "hard.bin").hardlink_to(tmp_path / "weights.bin")
    (folder / "zero.bin").symlink_to("/dev/zero")
    with pytest.raises(ModelError, match=r"model\.onnx: stores weights outside the file"):
        verify_package(folder)
    with pytest.raises(ModelError, match=r"model\.onnx: stores weights outside the file"):
        EmotionModel(load_package(folder))


def test_75_bytes_that_ask_for_40_gigabytes_are_refused(tmp_path: Path) -> None:
    shape = TensorProto(name="s", data_type=TensorProto.INT64, dims=[1], int64_data=[10**10])
    graph = helper.make_graph([helper.make_node("ConstantOfShape", ["s"], ["y"])], "g", [], [], [shape])
    graph.output.add().name = "y"
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    assert model.ByteSize() <= 75
    folder = tiny_models.emotion_package(tmp_path / "p", model=model.SerializeToString()).path
    with pytest.raises(ModelError, match=r"model\.onnx: ConstantOfShape creates a tensor of more than"):
        verify_package(folder)


def test_half_precision_weights_and_ordinary_shapes_are_fine() -> None:
    info = scan_onnx(tiny_models.classifier(half_weights=True), "m")
    assert info.initializer_bytes == 7 * 2
    scan_onnx(grown("ConstantOfShape", [64, 64]).SerializeToString(), "m")


@pytest.mark.parametrize(
    "data", [b"", b"\x00", b"text that is no model", b"\x0a\xff\xff\xff\xff\x0f", b"\xff" * 32]
)
def test_bytes_that_are_no_model(data: bytes) -> None:
    with pytest.raises(ModelError, match=r"^x\.onnx: "):
        scan_onnx(data, "x.onnx")


def test_any_cut_or_flip_is_scanned_or_refused_but_never_breaks() -> None:
    good = tiny_models.head()
    rng = np.random.default_rng(7)
    for _ in range(2000):
        data = bytearray(good[: rng.integers(1, len(good) + 1)])
        data[rng.integers(0, len(data))] = rng.integers(0, 256)
        try:
            scan_onnx(bytes(data), "x.onnx")
        except ModelError as error:
            assert str(error).startswith("x.onnx: ")
