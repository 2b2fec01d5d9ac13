"""Read FER-2013 into arrays, drop duplicates, and align faces as the runtime does."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeharfer.evaluate import ferplus
from edgeharfer.evaluate.dataset import TEST_SPLITS, TRAIN_SPLITS, Dataset, LabelledFile, canonical
from edgeharfer.runtime.errors import SourceError
from edgeharfer.runtime.faces.align import FER_CROP
from edgeharfer.runtime.faces.detector import Detector
from edgeharfer.runtime.faces.portrait import crop_portrait, find_face
from edgeharfer.runtime.inference.preprocess import convert_color, resize
from edgeharfer.runtime.progress import with_progress
from edgeharfer.runtime.source.decode import decode_image
from edgeharfer.runtime.types import Floats, Image
from edgeharfer.training.duplicates import (
    NEAR_DUPLICATE_CORRELATION,
    group_identical,
    most_similar,
    thumbnails,
)
from edgeharfer.training.emotion.kaggle import FER7, SIDE, SPLITS, read_rows

UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class ExcludedImage:
    """An image that is not used.

    Attributes:
        name: The image.
        reason: Why it is excluded.
        of: The image that it duplicates, if that is the reason.
    """

    name: str
    reason: str
    of: str = ""


NO_LABEL = -1
"""Label of a face that has none."""


@dataclass
class Faces:
    """Faces of one split.

    Attributes:
        names: File names, n.
        pictures: Grey images as in the data set, uint8 (n, 48, 48).
        labels: Indices into FER7, int64 (n,).
        aligned: Images cropped as at run time, of the same shape; equal to `pictures` where no face was
            found.
        excluded: Images that were dropped, with reasons.
        split: Name of the split.
    """

    names: list[str]
    pictures: Image
    labels: NDArray[np.int64]
    aligned: Image
    excluded: list[ExcludedImage] = field(default_factory=list)
    split: str = ""

    def __len__(self) -> int:
        return len(self.names)

    @property
    def dropped(self) -> Counter[str]:
        """Number of excluded images by reason."""
        return Counter(one.reason for one in self.excluded)

    @property
    def unreadable(self) -> list[str]:
        """Damaged images: file names, or line and error of CSV rows."""
        return [one.name for one in self.excluded if one.reason == UNREADABLE]

    def take(
        self, index: Sequence[int] | NDArray[np.int64], reason: str = "", of: Mapping[int, str] | None = None
    ) -> Faces:
        """Select images by index.

        Args:
            index: Indices to keep.
            reason: If given, the other images are recorded as excluded for it.
            of: Index -> name of the image that an excluded one duplicates.
        """
        index = np.asarray(index, np.int64)
        removed = np.setdiff1d(np.arange(len(self)), index).tolist() if reason else []
        excluded = [ExcludedImage(self.names[i], reason, (of or {}).get(i, "")) for i in removed]
        names = [self.names[i] for i in index]
        arrays = self.pictures[index], self.labels[index], self.aligned[index]
        return Faces(names, *arrays, [*self.excluded, *excluded], self.split)

    def with_more(self, others: Faces) -> Faces:
        """Return these faces followed by others without a label of FER-2013."""
        return Faces(
            [*self.names, *others.names],
            np.concatenate([self.pictures, others.pictures]),
            np.concatenate([self.labels, np.full(len(others), NO_LABEL, np.int64)]),
            np.concatenate([self.aligned, others.aligned]),
            self.excluded,
            self.split,
        )


def read_splits(path: Path, votes: Path | None = None) -> dict[str, Faces]:
    """Read all splits; damaged images are recorded as excluded.

    Args:
        path: Folder, zip or Kaggle CSV.
        votes: FER+ table that names the rows of a CSV; see `kaggle.read_rows`.

    Returns:
        Split name -> faces; the splits of a CSV are named train, val and test.

    Raises:
        SourceError: The data cannot be read.
    """
    if path.suffix.lower() == ".csv":
        return _read_csv(path, votes)
    data = Dataset(path)
    return {split: _read_split(data, split) for split in data.splits}


def train_and_test(splits: Mapping[str, Faces], path: Path) -> tuple[Faces, Faces]:
    """Select the training and the evaluation split.

    The evaluation split is val (PublicTest) for a CSV, otherwise test or, without one, val.

    Args:
        splits: Result of `read_splits`.
        path: Where they were read from.

    Raises:
        SourceError: A split or one of its classes is missing.
    """
    names = ("val", "test") if path.suffix.lower() == ".csv" else TEST_SPLITS
    test = _complete_split(splits, names, path)
    return _complete_split(splits, TRAIN_SPLITS, path), test


def _complete_split(splits: Mapping[str, Faces], names: Sequence[str], path: Path) -> Faces:
    by_name = {split.lower(): faces for split, faces in splits.items()}
    faces = next((by_name[name.lower()] for name in names if name.lower() in by_name), None)
    if faces is None:
        raise SourceError(f"{path}: expected a split {' or '.join(names)}/<class>/<file>; found "
                          f"{', '.join(map(repr, splits))}")  # fmt: skip
    if missing := [label for i, label in enumerate(FER7) if i not in faces.labels]:
        raise SourceError(f"{path} {faces.split}: no image of class {', '.join(missing)}")
    return faces


def _read_split(data: Dataset, split: str) -> Faces:
    samples, excluded = [], []
    for sample in with_progress(data.split(split), f"reading {split or 'images'}"):
        if canonical(sample.label) not in FER7:
            excluded.append(ExcludedImage(sample.name, f"class {sample.label}"))
        elif (picture := _read_picture(data, sample)) is None:
            excluded.append(ExcludedImage(sample.name, UNREADABLE))
        else:
            label = FER7.index(canonical(sample.label))
            samples.append((sample.file, to_fer_format(picture), label))
    return _as_faces(samples, excluded, split)


def _read_picture(data: Dataset, sample: LabelledFile) -> Image | None:
    try:
        return decode_image(data.read(sample), sample.name)
    except SourceError:
        return None


def _read_csv(path: Path, votes: Path | None) -> dict[str, Faces]:
    rows, bad = read_rows(path, votes)
    samples: dict[str, list[tuple[str, Image, int]]] = defaultdict(list)
    excluded: dict[str, list[ExcludedImage]] = defaultdict(list)
    for row in rows:
        samples[row.split].append((row.name, row.picture, row.label))
    for fault in bad:
        excluded[fault.split].append(ExcludedImage(f"line {fault.line}: {fault.reason}", UNREADABLE))
    return {
        split: _as_faces(samples[split], excluded[split], split)
        for split in SPLITS.values()
        if split in samples or split in excluded
    }


def to_fer_format(picture: Image) -> Image:
    """Convert a BGR or grey image to FER-2013's format, grey 48x48."""
    gray = convert_color(picture, cv2.COLOR_BGR2GRAY) if picture.ndim == 3 else picture
    return resize(gray, SIDE, SIDE)


