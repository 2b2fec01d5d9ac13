"""`edgeharfer export` and `calibrate` at the command line: what they write, and what they say no to."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import tiny_patterns
from edgeharfer.cli import run_command
from edgeharfer.runtime.inference.package import load_package


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tiny_patterns.write_pictures(tmp_path / "data", {"train": 10, "val": 10})


@pytest.fixture
def package(tmp_path: Path) -> Path:
    return tiny_patterns.picture_package(tmp_path / "package").path


def said(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """Exit code, standard output, and what stands on standard error."""
    code = run_command([str(one) for one in arguments])
    streams = capsys.readouterr()
    return code, streams.out, streams.err


def test_a_package_gets_int8_from_a_stored_set(
    tmp_path: Path, data: Path, package: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = tmp_path / "set.json"
    code, out, err = said(capsys, "calibrate", package, "--data", data, "--items", 24, "--out", chosen)
    assert (code, err) == (0, "")
    assert out.startswith("24 items (across 6, down 6, left 6, right 6), SHA-256 ")
    assert sum(map(len, json.loads(chosen.read_text())["items"].values())) == 24
    code, out, err = said(
        capsys,
        *("export", package, "--out", tmp_path / "out", "--precision", "fp32,int8", "--keep-slower"),
        *("--calibration", data, "--calibration-set", chosen, "--eval-data", data),
    )
    assert (code, err) == (0, "")
    assert "int8, minmax: top-1" in out
    assert set(load_package(tmp_path / "out").manifest.files) == {"fp32", "int8"}
    receipt = json.loads((tmp_path / "out" / "receipt.json").read_text())
    assert receipt["int8"]["calibration"]["items"] == 24


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--precision", "fp32,int8"], "INT8 requires calibration data: pass --calibration"),
        ([], "is already a package"),
        (["--precision", "int8", "--calibration", "{absent}"], "no such file or folder"),
        (["--precision", "int8", "--calibration", "{empty}"], "no .apng/"),
        (["--precision", "int8", "--calibration", "{others}"], "none of its classes is a class of the model"),
        (["--precision", "int8", "--calibration", "{data}", "--eval-data", "{empty}"], "no .apng/"),
        (
            ["--precision", "int8", "--calibration", "{data}", "--eval-data", "{others}"],
            "none of its classes",
        ),
        (["--precision", "int8", "--calibration", "{data}", "--max-drop", "-1"], "max-drop"),
        (
            ["--precision", "int8", "--calibration", "{data}", "--calibration-set", "{data}"],
            "Is a directory",
        ),
        (["--precision", "int8", "--calibration", "{text}"], "neither a folder nor a readable zip"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_nothing_is_written(
    tmp_path: Path,
    data: Path,
    package: Path,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    message: str,
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.zip").write_text("no archive")
    places = {
        "data": data,
        "absent": tmp_path / "absent",
        "empty": tmp_path / "empty",
        "others": tiny_patterns.write_pictures(tmp_path / "o", {"one": 1}) / "one" / "left",
        "text": tmp_path / "text.zip",
    }
    (places["others"] / "cats").mkdir()
    for picture in places["others"].glob("*.png"):
        picture.rename(places["others"] / "cats" / picture.name)
    before = sorted(path.name for path in tmp_path.iterdir())
    arguments = [option.format(**places) for option in options]
    code, _, err = said(capsys, "export", package, "--out", tmp_path / "out", *arguments)
    assert code == 2
    assert message in err
    assert err.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == before


@pytest.mark.parametrize("damage", ["flip", "cut", "gone"])
def test_a_damaged_package_is_not_quantized(
    tmp_path: Path, data: Path, package: Path, capsys: pytest.CaptureFixture[str], damage: str
) -> None:
    model = package / "model.onnx"
    content = bytearray(model.read_bytes())
    content[len(content) // 2] ^= 1
    if damage == "gone":
        model.unlink()
    else:
        model.write_bytes(content if damage == "flip" else content[:100])
    out = tmp_path / "out"
    code, _, err = said(capsys, "export", package, "--out", out, "--precision", "int8", "--calibration", data)
    assert (code, err.count("\n"), out.exists()) == (2, 1, False)
    assert "model.onnx" in err


def test_a_bare_graph_needs_labels(tmp_path: Path, package: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = said(capsys, "export", package / "model.onnx", "--out", tmp_path / "out")
    assert code == 2
    assert "has no class names: pass --labels" in err
