"""The time that a scan of a hostile model file takes: bounded by the number of its parts."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest

import tiny_models
from edgeharfer.runtime.errors import ModelError
from edgeharfer.runtime.inference.manifest import (
    MAX_FILES,
    MAX_PACKAGE_BYTES,
    FileSpec,
    dump_manifest,
    parse_manifest,
)
from edgeharfer.runtime.inference.package import load_package, verify_package, write_manifest
from edgeharfer.runtime.inference.protobuf import FieldBudget
from edgeharfer.runtime.inference.scan import MAX_FIELDS, scan_onnx

CHECK_S = 5.0
"""Of processor time: what a check may cost at most."""


def varint(value: int) -> bytes:
    text = b""
    while value > 0x7F:
        text += bytes([value & 0x7F | 0x80])
        value >>= 7
    return text + bytes([value])


def field(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content


def node(op: bytes, more: bytes = b"") -> bytes:
    return field(1, field(4, op) + more)


def model(graph: bytes) -> bytes:
    return field(7, graph) + field(8, b"\x10\x11")


def nested() -> bytes:
    graph = node(b"Relu") * 20_000
    for _ in range(15):
        graph = node(b"If", field(5, field(6, graph))) + node(b"Relu") * 20_000
    return model(graph)


def shape_of(axes: int) -> bytes:
    largest = b"\x08" + varint((1 << 63) - 1)
    return model(field(11, field(1, b"x") + field(2, field(1, field(2, field(1, largest) * axes)))))


HOSTILE = {
    "empty inputs": model(node(b"Relu", b"\x0a\x00" * 200_000) * 40),
    "operators of different names": model(b"".join(node(b"op%d" % number) for number in range(60_000))),
    "a shape of many axes": shape_of(60_000),
    "nested graphs": nested(),
    "attributes": model(node(b"Relu", field(5, b"\x0a\x01a") * 200_000) * 12),
    "initializers": model(field(5, b"\x10\x01\x42\x01a") * 1_000_000),
    "operator sets": field(8, b"\x10\x11") * 1_000_000 + model(node(b"Relu")),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_scan_costs_little_whatever_the_file_holds(name: str) -> None:
    start_s = time.process_time()
    with pytest.raises(ModelError, match=r"^x: .*more than"):
        scan_onnx(HOSTILE[name], "x")
    assert time.process_time() - start_s < CHECK_S


def test_files_of_one_package_share_a_budget() -> None:
    budget = FieldBudget(MAX_FIELDS)
    data = model(node(b"Relu") * 40_000)
    scan_onnx(data, "first", budget)
    scan_onnx(data, "second", budget)
    with pytest.raises(ModelError, match=r"^third: has more than"):
        scan_onnx(data, "third", budget)


def test_a_package_of_many_files_is_verified_quickly(tmp_path: Path) -> None:
    package = tiny_models.emotion_package(tmp_path)
    names = [f"file-{number}" for number in range(MAX_FILES - 1)]
    specs = {name: vars(tiny_models.file_spec(tmp_path, name, b"")) for name in names}
    write_manifest(tmp_path, replace(package.manifest, options=specs))
    start_s = time.process_time()
    assert len(verify_package(tmp_path).manifest.other_files) == MAX_FILES - 1
    assert time.process_time() - start_s < CHECK_S


@pytest.mark.parametrize(("count", "size"), [(MAX_FILES, 1), (20, MAX_PACKAGE_BYTES // 20)])
def test_files_that_would_take_long_to_hash_are_refused_unread(tmp_path: Path, count: int, size: int) -> None:
    manifest = tiny_models.emotion_package(tmp_path).manifest
    beside = {f"file-{n}": vars(FileSpec(f"file-{n}", size, "0" * 64)) for n in range(count)}
    content = dump_manifest(replace(manifest, options=beside))
    with pytest.raises(ModelError, match="lists more than"):
        parse_manifest(content, "x")
    assert load_package(tmp_path)