def _as_faces(samples: Sequence[tuple[str, Image, int]], excluded: list[ExcludedImage], split: str) -> Faces:
    """Combine samples into arrays; also works without any sample."""
    pictures = np.array([picture for _, picture, _ in samples], np.uint8).reshape(len(samples), SIDE, SIDE)
    labels = np.array([label for _, _, label in samples], np.int64)
    return Faces([name for name, _, _ in samples], pictures, labels, pictures, excluded, split)


def without_duplicates(train: Faces, *held_out: Faces) -> Faces:
    """Drop blank images, images that are also in a held-out split, and repeated images.

    Identical images with conflicting labels are all dropped. Near duplicates (other contrast or compression)
    are searched for in the held-out splits only.
    """
    kept = train.take([i for i in range(len(train)) if train.pictures[i].std() > 0], "blank")
    for others in held_out:
        kept = _without_duplicates_of(kept, others)
    return _without_repeats(_without_conflicts(kept))


def _without_duplicates_of(faces: Faces, others: Faces) -> Faces:
    if not len(others):
        return faces
    index, alike = most_similar(thumbnails(faces.pictures), thumbnails(others.pictures))
    of = {i: others.names[j] for i, j in enumerate(index)}
    return faces.take(np.flatnonzero(alike < NEAR_DUPLICATE_CORRELATION), "also in the evaluation set", of)


def _without_conflicts(faces: Faces) -> Faces:
    agreeing: list[int] = []
    of: dict[int, str] = {}
    for group in group_identical(faces.pictures):
        if len(set(faces.labels[group].tolist())) == 1:
            agreeing += group
        for i in group:
            of[i] = next((faces.names[j] for j in group if faces.labels[j] != faces.labels[i]), "")
    return faces.take(sorted(agreeing), "copies with conflicting labels", of)


def _without_repeats(faces: Faces) -> Faces:
    groups = group_identical(faces.pictures)
    of = {i: faces.names[group[0]] for group in groups for i in group}
    return faces.take(sorted(group[0] for group in groups), "second copies", of)


def check_votes(faces: Faces, votes: Mapping[str, Floats]) -> float | None:
    """Check that the votes belong to these images.

    Returns:
        Share of the images whose FER+ majority equals their label; None if too few have a majority.

    Raises:
        SourceError: The votes belong to other images with the same names.
    """
    return ferplus.check_agreement(
        (ferplus.majority(votes[name]), FER7[label])
        for name, label in zip(faces.names, faces.labels, strict=True)
        if name in votes
    )


def align_faces(faces: Faces, detector: Detector) -> int:
    """Set `faces.aligned` to crops made by the runtime's code.

    Returns:
        The number of images in which a face was found.
    """
    crops, detected = [], 0
    for picture in with_progress(faces.pictures, f"aligning faces of {faces.split or 'images'}", len(faces)):
        face = find_face(picture, detector)
        detected += face is not None
        crops.append(crop_portrait(picture, face, FER_CROP, (SIDE, SIDE)))
    if crops:
        faces.aligned = np.stack(crops)
    return detected
