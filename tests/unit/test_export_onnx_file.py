"""ONNX files with external data are read whole, and what is damaged or unsafe is refused in one line."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

import foreign_models
import tiny_models
from edgeharfer.export import onnx_file
from edgeharfer.export.onnx_file import read_onnx
from edgeharfer.runtime.errors import ModelError


def write_apart(folder: Path, location: str = "m.onnx.data") -> Path:
    """A model whose weights stand in another file, as PyTorch's exporter writes it."""
    made = foreign_models.cnn()
    folder.mkdir(exist_ok=True)
    onnx.save(made, str(folder / "m.onnx"), save_as_external_data=True, location=location, size_threshold=16)
    return folder / "m.onnx"


def entries(path: Path, change: Callable[[onnx.TensorProto], object]) -> Path:
    """Change each entry of external data."""
    made = onnx.load(str(path), load_external_data=False)
    for tensor in made.graph.initializer:
        if tensor.external_data:
            change(tensor)
    return foreign_models.save(made, path)


def set_entry(key: str, value: str) -> Callable[[onnx.TensorProto], None]:
    def change(tensor: onnx.TensorProto) -> None:
        kept = {one.key: one.value for one in tensor.external_data} | {key: value}
        del tensor.external_data[:]
        for name, text in kept.items():
            tensor.external_data.add(key=name, value=text)

    return change


def test_external_data_is_embedded(tmp_path: Path) -> None:
    expected = foreign_models.cnn()
    made = read_onnx(write_apart(tmp_path / "model"))
    assert [one.raw_data for one in made.graph.initializer] == [
        one.raw_data for one in expected.graph.initializer
    ]
    assert not any(one.external_data for one in made.graph.initializer)


def test_a_link_inside_the_folder_is_followed(tmp_path: Path) -> None:
    path = write_apart(tmp_path / "model")
    (path.parent / "m.onnx.data").rename(path.parent / "blob")
    try:
        (path.parent / "m.onnx.data").symlink_to("blob")
    except OSError:
        (path.parent / "blob").rename(path.parent / "m.onnx.data")  # no links without a privilege on Windows
    assert read_onnx(path).graph.initializer[0].raw_data


@pytest.mark.parametrize(
    "location", ["../secret", "a/../../secret", "/etc/hostname", "C:\\secret", "..\\secret", ""]
)
def test_external_data_outside_the_folder_is_refused(tmp_path: Path, location: str) -> None:
    (tmp_path / "secret").write_bytes(b"x" * 10_000)
    path = entries(write_apart(tmp_path / "model"), set_entry("location", location))
    with pytest.raises(ModelError, match="not a file in the folder of the model"):
        read_onnx(path)


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege on Windows")
@pytest.mark.parametrize("of_folder", [False, True])
def test_a_link_out_of_the_folder_is_refused(tmp_path: Path, of_folder: bool) -> None:
    path = write_apart(tmp_path / "model")
    outside = tmp_path / "outside"
    outside.mkdir()
    (path.parent / "m.onnx.data").rename(outside / "m.onnx.data")
    if of_folder:
        (path.parent / "sub").symlink_to(outside)
        entries(path, set_entry("location", "sub/m.onnx.data"))
    else:
        (path.parent / "m.onnx.data").symlink_to(outside / "m.onnx.data")
    with pytest.raises(ModelError, match="a place outside the folder of the model: copy the file into it"):
        read_onnx(path)


@pytest.mark.parametrize(
    ("key", "value"),
    [("offset", "99999999"), ("offset", "-4"), ("length", "3"), ("offset", "x"), ("length", "1e9")],
)
def test_wrong_places_in_external_data_are_refused(tmp_path: Path, key: str, value: str) -> None:
    path = entries(write_apart(tmp_path / "model"), set_entry(key, value))
    with pytest.raises(ModelError, match="save the model again"):
        read_onnx(path)


def test_missing_external_data_is_named(tmp_path: Path) -> None:
    path = write_apart(tmp_path / "model")
    (path.parent / "m.onnx.data").unlink()
    with pytest.raises(ModelError, match=r"'m\.onnx\.data': no such file"):
        read_onnx(path)


def test_external_data_has_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_apart(tmp_path / "model")
    monkeypatch.setattr(onnx_file, "MAX_MODEL_BYTES", path.stat().st_size)
    with pytest.raises(ModelError, match="limit"):
        read_onnx(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not an ONNX model"),
        (b"not a model at all", "damaged, or not an ONNX model"),
        (foreign_models.cnn().SerializeToString()[:-40], "damaged"),
        (tiny_models.endless(), "contains a loop"),
    ],
)
def test_damaged_and_endless_files_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=message) as refused:
        read_onnx(path)
    assert "\n" not in str(refused.value)


def test_custom_operators_are_named(tmp_path: Path) -> None:
    made = foreign_models.cnn()
    made.graph.node[1].domain = "my.ops"
    made.opset_import.append(helper.make_opsetid("my.ops", 1))
    with pytest.raises(ModelError, match=r"operator Relu of my\.ops"):
        read_onnx(foreign_models.save(made, tmp_path / "m.onnx"))


def test_huge_tensors_are_refused_before_they_exist(tmp_path: Path) -> None:
    made = foreign_models.cnn()
    made.graph.initializer.append(
        onnx.TensorProto(name="big", data_type=TensorProto.FLOAT, dims=[1 << 20, 1 << 20])
    )
    with pytest.raises(ModelError, match="claims 1099511627776 elements"):
        read_onnx(foreign_models.save(made, tmp_path / "m.onnx"))


def test_functions_are_inlined(tmp_path: Path) -> None:
    """PyTorch's newer exporter writes layers as functions of the model."""
    made = foreign_models.cnn()
    made.graph.node[-1].output[:] = ["y"]
    made.graph.node.append(helper.make_node("Ends", ["y"], ["output"], domain="layers"))
    made.opset_import.append(helper.make_opsetid("layers", 1))
    relu = helper.make_node("Relu", ["a"], ["b"])
    made.functions.append(
        helper.make_function("layers", "Ends", ["a"], ["b"], [relu], [helper.make_opsetid("", 17)])
    )
    read = read_onnx(foreign_models.save(made, tmp_path / "m.onnx"))
    assert (read.graph.node[-1].op_type, len(read.functions)) == ("Relu", 0)
