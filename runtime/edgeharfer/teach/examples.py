"""Examples of the classes: clips and enrolment files as features of the base package's encoder."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from edgeharfer.evaluate.action import read_frames
from edgeharfer.evaluate.dataset import CLIPS
from edgeharfer.runtime.errors import ConfigError, ModelError, SourceError
from edgeharfer.runtime.inference.manifest import WindowSpec
from edgeharfer.runtime.progress import with_progress
from edgeharfer.runtime.tasks.action import ActionModel, FeatureRing
from edgeharfer.runtime.types import BACKGROUND, UNCERTAIN, Floats
from edgeharfer.teach.enrolment import SUFFIX, Enrolment, encoder_id, read_enrolment
from edgeharfer.teach.windows import describe, window_rows

MIN_CLASSES = 2
MIN_EXAMPLES = 2
"""Least examples of a class: one of them is left out to measure the accuracy."""
MAX_CLIP_S = 60.0
"""Length of a clip that is read; the rest is ignored."""
SEGMENT_S = 5.0
"""Length of the examples into which an enrolment is cut."""
COPY_DISTANCE = 0.03
"""Relative distance of two clips' mean statistics below which one counts as a copy of the other. Different
clips of one scene of UCF101 differ by 0.08 and more, the same clip compressed again by up to 0.02."""
RESERVED = (BACKGROUND, UNCERTAIN)
"""Labels with a meaning of their own, which no class may have."""


@dataclass(frozen=True, eq=False)
class Example:
    """One example of a class.

    Attributes:
        name: Name of its file, for messages.
        label: Its class.
        recording: Examples with the same text were cut from one recording.
        described: Statistics of its windows (see `describe`), float32, (windows, features).
    """

    name: str
    label: str
    recording: str
    described: Floats


@dataclass(frozen=True)
class ExampleFile:
    """A file of DATA.

    Attributes:
        path: The clip or enrolment file.
        label: Name of its folder; "" for an enrolment outside a class folder, which holds its own label.
    """

    path: Path
    label: str


def find_files(data: Sequence[Path]) -> list[ExampleFile]:
    """List the examples of DATA, in order of their names.

    Args:
        data: Folders of `<class>/<clip>`, and enrolment files. Enrolment files may also be in the folders.

    Raises:
        ConfigError: Something is missing, or a class has an invalid name.
        SourceError: A path is neither a folder nor an enrolment file.
    """
    found: list[ExampleFile] = []
    for path in data:
        if path.is_dir():
            found += _files_of_folder(path)
        elif path.is_file() and path.suffix.lower() == SUFFIX:
            found.append(ExampleFile(path, ""))
        elif path.exists():
            raise SourceError(f"{path}: neither a folder of <class>/<clip> nor an {SUFFIX} file")
        else:
            raise SourceError(f"{path}: no such file or folder")
    return found


def _files_of_folder(folder: Path) -> list[ExampleFile]:
    files = [ExampleFile(path, "") for path in _visible(folder) if path.suffix.lower() == SUFFIX]
    for sub in [path for path in _visible(folder) if path.is_dir()]:
        check_label(sub.name, str(sub))
        clips = [path for path in _visible(sub) if path.suffix.lower() in {*CLIPS, SUFFIX}]
        if not clips:
            raise SourceError(f"{sub}: no clips in this folder: add clips of {sub.name}, or remove it")
        files += [ExampleFile(path, sub.name) for path in clips]
    if not files:
        raise SourceError(f"{folder}: empty: add a folder of clips for each class, <class>/<clip>")
    return files


def _visible(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def check_label(label: str, where: str) -> None:
    """Check the name of a class.

    Raises:
        ConfigError: The name has a meaning of its own, or cannot stand in a manifest.
    """
    if label.lower() in RESERVED:
        hint = (
            "pass scenes without any of the actions with --background"
            if label.lower() == BACKGROUND
            else ("give the class another name")
        )
        raise ConfigError(f"{where}: a class cannot be called {label}: {hint}")
    if not label.strip() or len(label) > 100 or not label.isprintable():
        raise ConfigError(f"{where}: a class name needs 1 to 100 printable characters")


def read_examples(files: Sequence[ExampleFile], model: ActionModel) -> list[Example]:
    """Read all files, and check that something can be learned from them.

    Args:
        files: The files, from `find_files`.
        model: The base package.

    Raises:
        ConfigError: There are too few classes or examples, or copies among them.
        SourceError: A clip cannot be read or is too short.
        ModelError: An enrolment file is damaged or was made with another encoder.
    """
    _check_counts([file.label for file in files if file.label], complete=all(file.label for file in files))
    examples: list[Example] = []
    hashes: dict[str, Path] = {}
    for file in with_progress(files, "encoding clips"):
        digest = _sha256(file.path)
        if digest in hashes:
            raise ConfigError(f"{file.path}: a duplicate of {hashes[digest]}: remove one of them")
        hashes[digest] = file.path
        examples += _examples_of(file, model)
    _check_counts([example.label for example in examples], complete=True)
    _check_copies(examples)
    return examples


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as content:
            digest = hashlib.sha256()
            while block := content.read(1 << 20):
                digest.update(block)
            return digest.hexdigest()
    except OSError as error:
        raise SourceError(f"{path}: cannot be read: {error.strerror}") from error


def _examples_of(file: ExampleFile, model: ActionModel) -> list[Example]:
    if file.path.suffix.lower() != SUFFIX:
        described = describe_clip(file.path, model)
        return [Example(str(file.path), file.label, str(file.path), described)]
    examples = read_recording(file.path, model)
    check_label(examples[0].label, str(file.path))
    if file.label not in ("", examples[0].label):
        raise ConfigError(f"{file.path}: recorded as {examples[0].label}, but is in the folder {file.label}")
    return examples


def read_recording(path: Path, model: ActionModel) -> list[Example]:
    """Read an enrolment file, and cut it into examples.

    Raises:
        ModelError: It is damaged, or was made with another encoder.
        SourceError: It is shorter than a window.
    """
    enrolment = read_enrolment(path)
    if enrolment.encoder != encoder_id(model.manifest):
        raise ModelError(
            f"{path}: recorded with another encoder than that of {model.manifest.name}: "
            "record it again, or choose its package with --base"
        )
    return list(_segments(enrolment, path, model.window))


def _segments(enrolment: Enrolment, path: Path, window: WindowSpec) -> Iterator[Example]:
    """Cut an enrolment into examples of about SEGMENT_S without common frames."""
    rows = window_rows(enrolment.times, window)
    if not len(rows):
        raise SourceError(f"{path}: too short: at least {window.seconds:g} s without a gap are needed")
    starts, ends = enrolment.times[rows[:, 0]], enrolment.times[rows[:, -1]]
    first, last = float(starts[0]), float(ends[-1])
    count = max(1, int((last - first) // SEGMENT_S))
    bounds = np.linspace(first, last + 1e-6, count + 1)
    for number, (low, high) in enumerate(pairwise(bounds), 1):
        inside = rows[(starts >= low) & (ends < high)]
        if len(inside):
            name = f"{path} ({number})" if count > 1 else str(path)
            described = describe(enrolment.features[inside])
            yield Example(name, enrolment.label, str(path), described)


def describe_clip(path: Path, model: ActionModel) -> Floats:
    """Encode the frames of a clip that `run` would encode, and describe its windows.

    A clip shorter than a window is completed with its last frame, as `evaluate` does.

    Raises:
        SourceError: The clip cannot be read, or is shorter than half a window.
    """
    ring = FeatureRing(model.window)
    times: list[float] = []
    features: list[Floats] = []
    span_s = 0.0
    for frame in read_frames(path):
        span_s = frame.pts_s - (times[0] if times else frame.pts_s)
        if span_s > MAX_CLIP_S:
            break
        if ring.wants(frame.pts_s):
            features.append(model.encode(frame.bgr))
            ring.push(frame.pts_s, features[-1])
            times.append(frame.pts_s)
    least_s = model.window.seconds / 2
    if span_s < least_s:
        raise SourceError(f"{path}: too short: {span_s:.1f} s, at least {least_s:g} s are needed")
    rows = window_rows(np.array(times), model.window)
    if not len(rows):
        rows = np.arange(model.window.frames)[None].clip(max=len(times) - 1)
    return describe(np.stack(features)[rows])


def _check_counts(labels: Sequence[str], *, complete: bool) -> None:
    counts = {label: labels.count(label) for label in dict.fromkeys(labels)}
    if complete and len(counts) < MIN_CLASSES:
        only = next(iter(counts))
        raise ConfigError(f"only one class, {only}: add clips of at least one other action")
    for label, count in counts.items():
        if complete and count < MIN_EXAMPLES:
            raise ConfigError(
                f"only one clip of {label}: at least {MIN_EXAMPLES} are needed, and 5 are recommended"
            )
    if same := next((a for a in counts for b in counts if a < b and a.lower() == b.lower()), None):
        raise ConfigError(f"two class names differ only in case ({same}): rename one of them")


def _check_copies(examples: Sequence[Example]) -> None:
    """Check that no clip is another one in another file format or compression."""
    means = np.stack([example.described.mean(axis=0) for example in examples])
    norms = np.linalg.norm(means, axis=1)
    for i, one in enumerate(examples):
        for j in range(i):
            if one.recording == examples[j].recording:
                continue
            if np.linalg.norm(means[i] - means[j]) < COPY_DISTANCE * max(norms[i], norms[j]):
                raise ConfigError(f"{one.name}: a duplicate of {examples[j].name}: remove one of them")
