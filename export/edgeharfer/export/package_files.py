"""What a package folder holds: graphs, manifest, receipt and card, written into a fresh folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgeharfer.export.source import CARD
from edgeharfer.runtime.errors import ConfigError
from edgeharfer.runtime.inference.graph import Graph
from edgeharfer.runtime.inference.manifest import FileSpec, Manifest
from edgeharfer.runtime.inference.package import MANIFEST, verify_package, write_manifest

RECEIPT = "receipt.json"

Files = dict[str, dict[str, Graph]]
"""Precision -> role -> graph."""


def check_output_folder(out: Path) -> None:
    """Raises ConfigError where something stands that an export must not replace."""
    usable = out.is_dir() and ((out / MANIFEST).is_file() or not any(out.iterdir()))
    if out.is_symlink() or (out.exists() and not usable):
        raise ConfigError(f"{out}: exists and is no model package: give another --out")


def to_graph(model: Any, role: str) -> Graph:
    """An ONNX model as it is stored; the same model gives the same bytes."""
    return Graph.scan(bytes(model.SerializeToString(deterministic=True)), role)


def file_name(role: str, precision: str) -> str:
    """Of a graph in its package."""
    return f"{role}.onnx" if precision == "fp32" else f"{role}.{precision}.onnx"


def file_spec(role: str, precision: str, graph: Graph) -> FileSpec:
    """What the manifest says of a graph."""
    return FileSpec(file_name(role, precision), len(graph.data), graph.sha256)


def file_specs(files: Files) -> dict[str, dict[str, FileSpec]]:
    """What the manifest says of all graphs."""
    return {
        precision: {role: file_spec(role, precision, graph) for role, graph in roles.items()}
        for precision, roles in files.items()
    }


def graph_facts(graph: Graph) -> dict[str, object]:
    """Size and operators of a graph, for the receipt."""
    return {
        "bytes": len(graph.data),
        "weight_bytes": graph.info.initializer_bytes,
        "nodes": sum(graph.info.nodes.values()),
        "operators": dict(sorted(graph.info.nodes.items())),
    }


def all_graph_facts(files: Files) -> dict[str, object]:
    """Size and operators of each file."""
    return {
        file_name(role, precision): graph_facts(graph)
        for precision, roles in files.items()
        for role, graph in roles.items()
    }


def write_graphs(folder: Path, files: Files) -> None:
    """The graphs alone."""
    for precision, roles in files.items():
        for role, graph in roles.items():
            (folder / file_name(role, precision)).write_bytes(graph.data)


def write_metadata(folder: Path, manifest: Manifest, receipt: Mapping[str, object], card: str) -> None:
    """Manifest, receipt and card beside the graphs; raises ModelError if they do not fit these."""
    write_manifest(folder, manifest)
    text = json.dumps(receipt, indent=2, ensure_ascii=False, allow_nan=False)
    (folder / RECEIPT).write_text(text + "\n", encoding="utf-8")
    (folder / CARD).write_text(card, encoding="utf-8")
    verify_package(folder)
