"""Which label order, channel order and normalization fit a model, tried on labelled data."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import numpy as np

from edgeharfer.calib import open_calibration_source
from edgeharfer.calib.data import CalibrationSource, EvaluationData, Pair
from edgeharfer.calib.scoring import Scorer
from edgeharfer.evaluate.dataset import CLIPS, Dataset
from edgeharfer.evaluate.ferplus import LABELS as FERPLUS_LABELS
from edgeharfer.evaluate.label_orders import FITTED, Counts, plausible_orders, score_orders
from edgeharfer.runtime.inference.manifest import NORMALIZATIONS, InputSpec, Manifest
from edgeharfer.runtime.inference.package import Package
from edgeharfer.runtime.types import Floats

Progress = Callable[[int, int], object]

MAX_PICTURES, MAX_CLIPS = 700, 70
"""Items that are tried, balanced over the classes; one point of accuracy is 7 pictures."""


@dataclass(frozen=True)
class Fit:
    """Accuracy of a model with one way to use it.

    Attributes:
        top1: Share of right predictions among `n`.
        n: Pictures or clips of the classes in the order.
        right: Right predictions.
        order: Name of the label order.
        labels: The labels in that order.
        channels: Order of the colour channels, "gray", "rgb" or "bgr".
        normalize: Scaling of the input.
        fitted: Whether the order was fitted to this data, so that its accuracy on other data is lower.
    """

    top1: float
    n: int
    right: int
    order: str
    labels: tuple[str, ...]
    channels: str
    normalize: str
    fitted: bool


def find_fits(
    package: Package,
    path: Path,
    *,
    recorded: Mapping[str, Sequence[str]],
    scales_itself: bool,
    split: str | None = None,
    ferplus: Path | None = None,
    progress: Progress = lambda done, total: None,
) -> list[Fit]:
    """Try label orders, channel orders and normalizations on labelled data.

    Args:
        package: The model as a package, with any labels and normalization.
        path: Folder or zip of labelled pictures or clips.
        recorded: Orders of labels that stand in the file or beside it.
        scales_itself: Whether the graph scales raw pixels, so that no other scaling is tried.
        split: Name of the split; None chooses the test split.
        ferplus: Table of FER+ votes that replace the folder names.
        progress: Called with the number of tried inputs and of all.

    Returns:
        The fits, most right predictions first; a fitted order stands behind others that are as good.

    Raises:
        SourceError: The data cannot be read.
    """
    manifest = package.manifest
    classes = data_classes(path, manifest, split, ferplus)
    reading = replace(manifest, labels=classes, prior={}, input=_base_input(manifest.input))
    source = open_calibration_source(reading, path, ferplus)
    pairs = balanced(
        source.labelled(source.data.test_split() if split is None else split),
        MAX_PICTURES if manifest.window is None else MAX_CLIPS,
    )
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        fits = list(_fits(package, source, pairs, Path(scratch), recorded, scales_itself, progress))
    return sorted(fits, key=lambda fit: (-fit.right, fit.fitted))


def data_classes(path: Path, manifest: Manifest, split: str | None, ferplus: Path | None) -> tuple[str, ...]:
    """Return the classes of labelled data.

    Raises:
        SourceError: The data cannot be read.
    """
    if ferplus is not None:
        return FERPLUS_LABELS
    data = Dataset(path) if manifest.window is None else Dataset(path, CLIPS)
    return tuple(dict.fromkeys(sorted(sample.label for sample in data.split(split))))


def balanced(pairs: Sequence[Pair], wanted: int) -> list[Pair]:
    """Choose about `wanted` samples evenly from those of each class."""
    by_class: dict[int, list[Pair]] = defaultdict(list)
    for pair in pairs:
        by_class[pair[1]].append(pair)
    each = max(1, -(-wanted // len(by_class)))
    return [
        found[int(i)]
        for found in by_class.values()
        for i in np.unique(np.linspace(0, len(found) - 1, min(each, len(found))).round())
    ]


def input_variants(spec: InputSpec, scales_itself: bool) -> Iterator[InputSpec]:
    """Yield the channel orders and normalizations that a model may have been trained with."""
    channels = ("gray",) if spec.channels == 1 else ("rgb", "bgr")
    scalings = ("none",) if scales_itself else NORMALIZATIONS
    for color, normalize in product(channels, scalings):
        if color != "gray" or normalize != "imagenet":
            yield replace(spec, color=color, normalize=normalize)  # type: ignore[arg-type]


def _base_input(spec: InputSpec) -> InputSpec:
    """The input to read pictures with once: grey, or RGB whose channels are reversed for BGR."""
    return replace(spec, color="gray" if spec.channels == 1 else "rgb")


def _fits(
    package: Package,
    source: CalibrationSource,
    pairs: Sequence[Pair],
    scratch: Path,
    recorded: Mapping[str, Sequence[str]],
    scales_itself: bool,
    progress: Progress,
) -> Iterator[Fit]:
    manifest, classes = package.manifest, source.manifest.labels
    data = source.read_evaluation(pairs, scratch)
    graphs = {role: package.read(role) for role in manifest.roles}
    variants = list(input_variants(manifest.input, scales_itself))
    for done, spec in enumerate(variants, 1):
        pictures = data.pictures[..., ::-1] if spec.color == "bgr" else data.pictures
        seen = replace(data, pictures=pictures)
        probs = Scorer(replace(manifest, input=spec, prior={}), seen).probs(graphs)
        confusion = count_outputs(probs, data, len(classes))
        present = [name for name, count in zip(classes, confusion.sum(axis=1), strict=True) if count]
        orders = plausible_orders(present, probs.shape[1], recorded)
        for score in score_orders(orders, present, confusion[confusion.sum(axis=1) > 0]):
            name, labels = score.order.name, score.order.labels
            yield Fit(
                score.top1, score.n, score.right, name, labels, spec.color, spec.normalize, name == FITTED
            )
        progress(done, len(variants))


def count_outputs(probs: Floats, data: EvaluationData, classes: int) -> Counts:
    """Count the items by true class (rows) and strongest output (columns); windows of a clip are averaged."""
    if data.owners is not None:
        sums = np.zeros((len(data.truth), probs.shape[1]), np.float64)
        np.add.at(sums, data.owners, probs)
        probs = sums.astype(np.float32)
    counts = np.zeros((classes, probs.shape[1]), np.int64)
    np.add.at(counts, (data.truth, probs.argmax(axis=1)), 1)
    return counts
