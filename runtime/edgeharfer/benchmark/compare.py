"""Collect the candidates of a benchmark: packages and the same models in other engines."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from edgeharfer.benchmark.keras_peer import KerasModel, keras_candidates, load_keras, set_threads
from edgeharfer.benchmark.litert_peer import litert_candidates
from edgeharfer.benchmark.openvino_peer import openvino_candidates
from edgeharfer.benchmark.ours import (
    BenchmarkSetup,
    chosen_precisions,
    package_candidates,
    part_name,
    pictures,
    windows,
)
from edgeharfer.benchmark.peers import PeerGraph
from edgeharfer.benchmark.rows import Comparison
from edgeharfer.runtime.errors import ConfigError
from edgeharfer.runtime.inference.package import Package, read_regular_file

RECEIPT = "receipt.json"
_MAX_RECEIPT_BYTES = 1024 * 1024


@dataclass(frozen=True)
class BenchmarkSubject:
    """A package to measure.

    Attributes:
        package: The package.
        keras: File of the Keras model that the package was exported from, if it was given.
        keras_name: Name of the model in a file with several models.
    """

    package: Package
    keras: Path | None = None
    keras_name: str | None = None


@contextmanager
def exported_subject(model: Path, name: str | None = None) -> Iterator[BenchmarkSubject]:
    """Export a model to a temporary package, which is deleted at the end of the context.

    Placeholders replace labels and scaling that the model does not record, since they do not affect speed.
    """
    from edgeharfer.export import export_model
    from edgeharfer.export.loading import load_model
    from edgeharfer.export.source import FOREIGN, find_source

    source = find_source(model, name)
    loaded = load_model(source)
    labels = None
    if "labels" not in source.facts:
        labels = [f"class-{number}" for number in range(max(loaded.units or 0, 2))]
    record = source.facts.get("input")
    known = loaded.scaling_layer is not None or (isinstance(record, dict) and "normalize" in record)
    with TemporaryDirectory(prefix="edgeharfer-") as folder:
        package = export_model(
            model, Path(folder, model.stem), labels=labels, normalize="auto" if known else "unit", name=name
        )
        yield BenchmarkSubject(package, None if source.kind in FOREIGN else model, name)


def check_origin(package: Package, model: Path) -> None:
    """Check that a package was exported from a model, if its receipt records the source.

    Raises:
        ConfigError: The receipt records another model.
    """
    from edgeharfer.export.source import find_source

    path = package.path / RECEIPT
    if not path.is_file():
        return
    recorded = json.loads(read_regular_file(path, _MAX_RECEIPT_BYTES)).get("source", {}).get("sha256")
    if recorded is not None and find_source(model).receipt()["sha256"] != recorded:
        raise ConfigError(f"{model}: {package.manifest.name} was exported from another model: see {path}")


def compare(subjects: Sequence[BenchmarkSubject], setup: BenchmarkSetup, peers: Sequence[str]) -> Comparison:
    """Collect the candidates. A peer that fails is left out with the reason.

    Args:
        subjects: The packages.
        setup: What to vary.
        peers: Names of the installed peers to measure.

    Raises:
        ConfigError: A package does not have a requested precision.
        ProviderError: A requested provider cannot be loaded.
    """
    comparison = Comparison()
    threads = setup.threads[0]
    if {"keras", "litert"} & set(peers) and (used := set_threads(threads)) != threads:
        comparison.left_out.append(f"keras: TensorFlow already runs with {used} threads, not {threads}")
    for subject in subjects:
        comparison.candidates += package_candidates(subject.package, setup)
        if peers:
            _add_peers(comparison, subject, setup, peers)
    return comparison


def _add_peers(
    comparison: Comparison, subject: BenchmarkSubject, setup: BenchmarkSetup, peers: Sequence[str]
) -> None:
    name = subject.package.manifest.name
    model = None
    if {"keras", "litert"} & set(peers):
        if subject.keras is None:
            affected = " and ".join(peer for peer in ("keras", "litert") if peer in peers)
            reason = f"no Keras model of {name}: pass its file with --keras-model"
            comparison.left_out.append(f"{affected}: {reason}")
        else:
            model = load_keras(subject.keras, subject.keras_name)
    for part in parts_of(subject.package, model, setup):
        batches = [1] if part.name.endswith(" step") else setup.batches
        if "keras" in peers and part.model is not None:
            comparison.add_peer(f"keras, {part.name}", keras_candidates(part, setup.threads[0], batches))
        if "openvino" in peers and part.onnx:
            comparison.add_peer(f"openvino, {part.name}", openvino_candidates(part, setup.threads, batches))
        if "litert" in peers and part.model is not None and part.onnx:
            comparison.add_peer(f"litert, {part.name}", litert_candidates(part, setup.threads, batches))


def parts_of(package: Package, model: KerasModel | None, setup: BenchmarkSetup) -> list[PeerGraph]:
    """The graphs of a package and, with its Keras model, the whole clip model that a step replaces."""
    manifest = package.manifest
    precisions = chosen_precisions(package, setup.precisions)
    picture = pictures(manifest, 1)[0]
    parts = []
    for role in manifest.roles:
        graphs = {precision: package.read(role, precision) for precision in precisions}
        sample = picture
        if role == "head":
            shape = graphs[precisions[0]].info.inputs[0].shape
            sample = windows(int(shape[1]), int(shape[2]), 1)[0]
        keras = None if model is None else model.by_role.get(role)
        onnx = {precision: graph.data for precision, graph in graphs.items()}
        parts.append(PeerGraph(part_name(manifest.name, role), sample, onnx, keras))
    if model is not None and "encoder" in manifest.roles:
        clip = np.stack([picture] * model.input_shape[0])
        parts.append(PeerGraph(part_name(manifest.name, "step"), clip, model=model.whole))
    return parts
