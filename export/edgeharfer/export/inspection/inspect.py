"""Inspection of a model file or package."""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from edgeharfer.evaluate.label_orders import MIN_GAIN
from edgeharfer.export.exporter import export_model
from edgeharfer.export.inspection.description import ModelDescription, TensorDescription
from edgeharfer.export.inspection.fitting import Fit, Progress, find_fits
from edgeharfer.export.inspection.graphs import describe_onnx, describe_tflite
from edgeharfer.export.inspection.keras_file import describe_keras, describe_saved_model
from edgeharfer.export.keras_model import load_model
from edgeharfer.export.source import ModelSource, find_source, read_labels
from edgeharfer.runtime.errors import ConfigError, EdgeharferError, ModelError
from edgeharfer.runtime.inference.package import Package, load_package

LABEL_FILES = (
    *("labels.json", "labels.txt", "metadata.json", "class_names.txt", "class_names.json"),
    *("classes.txt", "classes.json", "class_indices.json"),
)
"""Usual names of files with labels beside a model."""

_SHOWN_FITS = 10
_PLACEHOLDER = "class-"


@dataclass(frozen=True)
class Inspection:
    """What was found out about a model.

    Attributes:
        model: The file or package.
        description: What it takes and gives.
        problem: Why `export` refuses it; None if it takes it, or for a package.
        fits: What fits labelled data, best first; empty without data.
        command: Command line that exports it; None if it cannot be exported or is a package.
        labels: Labels for that command line, in order; empty if they are unknown.
    """

    model: Path
    description: ModelDescription
    problem: str | None = None
    fits: Sequence[Fit] = ()
    command: str | None = None
    labels: Sequence[str] = ()

    def to_dict(self) -> dict[str, object]:
        """Return the object that `inspect --json` writes."""
        return {
            **self.description.to_dict(),
            "exportable": self.problem is None,
            "problem": self.problem,
            "fits": [asdict(fit) for fit in self.fits],
            "command": self.command,
            "labels_for_command": list(self.labels),
        }

    def lines(self) -> Iterator[str]:
        """Format the inspection as text."""
        yield from self.description.lines()
        if self.fits:
            yield ""
            yield from fit_lines(self.fits)
        if self.problem is not None:
            yield f"  {'export':10} refused: {self.problem}"
        if self.command is not None:
            yield ""
            yield "export it with:"
            yield f"  {self.command}"
            if self.labels:
                yield "labels.txt, one name per line:"
                yield f"  {' '.join(self.labels)}"


def inspect_model(
    path: Path,
    *,
    weights: Path | None = None,
    name: str | None = None,
    labels: Path | None = None,
    data: Path | None = None,
    split: str | None = None,
    ferplus: Path | None = None,
    report: Callable[[str], object] = lambda line: None,
    progress: Progress = lambda done, total: None,
) -> Inspection:
    """Inspect a model file or package.

    Args:
        path: Keras, ONNX or TensorFlow Lite file, SavedModel, training run or package.
        weights: HDF5 file of the weights of a .json architecture.
        name: Which package of a training run.
        labels: File with the labels that the model is said to have.
        data: Labelled data to try label orders, channel orders and normalizations on.
        split: Split of the data; None chooses the test split.
        ferplus: Table of FER+ votes that label the data.
        report: Called with a line for each step.
        progress: Called with the number of inputs that were tried and of all.

    Raises:
        ModelError: The file is damaged, or there is none.
        SourceError: The data cannot be read.
        ConfigError: Data is given for a model that cannot be exported, so it cannot be tried.
    """
    if is_package(path):
        package = load_package(str(path))
        found = Inspection(path, _describe_package(package))
        fits = _try(package, found, data, split, ferplus, progress)
        return replace(found, fits=fits)
    source = find_source(path, name, weights) if not _is_graph(path) else None
    given = {str(labels): read_labels(labels)} if labels is not None else labels_beside(path, source)
    description = _describe(path, source)
    description = replace(description, labels={**description.labels, **given})
    found = Inspection(path, description)
    report("trying to export it")
    with tempfile.TemporaryDirectory(prefix="edgeharfer-") as folder:
        try:
            package, found = _exported(found, source, Path(folder, "package"), name)
        except EdgeharferError as error:
            if data is not None:
                raise ConfigError(f"cannot be tried on data: {error}") from error
            return replace(found, problem=str(error))
        fits = _try(package, found, data, split, ferplus, progress)
        return _with_command(replace(found, fits=fits), package, weights, name)


def is_package(path: Path) -> bool:
    """Whether a path is the folder of a package, or the name of a shipped one."""
    from edgeharfer.runtime.inference.package import shipped_packages

    if (path / "manifest.json").is_file():
        return True
    return not path.exists() and any(str(path) == one.manifest.name for one in shipped_packages())


def fit_lines(fits: Sequence[Fit]) -> Iterator[str]:
    """Format the best fits as a table."""
    yield f"{'top-1':>7} {'n':>5}  {'channels':8} {'normalize':11} label order"
    for fit in fits[:_SHOWN_FITS]:
        mark = " (fitted to this data: expect less on other data)" if fit.fitted else ""
        yield (
            f"{fit.top1:7.1%} {fit.n:5}  {fit.channels:8} {fit.normalize:11} "
            f"{fit.order}: {', '.join(fit.labels)}{mark}"
        )


