"""Export of a Keras model to a model package: convert, split, compare, quantize, write."""

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
from edgeharfer.export.tensorrt import add_tensorrt
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
    """FP32 graphs of a model.

    Attributes:
        by_role: ONNX models by role.
        output: "probs" or "logits".
        not_split: Why a clip model was not split; None if it was, and for picture models.
    """

    by_role: Mapping[str, Any]
    output: str
    not_split: str | None = None


@dataclass(frozen=True, eq=False)
class _Parity:
    """Comparison with Keras: figures for the receipt, the inputs, and Keras's scores of them."""

    figures: dict[str, object]
    inputs: Floats
    expected: Floats


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
    weights: Path | None = None,
    report: Report = lambda line: None,
) -> Package:
    """Write a model package to the folder `out` and return it.

    Args:
        model: A .keras, .h5 or .hdf5 file, a SavedModel, the folder of a training run, or the .json file of
            an architecture.
        out: Folder of the package. It appears complete or not at all.
        task: One of PACKAGE_TASKS, or "auto" to take it from the run, from `facts` or from the input's shape.
        labels: Class names in the order of the outputs, or the file that holds them; None takes the run's.
        normalize: As in the manifest; "auto" takes the run's, or "none" for a graph that scales its input.
        precisions: Some of PRECISIONS.
        name: Name of the package; selects one if a run has several.
        facts: Manifest keys that override those of the run.
        samples: Preprocessed pictures (n, height, width, channels) or clips (n, frames, height, width,
            channels), float32, for the parity figures; None takes some of the calibration set, or noise.
        half_weights: Store the weights of FP32 graphs as float16.
        int8: Calibration data and accuracy guard, required for the precision "int8".
        weights: HDF5 file of the weights that belong to a .json architecture.
        report: Called with a line for each step.

    Raises:
        ModelError: The model cannot be read or converted, its outputs change in conversion, or INT8 loses
            more accuracy than the guard allows.
        ConfigError: The options do not fit the model or each other.
        MissingExtra: TensorFlow or an ONNX tool is not installed.
    """
    _check_options(task, normalize, precisions, int8)
    check_output_folder(out)
    source = find_source(model, name, weights)
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
    compared = _check_parity(manifest, loaded, graphs, files, _inputs(manifest, loaded, samples), report)
    first = next(iter(files.values()))
    receipt = {
        "source": source.receipt(),
        "tools": all_installed(backend.TOOLS),
        "opset": convert.OPSET,
        **({"whole": graphs.not_split} if graphs.not_split else {}),
        "parity": {"inputs": f"{len(compared.inputs)} {origin}", **compared.figures},
        "latency_ms": latency({role: first[role] for role in manifest.roles}, compared.inputs),
        "files": all_graph_facts(files),
    }
    card = with_conversion(source.card or model_card(manifest), receipt)
    with replaced_folder(out) as folder:
        write_graphs(folder, files)
        write_metadata(folder, manifest, receipt, card)
        if int8 is not None and calibration is not None:
            keras = compared.inputs, compared.expected
            add_int8(folder, calibration, int8, precisions, keras=keras, report=report)
        add_tensorrt(folder, compared.inputs, report)
        write_golden(load_package(folder))
    report(f"wrote {out}")
    return load_package(out)


def latency(graphs: Mapping[str, Graph], inputs: Floats) -> dict[str, float]:
    """Measure the median milliseconds of each graph on one CPU thread; for an encoder, of one frame."""
    times, batch = {}, inputs[:1, 0] if "encoder" in graphs else inputs[:1]
    for role, graph in graphs.items():
        session = make_session(graph)
        if role == "head" and "encoder" in graphs:
            frames = session.input_shape[1]
            batch = np.repeat(batch[:, None], frames if isinstance(frames, int) else 1, axis=1)
        times[role] = round(median_ms({role: {role: session}}, {role: batch}, runs=50)[role], 3)
        batch = session.run1(batch)
    return times


def _check_options(task: str, normalize: str, precisions: Sequence[str], int8: Int8Options | None) -> None:
    """Check the options that do not need TensorFlow."""
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
        raise ConfigError("INT8 needs calibration data: give --calibration, or leave int8 out")


