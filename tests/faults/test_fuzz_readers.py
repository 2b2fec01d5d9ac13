"""Whatever stands in a file, its reader returns a value or raises its own error, naming the file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import tiny_models
from edgeharfer.kiosk.config import KioskConfig, load_config
from edgeharfer.runtime.config import read_config
from edgeharfer.runtime.errors import ConfigError, ModelError, SourceError
from edgeharfer.runtime.inference.manifest import (
    CropSpec,
    FileSpec,
    InputSpec,
    Manifest,
    dump_manifest,
    parse_manifest,
)
from edgeharfer.runtime.inference.scan import scan_onnx
from edgeharfer.runtime.recording.file import Recording
from edgeharfer.runtime.source.decode import decode_image, size_from_header

# The same examples each time; a fixture's folder may serve all of them, since each file is written anew.
QUICK = settings(
    max_examples=100,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
values: st.SearchStrategy[Any] = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
)
LETTERS = "abcdefghij0123456789"
names = st.text(LETTERS, min_size=1, max_size=9)
labels = st.lists(names, min_size=1, max_size=5, unique=True)
shares = st.floats(0, 1)
sizes = st.integers(1, 4096)
MANIFEST = json.loads(dump_manifest(tiny_models.emotion_manifest(files={
    "fp32": {"model": FileSpec("model.onnx", 1, "0" * 64)}
})))  # fmt: skip


@st.composite
def manifests(draw: st.DrawFn) -> Manifest:
    """Any emotion manifest that is right."""
    return Manifest(
        format=1,
        name=draw(names),
        task="emotion",
        labels=tuple(draw(labels)),
        input=InputSpec(draw(sizes), draw(sizes), "gray", "unit", draw(st.booleans())),
        output=draw(st.sampled_from(["probs", "logits"])),
        files={"fp32": {"model": FileSpec("model.onnx", draw(st.integers(1, 10**6)), "ab" * 32)}},
        opset=draw(st.integers(7, 30)),
        temperature=draw(st.floats(0.01, 100)),
        threshold=draw(shares),
        crop=CropSpec("eyes", draw(st.floats(0.1, 10)), draw(st.floats(-2, 2))),
        training=draw(st.dictionaries(st.text(max_size=9), st.text(max_size=9) | st.integers(), max_size=3)),
        beside=tuple(
            draw(st.lists(st.builds(FileSpec, st.just("CARD.md"), sizes, st.just("0" * 64)), max_size=2))
        ),
    )


@QUICK
@given(manifests())
def test_a_manifest_that_is_right_survives_the_way_to_the_disk(manifest: Manifest) -> None:
    assert parse_manifest(dump_manifest(manifest), "m") == manifest


@QUICK
@given(st.sampled_from(sorted(MANIFEST)), values)
@example("options", {"tflite": {"file": "../../up", "bytes": 1, "sha256": "0" * 64}})
@example("beside", [{"file": "manifest.json", "bytes": 1, "sha256": "0" * 64}])
@example("threshold", float("nan"))
def test_a_manifest_with_any_value_anywhere_is_read_or_refused(key: str, value: Any) -> None:
    try:
        manifest = parse_manifest(json.dumps({**MANIFEST, key: value}), "m.json")
    except ModelError as error:
        assert str(error).startswith("m.json: ")
    else:
        assert parse_manifest(dump_manifest(manifest), "again") == manifest


@QUICK
@given(st.binary(max_size=300))
def test_any_bytes_are_a_model_or_refused(data: bytes) -> None:
    with pytest.raises(ModelError, match=r"^x\.onnx: "):
        scan_onnx(data, "x.onnx")


@QUICK
@given(
    st.binary(max_size=300) | st.text(max_size=300).map(lambda text: text.encode("utf-8", "surrogatepass"))
)
def test_any_bytes_are_a_configuration_or_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "run.toml"
    path.write_bytes(data)
    try:
        assert read_config(path, ["threads"]).keys() <= {"threads"}
    except ConfigError as error:
        assert "run.toml" in str(error)


@QUICK
@given(st.sampled_from(sorted(KioskConfig.__dataclass_fields__)), st.text(max_size=12), values)
def test_any_value_is_a_kiosk_setting_or_refused(tmp_path: Path, section: str, key: str, value: Any) -> None:
    path = tmp_path / "kiosk.toml"
    path.write_text(f"[{section}]\n{json.dumps(key)} = {json.dumps(value)}\n", encoding="utf-8")
    try:
        load_config(path)
    except ConfigError as error:
        assert "kiosk.toml" in str(error)


@QUICK
@given(
    st.lists(
        values | st.dictionaries(st.sampled_from(["seq", "pts_s", "faces", "probs"]), values), max_size=3
    )
)
def test_any_lines_are_a_recording_or_refused(tmp_path: Path, rows: list[Any]) -> None:
    path = tmp_path / "x.rec"
    header = {"format": 1, "size": [64, 48], "models": {}}
    path.write_text("\n".join(json.dumps(row) for row in [header, *rows]), encoding="utf-8")
    try:
        with Recording(path) as recording:
            seen = [frame.seq for frame in recording]
        assert seen == sorted(set(seen))
    except SourceError as error:
        assert "x.rec: line " in str(error)


@QUICK
@given(
    st.sampled_from(
        [b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"BM", b"II*\0", b"MM\0*", b"RIFF....WEBPVP8X"]
    ),
    st.binary(max_size=200),
)
def test_any_bytes_are_a_picture_or_refused(start: bytes, rest: bytes) -> None:
    size_from_header(start + rest)
    with pytest.raises(SourceError, match=r"^x\.png: "):
        decode_image(start + rest, "x.png")