def best_fit(fits: Sequence[Fit]) -> Fit:
    """Return the fit to export with: a fitted order only if it is much better than all others."""
    plain = [fit for fit in fits if not fit.fitted]
    best = fits[0]
    if plain and best.top1 < plain[0].top1 + MIN_GAIN:
        return plain[0]
    return best


def labels_beside(path: Path, source: ModelSource | None) -> dict[str, Sequence[str]]:
    """Return the labels that a training run records, or that stand in a file beside the model."""
    found: dict[str, Sequence[str]] = {}
    recorded = source.facts.get("labels") if source is not None else None
    if isinstance(recorded, list):
        found["its training run"] = [str(one) for one in recorded]
    names = [*(f"{path.stem}.{kind}" for kind in ("txt", "labels.txt", "labels.json")), *LABEL_FILES]
    for name in names:
        file = path.parent / name
        if file.is_file() and file != path:
            try:
                found[name] = read_labels(file)
            except ModelError:  # some other file of this name
                continue
    return found


def _is_graph(path: Path) -> bool:
    return path.suffix.lower() in (".onnx", ".tflite")


def _describe(path: Path, source: ModelSource | None) -> ModelDescription:
    if source is None:
        return describe_tflite(path) if path.suffix.lower() == ".tflite" else describe_onnx(path)
    return describe_saved_model(source) if source.kind == "savedmodel" else describe_keras(source)


def _describe_package(package: Package) -> ModelDescription:
    manifest = package.manifest
    graphs = {role: package.read(role, next(iter(manifest.files))) for role in manifest.roles}
    first, last = graphs[manifest.roles[0]].info, graphs[manifest.roles[-1]].info
    spec = manifest.input
    clips = f", windows of {manifest.window.frames} frames" if manifest.window is not None else ""
    return ModelDescription(
        str(package.path),
        "package",
        f"task {manifest.task}, precisions {', '.join(manifest.files)}",
        [TensorDescription(one.name, tuple(one.shape), "float32") for one in first.inputs],
        [TensorDescription(one.name, tuple(one.shape), "float32") for one in last.outputs],
        operators={op: n for graph in graphs.values() for op, n in graph.info.nodes.items()},
        size_bytes=sum(len(graph.data) for graph in graphs.values()),
        ending=manifest.output,
        labels={"its manifest": manifest.labels} if manifest.labels else {},
        notes=[f"its manifest states {spec.color}, normalize {spec.normalize}{clips}"],
    ).completed()


def _exported(
    found: Inspection, source: ModelSource | None, out: Path, name: str | None
) -> tuple[Package, Inspection]:
    """Export the model to a temporary package with placeholders for what its file does not say.

    Raises:
        EdgeharferError: `export` refuses the model.
    """
    description = found.description
    if source is None:
        raise ModelError(f"{found.model}: only Keras models can be exported")
    loaded = load_model(source)
    shape = loaded.output_shape
    outputs = [TensorDescription("output", shape, "float32")]
    description = replace(description, outputs=description.outputs or outputs)
    labels = [f"{_PLACEHOLDER}{number}" for number in range(shape[-1] or 0)]
    recorded = source.facts.get("input")
    known = loaded.scales_itself or (isinstance(recorded, Mapping) and "normalize" in recorded)
    package = export_model(
        found.model, out, labels=labels, normalize="auto" if known else "none", name=name,
        weights=source.weights,
    )  # fmt: skip
    return package, replace(found, description=description)


def _try(
    package: Package,
    found: Inspection,
    data: Path | None,
    split: str | None,
    ferplus: Path | None,
    progress: Progress,
) -> list[Fit]:
    if data is None:
        return []
    return find_fits(
        package, data, recorded=found.description.labels, scales_itself=bool(found.description.scaling),
        split=split, ferplus=ferplus, progress=progress,
    )  # fmt: skip


def _with_command(found: Inspection, package: Package, weights: Path | None, name: str | None) -> Inspection:
    """Add the command line that exports the model in the way that fits best, as far as it is known."""
    words = ["edgeharfer", "export", str(found.model)]
    words += ["--weights", str(weights)] if weights is not None else []
    words += ["--name", name] if name is not None else []
    labels: Sequence[str] = ()
    if found.fits:
        best = best_fit(found.fits)
        labels = best.labels
        words += ["--labels", "labels.txt"]
        words += ["--normalize", best.normalize] if not found.description.scaling else []
        words += ["--channels", best.channels] if best.channels == "bgr" else []
    else:
        files = [where for where in found.description.labels if Path(where).suffix]
        words += ["--labels", str(found.model.parent / files[0]) if files else "LABELS"]
        words += [] if found.description.scaling else ["--normalize", "SCALING"]
    words += ["--out", "package"]
    return replace(found, command=shlex.join(words), labels=labels)
