"""The files of a package: graphs, manifest, receipt and model card."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgeharfer.export.source import CARD
from edgeharfer.runtime.errors import ConfigError, ModelError
from edgeharfer.runtime.inference.graph import Graph
from edgeharfer.runtime.inference.manifest import FileSpec, Manifest
from edgeharfer.runtime.inference.package import MANIFEST, read_regular_file, verify_package, write_manifest
from edgeharfer.runtime.strict_json import load_json

RECEIPT = "receipt.json"
_MAX_TEXT_BYTES = 4 * 1024 * 1024

Files = dict[str, dict[str, Graph]]
"""Precision -> role -> graph."""


def check_output_folder(out: Path) -> None:
    """Check that an export may replace `out`: a package, an empty folder, or nothing.

    Raises:
        ConfigError: Something else is there.
    """
    usable = out.is_dir() and ((out / MANIFEST).is_file() or not any(out.iterdir()))
    if out.is_symlink() or (out.exists() and not usable):
        raise ConfigError(f"{out}: exists and is not a model package: choose another --out")


def to_graph(model: Any, role: str) -> Graph:
    """Serialize an ONNX model deterministically."""
    return Graph.scan(bytes(model.SerializeToString(deterministic=True)), role)


def file_name(role: str, precision: str) -> str:
    """Return the file name of a graph in its package."""
    return f"{role}.onnx" if precision == "fp32" else f"{role}.{precision}.onnx"


def file_spec(role: str, precision: str, graph: Graph) -> FileSpec:
    """Return the manifest entry of a graph."""
    return FileSpec(file_name(role, precision), len(graph.data), graph.sha256)


def file_specs(files: Files) -> dict[str, dict[str, FileSpec]]:
    """Return the manifest entries of all graphs, by precision and role."""
    return {
        precision: {role: file_spec(role, precision, graph) for role, graph in roles.items()}
        for precision, roles in files.items()
    }


def graph_facts(graph: Graph) -> dict[str, object]:
    """Return size and operators of a graph, for the receipt."""
    return {
        "bytes": len(graph.data),
        "weight_bytes": graph.info.initializer_bytes,
        "nodes": sum(graph.info.nodes.values()),
        "operators": dict(sorted(graph.info.nodes.items())),
    }


def all_graph_facts(files: Files) -> dict[str, object]:
    """Return size and operators of each file, for the receipt."""
    return {
        file_name(role, precision): graph_facts(graph)
        for precision, roles in files.items()
        for role, graph in roles.items()
    }


def write_graphs(folder: Path, files: Files) -> None:
    """Write the graphs."""
    for precision, roles in files.items():
        for role, graph in roles.items():
            (folder / file_name(role, precision)).write_bytes(graph.data)


def read_receipt(folder: Path) -> dict[str, object]:
    """Read the receipt of a package; {} if it has none. Raises ModelError if it is invalid."""
    path = folder / RECEIPT
    if not path.exists():
        return {}
    data = load_json(read_regular_file(path, _MAX_TEXT_BYTES), str(path))
    if not isinstance(data, dict):
        raise ModelError(f"{path}: must be an object")
    return data


def write_metadata(folder: Path, manifest: Manifest, receipt: Mapping[str, object], card: str) -> None:
    """Write manifest, receipt and card, and verify the package.

    Raises:
        ModelError: The graphs do not fit the manifest.
    """
    write_manifest(folder, manifest)
    text = json.dumps(receipt, indent=2, ensure_ascii=False, allow_nan=False)
    (folder / RECEIPT).write_text(text + "\n", encoding="utf-8")
    (folder / CARD).write_text(card, encoding="utf-8")
    verify_package(folder)