def _convert(loaded: LoadedModel, draft: Draft, report: Report) -> _Graphs:
    picture = (draft["input"]["height"], draft["input"]["width"], loaded.input_shape[-1] or 0)
    if "encoder" in draft:
        shape = tuple(size or 0 for size in loaded.input_shape[1:])
        head = convert.to_onnx(loaded.call, shape, "window", "scores", loaded.name)
        return _named({"head": head}, head, loaded.name)
    if "window" not in draft:
        scores = convert.to_onnx(loaded.call, picture, "image", "scores", loaded.name)
        return _named({"model": scores}, scores, loaded.name)
    try:
        if loaded.keras is None:
            raise NotSplitError("a SavedModel cannot be split: export its .keras file")
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
    """Convert a clip model unsplit: the encoder only flattens the pixels, and the head is the whole model.

    Thus the runtime needs no other kind of package, but each step takes the time of the whole model.
    """
    tf = backend.load("tensorflow")
    if frames is None:
        raise ConfigError(
            f"{loaded.name}: the number of frames is not fixed: give window.frames in package.json"
        )
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
    return replace(_named({"encoder": pixels, "head": head}, head, loaded.name), not_split=reason)


def _inference(model: Any) -> Callable[[Any], Any]:
    return lambda batch: model(batch, training=False)


def _named(by_role: dict[str, Any], last: Any, name: str) -> _Graphs:
    output = convert.output_kind(last, name)
    convert.rename_output(last, output)
    return _Graphs(by_role, output)


def _files(graphs: _Graphs, precisions: Sequence[str], half_weights: bool) -> Files:
    files: Files = {}
    for precision in RECIPES:
        # INT8 is made from the FP32 graphs later, in the folder of the package.
        if precision not in precisions and not (precision == "fp32" and "int8" in precisions):
            continue
        # FP32 is for CPUs, on which a stream is read one frame at a time.
        rolling = _rolling(graphs) if precision == "fp32" else {}
        for role, graph in {**graphs.by_role, **rolling}.items():
            made = RECIPES[precision](graph)
            if half_weights and precision == "fp32":
                made = halve_weights(made)
            files.setdefault(precision, {})[role] = to_graph(made, role)
    return files


def _rolling(graphs: _Graphs) -> Mapping[str, Any]:
    rolling = rolling_form(graphs.by_role["head"]) if "encoder" in graphs.by_role else None
    return {} if rolling is None else {ROLLING: rolling}


def _check_parity(
    manifest: Manifest,
    loaded: LoadedModel,
    graphs: _Graphs,
    files: Files,
    inputs: Floats,
    report: Report,
) -> _Parity:
    """Compare the probabilities with Keras's: first of the converted graphs, then of the stored files.

    Raises:
        ModelError: A difference is larger than its tolerance.
    """
    expected = parity.keras_scores(loaded.call, inputs)
    kind = "whole_vs_streaming" if "encoder" in manifest.roles else "keras_vs_onnx"
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
        figure = parity.difference(outputs, expected, manifest.output)
        report(f"{key}: probabilities differ by at most {figure:.1e}")
        if not figure <= tolerance:
            raise ModelError(
                f"{loaded.name}: changes in conversion: {key} differs from Keras by {figure:.1e}, "
                f"more than {tolerance:.0e}"
            )
        figures[key], agreement[key] = figure, parity.agreement(outputs, expected)
    return _Parity({**figures, "top1_agreement": agreement}, inputs, expected)


def _inputs(manifest: Manifest, loaded: LoadedModel, samples: Floats | None) -> Floats:
    spec, window = manifest.input, manifest.window
    picture = (spec.height, spec.width, spec.channels)
    shape: tuple[int, ...] = picture if window is None else (window.frames, *picture)
    normalization: str = spec.normalize
    if manifest.encoder is not None:
        shape, normalization = tuple(size or 0 for size in loaded.input_shape[1:]), "standardize"
    if samples is None:
        return parity.random_samples(shape, normalization)
    if samples.shape[1:] != shape or not len(samples):
        given, expected = format_shape(samples.shape), format_shape(shape)
        raise ConfigError(f"samples have the shape {given}, but the model takes n x {expected}")
    return samples
