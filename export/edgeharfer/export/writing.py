"""What a package folder holds: graphs, manifest, receipt and card, written into a fresh folder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgeharfer.export.source import CARD
from edgeharfer.runtime.errors import ConfigError
from edgeharfer.runtime.inference.manifest import FileSpec, Manifest
from edgeharfer.runtime.inference.package import MANIFEST, verify_package, write_manifest
from edgeharfer.runtime.inference.scan import scan_onnx

RECEIPT = "receipt.json"

Files = dict[str, dict[str, bytes]]
"""Precision -> role -> content."""


def check_place(out: Path) -> None:
    """Raises ConfigError where something stands that an export must not replace."""
    usable = out.is_dir() and ((out / MANIFEST).is_file() or not any(out.iterdir()))
    if out.is_symlink() or (out.exists() and not usable):
        raise ConfigError(f"{out}: exists and is no model package: give another --out")


def to_bytes(graph: Any) -> bytes:
    """An ONNX model as it is stored; the same graph gives the same bytes."""
    return bytes(graph.SerializeToString(deterministic=True))


def file_name(role: str, precision: str) -> str:
    """Of a graph in its package."""
    return f"{role}.onnx" if precision == "fp32" else f"{role}.{precision}.onnx"


def file_spec(role: str, precision: str, data: bytes) -> FileSpec:
    """What the manifest says of a graph."""
    return FileSpec(file_name(role, precision), len(data), hashlib.sha256(data).hexdigest())


def file_specs(files: Files) -> dict[str, dict[str, FileSpec]]:
    """What the manifest says of all graphs."""
    return {
        precision: {role: file_spec(role, precision, data) for role, data in roles.items()}
        for precision, roles in files.items()
    }


def made_of(name: str, data: bytes) -> dict[str, object]:
    """Size and operators of a graph, for the receipt."""
    info = scan_onnx(data, name)
    return {
        "bytes": len(data),
        "weight_bytes": info.initializer_bytes,
        "nodes": sum(info.nodes.values()),
        "operators": dict(sorted(info.nodes.items())),
    }


def all_made_of(files: Files) -> dict[str, object]:
    """Size and operators of each file."""
    return {
        file_name(role, precision): made_of(role, data)
        for precision, roles in files.items()
        for role, data in roles.items()
    }


def write_graphs(folder: Path, files: Files) -> None:
    """The graphs alone."""
    for precision, roles in files.items():
        for role, data in roles.items():
            (folder / file_name(role, precision)).write_bytes(data)


def write_papers(folder: Path, manifest: Manifest, receipt: Mapping[str, object], card: str) -> None:
    """Manifest, receipt and card beside the graphs; raises ModelError if they do not fit these."""
    write_manifest(folder, manifest)
    text = json.dumps(receipt, indent=2, ensure_ascii=False, allow_nan=False)
    (folder / RECEIPT).write_text(text + "\n", encoding="utf-8")
    (folder / CARD).write_text(card, encoding="utf-8")
    verify_package(folder)
