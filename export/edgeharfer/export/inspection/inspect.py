"""Inspection of a model file or package."""

from __future__ import annotations

import shlex
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path

from edgeharfer.evaluate.label_orders import MIN_GAIN
from edgeharfer.export.exporter import export_model
from edgeharfer.export.inspection.description import ModelDescription, TensorDescription
from edgeharfer.export.inspection.fitting import Fit, find_fits, input_variants
from edgeharfer.export.inspection.graphs import describe_onnx, describe_tflite
from edgeharfer.export.inspection.keras_file import describe_keras, describe_saved_model
from edgeharfer.export.loading import load_model
from edgeharfer.export.options import ModelOptions
from edgeharfer.export.source import ModelSource, find_source, read_labels
from edgeharfer.runtime.errors import ConfigError, EdgeharferError, ModelError
from edgeharfer.runtime.inference.package import Package, load_package, shipped_packages

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
            yield f"  {'export':10} rejected: {self.problem}"
        if self.command is not None:
            yield ""
            yield "export it with:"
            yield f"  {self.command}"
            if self.labels:
                yield "labels.txt, one name per line:"
                yield f"  {' '.join(self.labels)}"


@dataclass(frozen=True, kw_only=True)
class GivenFacts:
    """What the caller says of a model, as for `export_model`.

    Attributes:
        task: Task of the package, or "auto".
        labels: File with the labels that the model is said to have.
        normalize: Normalization, or "auto".
        weights: HDF5 file of the weights of a .json architecture.
        name: Which package of a training run.
        options: Further facts.
    """

    task: str = "auto"
    labels: Path | None = None
    normalize: str = "auto"
    weights: Path | None = None
    name: str | None = None
    options: ModelOptions = field(default_factory=ModelOptions)

    @property
    def scaling(self) -> bool:
        """Whether the scaling of the input is given."""
        return self.normalize != "auto" or bool(self.options.mean or self.options.std)

    def words(self) -> Iterator[str]:
        """Yield the options of `export`, without labels, scaling and channels, which may be found."""
        task = None if self.task == "auto" else self.task
        for flag, value in (("--task", task), ("--weights", self.weights), ("--name", self.name)):
            if value is not None:
                yield from (flag, str(value))
        given = {one.name: getattr(self.options, one.name) for one in fields(self.options)}
        for flag in ("crop", "frames", "seconds", "size", "layout", "head", "output"):
            if (value := given[flag]) not in (None, "auto"):
                yield from (f"--{flag}", "x".join(map(str, value)) if flag == "size" else str(value))


def inspect_model(
    path: Path,
    given: GivenFacts | None = None,
    *,
    data: Path | None = None,
    split: str | None = None,
    ferplus: Path | None = None,
) -> Inspection:
    """Inspect a model file or package.

    Args:
        path: Keras, ONNX or TensorFlow Lite file, SavedModel, training run or package.
        given: What is known of the model. Channels and scaling that are given are not varied.
        data: Labelled data to try label orders, channel orders and normalizations on.
        split: Split of the data; None chooses the test split.
        ferplus: Table of FER+ votes that label the data.

    Raises:
        ModelError: The file is damaged, or there is none.
        SourceError: The data cannot be read.
        ConfigError: Data is given for a model that cannot be exported, so it cannot be tried.
    """
    given = given or GivenFacts()
    if is_package(path):
        package = load_package(str(path))
        found = Inspection(path, _describe_package(package))
        return replace(found, fits=_try(package, found, given, data, split, ferplus))
    source = find_source(path, given.name, given.weights)
    stated = {str(given.labels): read_labels(given.labels)} if given.labels else labels_beside(path, source)
    description = _describe(source)
    found = Inspection(path, replace(description, labels={**stated, **description.labels}))
    with tempfile.TemporaryDirectory(prefix="edgeharfer-") as folder:
        try:
            package, found = _exported(found, source, Path(folder, "package"), given)
        except EdgeharferError as error:
            if data is not None:
                raise ConfigError(f"cannot be tried on data: {error}") from error
            return replace(found, problem=str(error))
        fits = _try(package, found, given, data, split, ferplus)
    return _with_command(replace(found, fits=fits), given)


