"""Export of a model file to a model package: convert, split, compare, quantize, write."""

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
from edgeharfer.export.clip_graphs import clip_graphs
from edgeharfer.export.draft import Draft, draft_manifest, format_shape, package_name
from edgeharfer.export.head import Ending, find_ending
from edgeharfer.export.int8 import Int8Options, add_int8, real_inputs
from edgeharfer.export.keras_model import LoadedModel
from edgeharfer.export.loading import load_model
from edgeharfer.export.onnx_graph import copy_model
from edgeharfer.export.onnx_import import is_half, opset_of
from edgeharfer.export.options import Head, ModelOptions
from edgeharfer.export.package_files import (
    Files,
    all_graph_facts,
    check_output_folder,
    file_specs,
    to_graph,
    write_graphs,
    write_metadata,
)
from edgeharfer.export.precision import QUANTIZED_TOLERANCES, RECIPES, TOLERANCES, halve_weights
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
from edgeharfer.runtime.progress import step
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
        ending: What the model gives.
        not_split: Why a clip model was not split; None if it was, and for picture models.
    """

    by_role: Mapping[str, Any]
    ending: Ending
    not_split: str | None = None

    @property
    def opset(self) -> int:
        """Version of the standard operators."""
        return opset_of(next(iter(self.by_role.values())))


@dataclass(frozen=True, eq=False)
class _Parity:
    """Comparison with the original: figures for the receipt, the inputs, and its scores of them."""

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
    options: ModelOptions | None = None,
    report: Report = lambda line: None,
) -> Package:
    """Write a model package to the folder `out` and return it.

    Args:
        model: A .keras, .h5, .hdf5, .onnx or .tflite file, a SavedModel, the folder of a training run, or the
            .json file of an architecture.
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
        options: Further facts about the model that its file does not record.
        report: Called with a line for each step.

    Raises:
        ModelError: The model cannot be read or converted, its outputs change in conversion, or INT8 loses
            more accuracy than the guard allows.
        ConfigError: The options do not fit the model or each other.
        MissingExtra: TensorFlow or an ONNX tool is not installed.
    """
    _check_options(task, normalize, precisions, int8)
    check_output_folder(out)
    options = options or ModelOptions()
    source = find_source(model, name, weights)
    wanted_labels = resolve_labels(labels)
    report(f"loading {source.model}")
    with step("loading the model"):
        loaded = load_model(source, options)
    recorded = {**source.facts, **check_keys(dict(facts or {}), "facts"), **({"name": name} if name else {})}
    draft = draft_manifest(
        loaded,
        recorded,
        name=package_name(out.resolve().name),
        task=task,
        labels=wanted_labels,
        normalize=normalize,
        options=options,
    )
    if loaded.dtype is not None:
        report(f"saved in {loaded.dtype}, computed in float32")
    if loaded.per_frame:
        report("the model scores every frame of a clip: the package outputs the scores of the last frame")
    if loaded.imported is None:
        report(f"converting to ONNX, opset {convert.OPSET}")
    for what, note in notes_of(loaded).items():
        report(f"{what}: {note}")
    with step("converting to ONNX"):
        graphs = _convert(loaded, draft, report, options.head)
    files = _files(graphs, precisions, half_weights)
    specs = {
        key: {role: asdict(spec) for role, spec in roles.items()} for key, roles in file_specs(files).items()
    }
    manifest = parse_manifest(
        json.dumps({**draft, "output": graphs.ending.output, "files": specs, "opset": graphs.opset}),
        source.where,
    )
    calibration = int8.read(manifest) if int8 is not None and "int8" in precisions else None
    noise = "of noise" if loaded.imported is None else "of noise and of the demo"
    origin = "given" if samples is not None else noise
    if samples is None and calibration is not None:
        samples, origin = real_inputs(calibration, manifest), "of the calibration set"
    with step("comparing outputs"):
        compared = _check_parity(manifest, loaded, graphs, files, _inputs(manifest, loaded, samples), report)
    first = next(iter(files.values()))
    with step("measuring the speed"):
        latency_ms = latency({role: first[role] for role in manifest.roles}, compared.inputs)
    receipt = {
        "source": source.receipt(),
        "tools": all_installed(backend.TOOLS),
        **({"dtype": f"{loaded.dtype}, computed in float32"} if loaded.dtype else {}),
        "opset": graphs.opset,
        **({"import": notes_of(loaded)} if notes_of(loaded) else {}),
        **({"whole": graphs.not_split} if graphs.not_split else {}),
        "parity": {"inputs": f"{len(compared.inputs)} {origin}", **compared.figures},
        "latency_ms": latency_ms,
        "files": all_graph_facts(files),
    }
    card = with_conversion(source.card or model_card(manifest), receipt)
    with replaced_folder(out) as folder:
        write_graphs(folder, files)
        write_metadata(folder, manifest, receipt, card)
        if int8 is not None and calibration is not None:
            keras = compared.inputs, compared.expected
            add_int8(folder, calibration, int8, precisions, keras=keras, report=report)
        with step("comparing the TensorRT form"):
            add_tensorrt(folder, compared.inputs, report)
        with step("computing golden outputs"):
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
        raise ConfigError(
            "INT8 requires calibration data: pass --calibration, or remove int8 from --precision"
        )


def _convert(loaded: LoadedModel, draft: Draft, report: Report, head_kind: Head) -> _Graphs:
    def ending(last: Any) -> Ending:
        return find_ending(
            last,
            _original_scores(loaded, _noise(loaded, draft)),
            loaded.units or 0,
            per_frame=loaded.per_frame,
            head=head_kind,
            where=loaded.last_layer,
        )

    if "encoder" in draft:
        shape = tuple(size or 0 for size in loaded.input_shape[1:])
        head = convert.to_onnx(loaded.call, shape, "window", "scores", loaded.name)
        return _named({"head": head}, head, ending(head))
    picture = _picture(loaded, draft)
    if "window" not in draft or len(loaded.input_shape) == 4:
        if loaded.imported is not None:
            scores = copy_model(loaded.imported.model)
        else:
            scores = convert.to_onnx(loaded.call, picture, "image", "scores", loaded.name)
        graphs = _named({"model": scores}, scores, ending(scores))
        return graphs if "window" not in draft else _window_of_one(graphs, len(draft["labels"]))
    if loaded.imported is not None:
        encoder, head, not_split = clip_graphs(loaded.imported, loaded.name)
        if not_split:
            report(f"exporting the model unsplit: {not_split}")
        return replace(_named({"encoder": encoder, "head": head}, head, ending(head)), not_split=not_split)
    try:
        with backend.quiet():
            split = split_model(loaded.keras, loaded.name, draft["window"]["frames"])
    except NotSplitError as error:
        report(f"exporting the model unsplit: {error}")
        return _whole(loaded, draft["window"]["frames"], picture, str(error), ending)
    encoder = convert.to_onnx(_inference(split.encoder), picture, "image", "features", loaded.name)
    window = (split.frames, split.features)
    head = convert.to_onnx(_inference(split.head), window, "window", "scores", loaded.name)
    return _named({"encoder": encoder, "head": head}, head, ending(head))


def _original_scores(loaded: LoadedModel, inputs: Floats) -> Floats:
    """Return the scores of the original model, float32 (n, ...)."""
    if loaded.imported is not None:
        return np.asarray(loaded.call(inputs), np.float32)
    return parity.keras_scores(loaded.call, inputs)


def notes_of(loaded: LoadedModel) -> Mapping[str, str]:
    """Return what was changed in the graph of an ONNX or TensorFlow Lite file."""
    return {} if loaded.imported is None else loaded.imported.notes


def _noise(loaded: LoadedModel, draft: Draft) -> Floats:
    """Return random input of the model itself, which has no axis of frames if it reads single pictures."""
    if len(loaded.input_shape) == 3:
        return parity.random_values(tuple(size or 0 for size in loaded.input_shape[1:]))
    frames = (draft["window"]["frames"],) if loaded.reads_clips else ()
    return parity.random_values((*frames, *_picture(loaded, draft)))


def _picture(loaded: LoadedModel, draft: Draft) -> tuple[int, ...]:
    """Return the shape of a picture in the layout of the model."""
    size = draft["input"]["height"], draft["input"]["width"]
    if loaded.layout == "nchw":
        return (loaded.input_shape[-3] or 0, *size)
    return (*size, loaded.input_shape[-1] or 0)


def _window_of_one(graphs: _Graphs, labels: int) -> _Graphs:
    """Turn a model of pictures into one of clips of one frame: its head passes on the encoder's scores."""
    encoder = graphs.by_role["model"]
    convert.rename_output(encoder, "features")
    head = convert.pass_on("window", (1, labels), graphs.ending.output, graphs.opset)
    return replace(graphs, by_role={"encoder": encoder, "head": head})


