"""Convert FER-2013's CSV to image files, and check a data set for duplicates and damage before training."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edgeharfer.evaluate.dataset import TRAIN_SPLITS
from edgeharfer.evaluate.ferplus import read_votes
from edgeharfer.runtime.errors import SinkError, SourceError
from edgeharfer.runtime.progress import with_progress
from edgeharfer.runtime.staging import replaced_folder, write_json
from edgeharfer.training.duplicates import DatasetEntry, DuplicateImage, find_duplicates
from edgeharfer.training.emotion.faces import (
    Faces,
    check_votes,
    read_splits,
    without_duplicates,
)
from edgeharfer.training.emotion.kaggle import FER7
from edgeharfer.training.records import counted, file_hash

MAX_LISTED = 20
"""Damaged images listed by name on the console; report.json lists all of them."""


def prepare(
    source: Path, out: Path, *, votes: Path | None = None, report: Callable[[str], None] = lambda line: None
) -> dict[str, object]:
    """Check a data set and write report.json and copies.csv to the new folder `out`.

    `out` is written completely or not at all.

    Args:
        source: Folder, zip or Kaggle CSV. The images of a CSV are also written as
            <split>/<class>/ferNNNNNNN.png.
        out: Folder to create; it may exist if it is empty.
        votes: FER+ table; the images of a CSV are named after it.
        report: Receives progress messages.

    Returns:
        The content of report.json.

    Raises:
        SourceError: No image is readable, or the votes belong to other images.
        SinkError: `out` is not empty or cannot be written.
    """
    _check_output_folder(out)
    splits = read_splits(source, votes=votes)
    if not any(map(len, splits.values())):
        raise SourceError(f"{source}: contains no readable image")
    for line in _summary_lines(splits):
        report(line)
    joined = None if votes is None else _vote_coverage(splits, votes)
    copies = list_duplicates(splits)
    counts, training = _count_duplicates(copies), _training_summary(splits)
    report(
        f"{counts['exact']} exact and {counts['near']} near duplicates, {counts['across_splits']} across "
        f"splits, {counts['conflicting']} with conflicting labels"
    )
    if training is not None:
        report(f"left for training: {training['kept']}; dropped: {counted(training['dropped'])}")
    facts: dict[str, object] = {
        "source": source.name,
        "sha256": file_hash(source) if source.is_file() else None,
        "pictures": {name: _by_class(faces) for name, faces in splits.items()},
        **_unusable_images(splits),
        "copies": counts,
        "training": training,
        "ferplus": joined,
    }
    with replaced_folder(out, _check_output_folder) as folder:
        if source.suffix.lower() == ".csv":
            _write_pictures(splits, folder)
        _write_duplicates(folder / "copies.csv", copies)
        write_json(folder / "report.json", facts)
    report(f"full lists: {out / 'copies.csv'}, {out / 'report.json'}")
    return facts


def list_duplicates(splits: Mapping[str, Faces]) -> list[DuplicateImage]:
    """Find all duplicates, except of blank images.

    Held-out splits come first, so a training image is listed as the duplicate of a held-out one.
    """
    ordered = sorted(splits.values(), key=_is_training)
    places = [(faces, i) for faces in ordered for i in _non_blank(faces)]
    if not places:
        return []
    entries = [DatasetEntry(faces.names[i], faces.split, FER7[faces.labels[i]]) for faces, i in places]
    return find_duplicates(entries, np.stack([faces.pictures[i] for faces, i in places]))


def _is_training(faces: Faces) -> bool:
    return faces.split.lower() in TRAIN_SPLITS


def _non_blank(faces: Faces) -> list[int]:
    """Return the indices of images that are not a single colour."""
    return [i for i, picture in enumerate(faces.pictures) if picture.std() > 0]


def _by_class(faces: Faces) -> dict[str, int]:
    return {label: int((faces.labels == i).sum()) for i, label in enumerate(FER7)}


def _unusable_images(splits: Mapping[str, Faces]) -> dict[str, object]:
    """List unusable images by split: damaged and blank ones by name, those of other classes by count."""
    flaws: dict[str, dict[str, object]] = {"unreadable": {}, "blank": {}, "other_classes": {}}
    for name, faces in splits.items():
        flaws["unreadable"][name] = faces.unreadable
        lively = set(_non_blank(faces))
        flaws["blank"][name] = [one for i, one in enumerate(faces.names) if i not in lively]
        others = {why: count for why, count in faces.dropped.items() if why != "unreadable"}
        flaws["other_classes"][name] = others
    return {
        kind: {name: found for name, found in by_split.items() if found} for kind, by_split in flaws.items()
    }


def _count_duplicates(copies: Sequence[DuplicateImage]) -> dict[str, int]:
    kinds = Counter(copy.kind for copy in copies)
    return {
        "exact": kinds["exact"],
        "near": kinds["near"],
        "across_splits": sum(copy.across for copy in copies),
        "conflicting": sum(copy.conflict for copy in copies),
    }


def _training_summary(splits: Mapping[str, Faces]) -> dict[str, Any] | None:
    """Count what training keeps when every other split is held out; None without a training split."""
    train = next(filter(_is_training, splits.values()), None)
    if train is None or not len(train):
        return None
    kept = without_duplicates(train, *(faces for faces in splits.values() if faces is not train))
    return {"kept": len(kept), "dropped": dict(kept.dropped - train.dropped)}


def _vote_coverage(splits: Mapping[str, Faces], table: Path) -> dict[str, object]:
    """Return per split the number of images with votes and the agreement of their majority with the
    labels.
    """
    votes = read_votes(table)
    return {
        name: {"joined": sum(file in votes for file in faces.names), "agreement": check_votes(faces, votes)}
        for name, faces in splits.items()
    }


def _summary_lines(splits: Mapping[str, Faces]) -> Iterator[str]:
    """Describe what was read."""
    counts = ", ".join(f"{name or 'no split'} {len(faces)}" for name, faces in splits.items())
    yield f"{sum(map(len, splits.values()))} images: {counts}"
    damaged = [f"{name} {one}".strip() for name, faces in splits.items() for one in faces.unreadable]
    if damaged:
        yield f"{len(damaged)} damaged, skipped:"
        yield from (f"  {one}" for one in damaged[:MAX_LISTED])
    if len(damaged) > MAX_LISTED:
        yield f"  and {len(damaged) - MAX_LISTED} more"


def _write_pictures(splits: Mapping[str, Faces], folder: Path) -> None:
    for split, faces in splits.items():
        for label in FER7:
            (folder / split / label).mkdir(parents=True)
        rows = zip(faces.names, faces.pictures, faces.labels, strict=True)
        for name, picture, label in with_progress(rows, f"writing {split}", len(faces)):
            png = cv2.imencode(".png", picture)[1]
            (folder / split / FER7[label] / name).write_bytes(png.tobytes())


def _write_duplicates(path: Path, copies: Sequence[DuplicateImage]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["name", "split", "label", "of", "of_split", "of_label", "kind", "conflict"])
        for copy in copies:
            one, other = copy.entry, copy.of
            row = [one.name, one.split, one.label, other.name, other.split, other.label, copy.kind]
            writer.writerow([*row, "yes" if copy.conflict else "no"])


def _check_output_folder(out: Path) -> None:
    if out.is_symlink() or (out.exists() and not (out.is_dir() and not any(out.iterdir()))):
        raise SinkError(f"{out}: exists and is not an empty folder: choose another --out")
