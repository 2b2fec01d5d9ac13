"""From a Keras model to a model package: convert, split, compare, quantize, write, all or nothing."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from edgeharfer.calib.latency import median_ms
from edgeharfer.evaluate.golden import write_golden
from edgeharfer.export import backend, convert, parity
from edgeharfer.export.card import model_card, with_conversion
from edgeharfer.export.draft import Draft, draft_manifest, format_shape, package_name
from edgeharfer.export.int8 import Int8Options, add_int8, real_inputs
from edgeharfer.export.keras_model import LoadedModel, load_model
from edgeharfer.export.package_files import (
    Files,
    all_graph_facts,
    check_output_folder,
    file_specs,
    to_graph,
    write_graphs,
    write_metadata,
)
from edgeharfer.export.precision import RECIPES, TOLERANCES, halve_weights
from edgeharfer.export.rolling import rolling_form
from edgeharfer.export.source import check_keys, find_source, resolve_labels
from edgeharfer.export.split import NotSplitError, split_model
from edgeharfer.runtime.errors import ConfigError, ModelError
from edgeharfer.runtime.inference.graph import Graph
from edgeharfer.runtime.inference.manifest import (
    NORMALIZATIONS,
    PRECISIONS,
    ROLLING,
    Manifest,
    parse_manifest,
)
from edgeharfer.runtime.inference.package import Package, load_package
from edgeharfer.runtime.inference.session import make_session
from edgeharfer.runtime.staging import replaced_folder
from edgeharfer.runtime.tasks import PACKAGE_TASKS
from edgeharfer.runtime.types import Floats
from edgeharfer.runtime.versions import all_installed

Report = Callable[[str], object]


@dataclass(frozen=True)
class _Graphs:
    """FP32 graphs by role, and whether their scores are "probs" or "logits".

    whole: why a clip model was not split; None where it was, and for pictures.
    """

    by_role: Mapping[str, Any]
    output: str
    whole: str | None = None


@dataclass(frozen=True, eq=False)
class _Compared:
    """Figures for the receipt, the inputs that they are from, and Keras's scores for these."""

    figures: dict[str, object]
    inputs: Floats
    wanted: Floats


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
    int8: Int8Options | None = None,
    report: Report = lambda line: None,
) -> Package:
    """Write a model package to the folder `out` and return it.

    model: a .keras, .h5 or .hdf5 file, a SavedModel, or a training run's folder.
    task: one of PACKAGE_TASKS, or "auto" for the run's record (or `facts`) or the input's shape.
    labels: class names in the order of the outputs, or their file; without, the run's own.
    normalize: as in the manifest; "auto" takes the run's record, or "none" for a graph that scales itself.
    precisions: of PRECISIONS. half_weights: store the weights of FP32 graphs as float16.
    name: of the package; picks one where a run holds several.
    facts: manifest keys that go before those of the run.
    samples: prepared pictures (n, height, width, c) or clips (n, frames, height, width, c), float32, for
    the parity figures; without, some of the calibration set, or noise.
    int8: calibration data and guard; needed for the precision "int8".
    report: called with a line for each step.

    Raises ModelError for a model that cannot be read or converted, that changes on the way, or whose INT8
    form loses more than the guard allows,
    ConfigError for options that do not fit, MissingExtra without TensorFlow. Nothing is left half-written.
    """
    _check_options(task, normalize, precisions, int8)
    check_output_folder(out)
    source = find_source(model, name)
    wanted_labels = resolve_labels(labels)
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
    graphs = _convert(loaded, draft, report)
    files = _files(graphs, precisions, half_weights)
    specs = {
        key: {role: asdict(spec) for role, spec in roles.items()} for key, roles in file_specs(files).items()
    }
    manifest = parse_manifest(json.dumps({**draft, "output": graphs.output, "files": specs}), source.where)
    calibration = int8.read(manifest) if int8 is not None and "int8" in precisions else None
    origin = "given" if samples is not None else "of noise"
    if samples is None and calibration is not None:
        samples, origin = real_inputs(calibration, manifest), "of the calibration set"
    compared = _compare(manifest, loaded, graphs, files, _inputs(manifest, samples), report)
    first = next(iter(files.values()))
    receipt = {
        "source": source.receipt(),
        "tools": all_installed(backend.TOOLS),
        "opset": convert.OPSET,
        **({"whole": graphs.whole} if graphs.whole else {}),
        "parity": {"inputs": f"{len(compared.inputs)} {origin}", **compared.figures},
        "latency_ms": latency({role: first[role] for role in manifest.roles}, compared.inputs),
        "files": all_graph_facts(files),
    }
    card = with_conversion(source.card or model_card(manifest, receipt), receipt)
    with replaced_folder(out) as folder:
        write_graphs(folder, files)
        write_metadata(folder, manifest, receipt, card)
        if int8 is not None and calibration is not None:
            keras = compared.inputs, compared.wanted
            add_int8(folder, calibration, int8, precisions, keras=keras, report=report)
        write_golden(load_package(folder))
    report(f"wrote {out}")
    return load_package(out)


