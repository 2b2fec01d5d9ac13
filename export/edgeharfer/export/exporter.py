"""From a Keras model to a model package: convert, split, compare, write, all or nothing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeharfer.export import backend, convert, parity
from edgeharfer.export.card import model_card
from edgeharfer.export.draft import TASKS, Draft, draft_manifest, package_name, shown
from edgeharfer.export.folder import check_place, written_beside
from edgeharfer.export.keras_model import LoadedModel, load_model
from edgeharfer.export.precision import RECIPES, TOLERANCES, halve_weights
from edgeharfer.export.source import CARD, as_labels, check_keys, find_source
from edgeharfer.export.split import split_model
from edgeharfer.runtime.errors import ConfigError, ModelError
from edgeharfer.runtime.manifest import NORMALIZATIONS, Manifest, parse_manifest
from edgeharfer.runtime.onnx_scan import scan_onnx
from edgeharfer.runtime.package import Package, load_package, verify_package, write_manifest
from edgeharfer.runtime.types import Floats

RECEIPT = "receipt.json"
PRECISIONS = tuple(RECIPES)

Report = Callable[[str], object]
Files = dict[str, dict[str, bytes]]
"""Precision -> role -> content."""


@dataclass(frozen=True)
class _Graphs:
    """FP32 graphs by role, and whether their scores are "probs" or "logits"."""

    by_role: Mapping[str, Any]
    output: str


def export_model(
    model: Path,
    out: Path,
    *,
    task: str = "auto",
    labels: Sequence[str] | Path | None = None,
    normalize: str = "auto",
    precisions: Sequence[str] = ("fp32",),
    name: str | None = None,
    facts: Mapping[str, object] | None = None,
    samples: Floats | None = None,
    half_weights: bool = False,
    report: Report = lambda line: None,
) -> Package:
    """Write a model package to the folder `out` and return it.

    model: a .keras, .h5 or .hdf5 file, a SavedModel, or a training run's folder.
    task: "emotion", "action", or "auto" for the run's record or the input's shape.
    labels: class names in the order of the outputs, or their file; without, the run's own.
    normalize: as in the manifest; "auto" takes the run's record, or "none" for a graph that scales itself.
    precisions: of PRECISIONS. half_weights: store the weights of FP32 graphs as float16.
    name: of the package; picks one where a run holds several.
    facts: manifest keys that go before those of the run.
    samples: prepared pictures (n, height, width, c) or clips (n, frames, height, width, c), float32, for
    the parity figures; noise without.
    report: called with a line for each step.

    Raises ModelError for a model that cannot be read, converted or split, or that changes on the way,
    ConfigError for options that do not fit, MissingExtra without TensorFlow. Nothing is left half-written.
    """
    _check_options(task, normalize, precisions)
    check_place(out)
    source = find_source(model, name)
    wanted_labels = as_labels(labels)
    report(f"loading {source.model}")
    loaded = load_model(source)
    recorded = {**source.facts, **check_keys(dict(facts or {}), "facts"), **({"name": name} if name else {})}
    draft = draft_manifest(
        loaded,
        recorded,
        name=package_name(out.resolve().name),
        task=task,
        labels=wanted_labels,
        normalize=normalize,
    )
    report(f"converting to ONNX, opset {convert.OPSET}")
    graphs = _convert(loaded, draft)
    files = _files(graphs, precisions, half_weights)
    manifest = parse_manifest(
        json.dumps({**draft, "output": graphs.output, "files": _specs(files)}), source.where
    )
    receipt = {
        "source": source.receipt(),
        "tools": backend.versions(),
        "opset": convert.OPSET,
        "parity": _compare(manifest, loaded, graphs, files, samples, report),
        "files": _made_of(files),
    }
    _write(out, manifest, files, receipt, source.card)
    report(f"wrote {out}")
    return load_package(out)


def _check_options(task: str, normalize: str, precisions: Sequence[str]) -> None:
    """What can be refused before TensorFlow is loaded."""
    for what, value, known in (
        ("task", task, ("auto", *TASKS.values())),
        ("normalisation", normalize, ("auto", *NORMALIZATIONS)),
        *(("precision", one, PRECISIONS) for one in precisions),
    ):
        if value not in known:
            raise ConfigError(f"unknown {what} {value!r}: choose from {', '.join(known)}")
    if not precisions:
        raise ConfigError(f"no precision given: choose from {', '.join(PRECISIONS)}")


def _convert(loaded: LoadedModel, draft: Draft) -> _Graphs:
    picture = (draft["input"]["height"], draft["input"]["width"], loaded.input_shape[-1] or 0)
    if draft["task"] == "emotion":
        scores = convert.to_onnx(loaded.call, picture, "image", "scores", loaded.name)
        return _named({"model": scores}, scores, loaded.name)
    if loaded.keras is None:
        raise ModelError(f"{loaded.name}: a SavedModel has no layers to split: export its .keras file")
    with backend.quiet():
        split = split_model(loaded.keras, loaded.name, draft["window"]["frames"])
    encoder = convert.to_onnx(_inference(split.encoder), picture, "image", "features", loaded.name)
    window = (split.frames, split.features)
    head = convert.to_onnx(_inference(split.head), window, "window", "scores", loaded.name)
    return _named({"encoder": encoder, "head": head}, head, loaded.name)


def _inference(model: Any) -> Callable[[Any], Any]:
    return lambda batch: model(batch, training=False)


def _named(by_role: dict[str, Any], last: Any, name: str) -> _Graphs:
    output = convert.ends_in(last, name)
    convert.rename_output(last, output)
    return _Graphs(by_role, output)


def _files(graphs: _Graphs, precisions: Sequence[str], half_weights: bool) -> Files:
    files: Files = {}
    for precision in precisions:
        for role, graph in graphs.by_role.items():
            made = RECIPES[precision](graph)
            if half_weights and precision == "fp32":
                made = halve_weights(made)
            files.setdefault(precision, {})[role] = _bytes(made)
    return files


def _bytes(graph: Any) -> bytes:
    return bytes(graph.SerializeToString(deterministic=True))


def _file_name(role: str, precision: str) -> str:
    return f"{role}.onnx" if precision == "fp32" else f"{role}.{precision}.onnx"


def _specs(files: Files) -> dict[str, dict[str, dict[str, object]]]:
    return {
        precision: {
            role: {
                "file": _file_name(role, precision),
                "bytes": len(data),
                "sha256": hashlib.sha256(data).hexdigest(),
            }
            for role, data in roles.items()
        }
        for precision, roles in files.items()
    }


def _made_of(files: Files) -> dict[str, object]:
    """Size and operators of each file."""
    made: dict[str, object] = {}
    for precision, roles in files.items():
        for role, data in roles.items():
            info = scan_onnx(data, role)
            made[_file_name(role, precision)] = {
                "bytes": len(data),
                "weight_bytes": info.initializer_bytes,
                "nodes": sum(info.nodes.values()),
                "operators": dict(sorted(info.nodes.items())),
            }
    return made


def _compare(
    manifest: Manifest,
    loaded: LoadedModel,
    graphs: _Graphs,
    files: Files,
    samples: Floats | None,
    report: Report,
) -> dict[str, object]:
    """Largest differences of a probability from Keras's. Raises ModelError where one is too large.

    First of the graphs as converted, then of the files as they are stored.
    """
    inputs = _inputs(manifest, samples)
    wanted = parity.whole_model(loaded.call, inputs)
    kind = "keras_vs_onnx" if manifest.window is None else "whole_vs_streaming"
    given = "given" if samples is not None else "of noise"
    figures: dict[str, object] = {"inputs": f"{len(inputs)} {given}"}
    converted = {role: _bytes(graph) for role, graph in graphs.by_role.items()}
    for key, models in {kind: converted, **files}.items():
        figure = parity.difference(parity.exported(models, inputs), wanted, manifest.output)
        halved = key in files and models != converted
        report(f"{key}: probabilities differ by at most {figure:.1e}")
        if not figure <= TOLERANCES["fp16" if halved else "fp32"]:
            raise ModelError(
                f"{loaded.name}: changes in conversion: {key} differs by {figure:.1e} from Keras"
            )
        figures[key] = figure
    return figures


def _inputs(manifest: Manifest, samples: Floats | None) -> Floats:
    spec, window = manifest.input, manifest.window
    picture = (spec.height, spec.width, spec.channels)
    shape = picture if window is None else (window.frames, *picture)
    if samples is None:
        return parity.random_samples(shape, spec.normalize)
    if samples.shape[1:] != shape or not len(samples):
        raise ConfigError(f"samples are {shown(samples.shape)}, where the model takes n x {shown(shape)}")
    return samples


def _write(
    out: Path, manifest: Manifest, files: Files, receipt: Mapping[str, object], card: str | None
) -> None:
    with written_beside(out) as folder:
        for precision, roles in files.items():
            for role, data in roles.items():
                (folder / _file_name(role, precision)).write_bytes(data)
        write_manifest(folder, manifest)
        text = json.dumps(receipt, indent=2, ensure_ascii=False, allow_nan=False)
        (folder / RECEIPT).write_text(text + "\n", encoding="utf-8")
        (folder / CARD).write_text(card or model_card(manifest, receipt), encoding="utf-8")
        verify_package(folder)