def is_package(path: Path) -> bool:
    """Whether a path is the folder of a package, or the name of a shipped one."""
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


def labels_beside(path: Path, source: ModelSource) -> dict[str, Sequence[str]]:
    """Return the labels that a training run records, or that stand in a file beside the model."""
    found: dict[str, Sequence[str]] = {}
    recorded = source.facts.get("labels")
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


def _describe(source: ModelSource) -> ModelDescription:
    readers = {"onnx": describe_onnx, "tflite": describe_tflite}
    if source.kind in readers:
        return readers[source.kind](source.model)
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
        operators=dict(sum((Counter(graph.info.nodes) for graph in graphs.values()), Counter())),
        size_bytes=sum(len(graph.data) for graph in graphs.values()),
        ending=manifest.output,
        labels={"its manifest": manifest.labels} if manifest.labels else {},
        notes=[f"its manifest states {spec.color}, normalize {spec.normalize}{clips}"],
    ).completed()


def _exported(
    found: Inspection, source: ModelSource, out: Path, given: GivenFacts
) -> tuple[Package, Inspection]:
    """Export the model to a temporary package with placeholders for what its file does not say.

    Raises:
        EdgeharferError: `export` refuses the model.
    """
    description = found.description
    loaded = load_model(source, given.options)
    outputs = [TensorDescription("output", loaded.output_shape, "float32")]
    description = replace(
        description,
        outputs=description.outputs or outputs,
        scaling=[] if loaded.scaling_layer is None else description.scaling or [loaded.scaling_layer],
    )
    recorded = source.facts.get("input")
    known = loaded.scaling_layer is not None or (isinstance(recorded, Mapping) and "normalize" in recorded)
    package = export_model(
        found.model,
        out,
        task=given.task,
        labels=[f"{_PLACEHOLDER}{number}" for number in range(max(loaded.units or 0, 2))],
        normalize=given.normalize if known or given.scaling else "none",
        name=given.name,
        weights=given.weights,
        options=given.options,
    )
    return package, replace(found, description=description)


def _try(
    package: Package,
    found: Inspection,
    given: GivenFacts,
    data: Path | None,
    split: str | None,
    ferplus: Path | None,
) -> list[Fit]:
    if data is None:
        return []
    scaled = bool(found.description.scaling) or given.scaling
    channels = package.manifest.input.color if given.options.channels is not None else None
    variants = input_variants(package.manifest, channels=channels, scaling=not scaled)
    labels = found.description.labels
    return find_fits(package, data, recorded=labels, variants=variants, split=split, ferplus=ferplus)


def _with_command(found: Inspection, given: GivenFacts) -> Inspection:
    """Add the command line that exports the model in the way that fits best, as far as it is known."""
    words = ["edgeharfer", "export", str(found.model), *given.words()]
    best = best_fit(found.fits) if found.fits else None
    words += ["--labels", "labels.txt" if best is not None else _labels_word(found, given)]
    words += _scaling_words(found, given, best)
    channels = best.channels if best is not None else given.options.channels
    words += ["--channels", channels.removesuffix("3")] if channels in ("bgr", "gray3") else []
    command = shlex.join([*words, "--out", "package"])
    return replace(found, command=command, labels=best.labels if best is not None else ())


def _labels_word(found: Inspection, given: GivenFacts) -> str:
    files = [one for where in found.description.labels if (one := found.model.parent / where).is_file()]
    return str(given.labels or (files[0] if files else "LABELS"))


def _scaling_words(found: Inspection, given: GivenFacts, best: Fit | None) -> list[str]:
    if found.description.scaling:
        return []
    words = []
    for flag, values in (("--mean", given.options.mean), ("--std", given.options.std)):
        words += [flag, ",".join(map(str, values))] if values else []
    if words:
        return words if given.normalize == "auto" else ["--normalize", given.normalize, *words]
    return ["--normalize", best.normalize if best is not None else _given_or(given.normalize, "SCALING")]


def _given_or(value: str, placeholder: str) -> str:
    return placeholder if value == "auto" else value