def latency(graphs: Mapping[str, Graph], inputs: Floats) -> dict[str, float]:
    """Median milliseconds of each graph on one thread of the CPU; an encoder's is that of one frame."""
    times, batch = {}, inputs[:1, 0] if "head" in graphs else inputs[:1]
    for role, graph in graphs.items():
        session = make_session(graph)
        if role == "head":
            frames = session.input_shape[1]
            batch = np.repeat(batch[:, None], frames if isinstance(frames, int) else 1, axis=1)
        times[role] = round(median_ms({role: {role: session}}, {role: batch}, runs=50)[role], 3)
        batch = session.run1(batch)
    return times


def _check_options(task: str, normalize: str, precisions: Sequence[str], int8: Int8Options | None) -> None:
    """What can be refused before TensorFlow is loaded."""
    for what, value, known in (
        ("task", task, ("auto", *PACKAGE_TASKS)),
        ("normalisation", normalize, ("auto", *NORMALIZATIONS)),
        *(("precision", one, PRECISIONS) for one in precisions),
    ):
        if value not in known:
            raise ConfigError(f"unknown {what} {value!r}: choose from {', '.join(known)}")
    if not precisions:
        raise ConfigError(f"no precision given: choose from {', '.join(PRECISIONS)}")
    if "int8" in precisions and int8 is None:
        raise ConfigError("INT8 needs real data to be calibrated on: give --calibration, or leave int8 out")


def _convert(loaded: LoadedModel, draft: Draft, report: Report) -> _Graphs:
    picture = (draft["input"]["height"], draft["input"]["width"], loaded.input_shape[-1] or 0)
    if "window" not in draft:
        scores = convert.to_onnx(loaded.call, picture, "image", "scores", loaded.name)
        return _named({"model": scores}, scores, loaded.name)
    try:
        if loaded.keras is None:
            raise NotSplitError("a SavedModel has no layers to split: export its .keras file")
        with backend.quiet():
            split = split_model(loaded.keras, loaded.name, draft["window"]["frames"])
    except NotSplitError as error:
        report(f"exporting the whole model: {error}")
        return _whole(loaded, draft["window"]["frames"], picture, str(error))
    encoder = convert.to_onnx(_inference(split.encoder), picture, "image", "features", loaded.name)
    window = (split.frames, split.features)
    head = convert.to_onnx(_inference(split.head), window, "window", "scores", loaded.name)
    return _named({"encoder": encoder, "head": head}, head, loaded.name)