def _whole(
    loaded: LoadedModel,
    frames: int | None,
    picture: tuple[int, ...],
    reason: str,
    ending: Callable[[Any], Ending],
) -> _Graphs:
    """Convert a clip model unsplit: the encoder only flattens the pixels, and the head is the whole model.

    Thus the runtime needs no other kind of package, but each step takes the time of the whole model.
    """
    tf = backend.load("tensorflow")
    if frames is None:
        raise ConfigError(f"{loaded.name}: the number of frames is not fixed: pass --frames")
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
    return replace(_named({"encoder": pixels, "head": head}, head, ending(head)), not_split=reason)


def _inference(model: Any) -> Callable[[Any], Any]:
    return lambda batch: model(batch, training=False)


def _named(by_role: dict[str, Any], last: Any, ending: Ending) -> _Graphs:
    """Give the last graph the outputs of a package."""
    ending.append(last)
    convert.rename_output(last, ending.output)
    return _Graphs(by_role, ending)


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
    """Compare the probabilities with the original's: first of the converted graphs, then of the stored files.

    Raises:
        ModelError: A difference is larger than its tolerance.
    """
    is_picture = len(loaded.input_shape) == 4
    pictures = inputs[:, 0] if is_picture and manifest.window is not None else inputs
    expected = graphs.ending.apply(_original_scores(loaded, pictures))
    kind = "keras_vs_onnx" if loaded.imported is None else "original_vs_onnx"
    kind = "whole_vs_streaming" if "encoder" in manifest.roles else kind
    notes = notes_of(loaded)
    tolerances = QUANTIZED_TOLERANCES if "quantized" in notes else TOLERANCES
    figures: dict[str, object] = {}
    agreement: dict[str, float] = {}
    converted = {role: to_graph(model, role) for role, model in graphs.by_role.items()}
    exact = "fp16" if is_half(notes) else "fp32"
    ways = {kind: (converted, tolerances[exact])}
    for precision, models in files.items():
        plain = {role: models[role] for role in manifest.roles}
        tolerance = tolerances[exact if plain == converted else "fp16"]
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
                f"{loaded.name}: the conversion changes its outputs: {key} differs from the original by "
                f"{figure:.1e}, more than {tolerance:.0e}"
            )
        figures[key], agreement[key] = figure, parity.agreement(outputs, expected)
    return _Parity({**figures, "top1_agreement": agreement}, inputs, expected)


def _inputs(manifest: Manifest, loaded: LoadedModel, samples: Floats | None) -> Floats:
    """Return the samples, or noise."""
    window = manifest.window
    frames = None if window is None else window.frames
    shape: tuple[int, ...] = manifest.input.shape
    shape = shape if frames is None else (frames, *shape)
    if manifest.encoder is not None:
        shape = tuple(size or 0 for size in loaded.input_shape[1:])
    if samples is None and manifest.encoder is not None:
        return parity.random_values(shape)
    if samples is None:
        noise = parity.random_pictures(manifest.input, frames)
        if loaded.imported is None:
            return noise
        return np.concatenate([noise, parity.demo_pictures(manifest.input, frames)])
    if samples.shape[1:] != shape or not len(samples):
        given, expected = format_shape(samples.shape), format_shape(shape)
        raise ConfigError(f"samples have the shape {given}, but the model takes n x {expected}")
    return samples
