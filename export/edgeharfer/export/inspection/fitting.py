"""Which label order, channel order and normalization fit a model, tried on labelled data."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import cv2
import numpy as np

from edgeharfer.calib import open_calibration_source
from edgeharfer.calib.data import CalibrationSource, EvaluationData, Pair
from edgeharfer.calib.scoring import Scorer
from edgeharfer.evaluate.dataset import CLIPS, Dataset
from edgeharfer.evaluate.ferplus import LABELS as FERPLUS_LABELS
from edgeharfer.evaluate.label_orders import FITTED, PERMUTED, Counts, plausible_orders, score_orders
from edgeharfer.runtime.inference.manifest import NORMALIZATIONS, InputSpec, Manifest
from edgeharfer.runtime.inference.package import Package
from edgeharfer.runtime.progress import with_progress
from edgeharfer.runtime.types import Floats, Image

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
        channels: Colour channels and their order, "gray", "rgb" or "bgr"; "gray3" for the grey level in
            each of three channels.
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
    variants: Sequence[InputSpec],
    split: str | None = None,
    ferplus: Path | None = None,
) -> list[Fit]:
    """Try label orders, channel orders and normalizations on labelled data.

    Args:
        package: The model as a package, with any labels and normalization.
        path: Folder or zip of labelled pictures or clips.
        recorded: Orders of labels that are recorded in the file or next to it.
        variants: The inputs to try, see `input_variants`.
        split: Name of the split; None chooses the test split.
        ferplus: Table of FER+ votes that replace the folder names.

    Returns:
        The fits, most right predictions first; among equally good ones, usual orders of labels first.

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
        fits = list(_fits(package, source, pairs, Path(scratch), recorded, variants))
    return sorted(fits, key=lambda fit: (-fit.right, fit.fitted, fit.order == PERMUTED))


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


def input_variants(
    manifest: Manifest, *, channels: str | None = None, scaling: bool = True
) -> list[InputSpec]:
    """Return the channel orders and normalizations that a model may have been trained with.

    Args:
        manifest: Manifest of the model, whose other keys are kept.
        channels: The only channel order to try, as in the manifest; None for all.
        scaling: Whether other normalizations than that of the manifest are tried.
    """
    spec = manifest.input
    every = (
        ["gray"] if spec.channels == 1 else ["rgb", "bgr", *(["gray3"] if manifest.window is None else [])]
    )
    plain = replace(spec, mean=(), std=())
    scalings = [replace(plain, normalize=one) for one in NORMALIZATIONS] if scaling else [spec]  # type: ignore[arg-type]
    return [
        replace(one, color=color)  # type: ignore[arg-type]
        for color, one in product(every if channels is None else [channels], scalings)
        if spec.channels == 3 or one.normalize != "imagenet"
    ]


def _base_input(spec: InputSpec) -> InputSpec:
    """The input to read pictures with once: grey, or RGB, of which the others are made."""
    return replace(spec, color="gray" if spec.channels == 1 else "rgb")


def recoloured(pictures: Image, color: str) -> Image:
    """Convert RGB or grey pictures, uint8 (n, height, width, channels), to other channels."""
    if color == "bgr":
        return pictures[..., ::-1]
    if color == "gray3":
        gray = [cv2.cvtColor(one, cv2.COLOR_RGB2GRAY) for one in pictures]
        return np.repeat(np.stack(gray)[..., None], 3, axis=-1)
    return pictures


def _fits(
    package: Package,
    source: CalibrationSource,
    pairs: Sequence[Pair],
    scratch: Path,
    recorded: Mapping[str, Sequence[str]],
    variants: Sequence[InputSpec],
) -> Iterator[Fit]:
    manifest, classes = package.manifest, source.manifest.labels
    data = source.read_evaluation(pairs, scratch)
    graphs = {role: package.read(role) for role in manifest.roles}
    for spec in with_progress(variants, "trying settings"):
        seen = replace(data, pictures=recoloured(data.pictures, spec.color))
        probs = Scorer(replace(manifest, input=spec, prior={}), seen).probs(graphs)
        confusion = count_outputs(probs, data, len(classes))
        held = confusion.sum(axis=1) > 0
        present = [name for name, has in zip(classes, held, strict=True) if has]
        orders = plausible_orders(present, probs.shape[1], recorded)
        for score in score_orders(orders, present, confusion[held]):
            name, labels = score.order.name, score.order.labels
            yield Fit(
                score.top1, score.n, score.right, name, labels, spec.color, spec.normalize, name == FITTED
            )


def count_outputs(probs: Floats, data: EvaluationData, classes: int) -> Counts:
    """Count the items by true class (rows) and strongest output (columns); windows of a clip are averaged."""
    if data.owners is not None:
        sums = np.zeros((len(data.truth), probs.shape[1]), np.float64)
        np.add.at(sums, data.owners, probs)
        probs = sums.astype(np.float32)
    counts = np.zeros((classes, probs.shape[1]), np.int64)
    np.add.at(counts, (data.truth, probs.argmax(axis=1)), 1)
    return counts