def _whole(loaded: LoadedModel, frames: int | None, picture: tuple[int, ...], reason: str) -> _Graphs:
    """A clip model in one piece: its encoder only lays out the pixels, its head is all of the model.

    So the runtime needs no third kind of package; each step costs the whole model's time.
    """
    tf = backend.load("tensorflow")
    if frames is None:
        raise ConfigError(f"{loaded.name}: the number of frames is free: its record must give window.frames")
    values = math.prod(picture)
    pixels = convert.to_onnx(
        lambda batch: tf.reshape(batch, (-1, values)), picture, "image", "features", loaded.name
    )
    head = convert.to_onnx(
        lambda window: loaded.call(tf.reshape(window, (-1, frames, *picture))),
        (frames, values),
        "window",
        "scores",
        loaded.name,
    )
    return replace(_named({"encoder": pixels, "head": head}, head, loaded.name), whole=reason)


def _inference(model: Any) -> Callable[[Any], Any]:
    return lambda batch: model(batch, training=False)


def _named(by_role: dict[str, Any], last: Any, name: str) -> _Graphs:
    output = convert.output_kind(last, name)
    convert.rename_output(last, output)
    return _Graphs(by_role, output)


def _files(graphs: _Graphs, precisions: Sequence[str], half_weights: bool) -> Files:
    files: Files = {}
    for precision in RECIPES:
        # INT8 is made of the FP32 graphs later on, in the package's folder.
        if precision not in precisions and not (precision == "fp32" and "int8" in precisions):
            continue
        # FP32 is for CPUs, on which a stream is read one frame at a time.
        beside = _rolling(graphs) if precision == "fp32" else {}
        for role, graph in {**graphs.by_role, **beside}.items():
            made = RECIPES[precision](graph)
            if half_weights and precision == "fp32":
                made = halve_weights(made)
            files.setdefault(precision, {})[role] = to_graph(made, role)
    return files


def _rolling(graphs: _Graphs) -> Mapping[str, Any]:
    rolling = rolling_form(graphs.by_role["head"]) if "head" in graphs.by_role else None
    return {} if rolling is None else {ROLLING: rolling}


def _compare(
    manifest: Manifest,
    loaded: LoadedModel,
    graphs: _Graphs,
    files: Files,
    inputs: Floats,
    report: Report,
) -> _Compared:
    """Largest differences of a probability from Keras's. Raises ModelError where one is too large.

    First of the graphs as converted, then of the files as they are stored.
    """
    wanted = parity.keras_scores(loaded.call, inputs)
    kind = "keras_vs_onnx" if manifest.window is None else "whole_vs_streaming"
    figures: dict[str, object] = {}
    agreement: dict[str, float] = {}
    converted = {role: to_graph(model, role) for role, model in graphs.by_role.items()}
    ways = {kind: (converted, TOLERANCES["fp32"])}
    for precision, models in files.items():
        plain = {role: models[role] for role in manifest.roles}
        tolerance = TOLERANCES["fp32" if plain == converted else "fp16"]
        ways[precision] = plain, tolerance
        if ROLLING in models:
            rolling = {role: models[role] for role in ("encoder", ROLLING)}
            ways[f"{precision}_{ROLLING}"] = rolling, tolerance
    for key, (models, tolerance) in ways.items():
        outputs = parity.onnx_scores(models, inputs)
        figure = parity.difference(outputs, wanted, manifest.output)
        report(f"{key}: probabilities differ by at most {figure:.1e}")
        if not figure <= tolerance:
            raise ModelError(
                f"{loaded.name}: changes in conversion: {key} differs by {figure:.1e} from Keras"
            )
        figures[key], agreement[key] = figure, parity.agreement(outputs, wanted)
    return _Compared({**figures, "top1_agreement": agreement}, inputs, wanted)


def _inputs(manifest: Manifest, samples: Floats | None) -> Floats:
    spec, window = manifest.input, manifest.window
    picture = (spec.height, spec.width, spec.channels)
    shape = picture if window is None else (window.frames, *picture)
    if samples is None:
        return parity.random_samples(shape, spec.normalize)
    if samples.shape[1:] != shape or not len(samples):
        raise ConfigError(
            f"samples are {format_shape(samples.shape)}, where the model takes n x {format_shape(shape)}"
        )
    return samples
