"""Labelled pictures and clips, prepared by the runtime's own code: to calibrate on and to judge by."""

from __future__ import annotations

import hashlib
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeharfer.calib.calibration_set import FORMAT, CalibrationSet, balanced, shuffled
from edgeharfer.evaluate.action import clip_windows, read_frames
from edgeharfer.evaluate.dataset import CLIPS, IMAGES, TRAIN_SPLITS, Dataset, Sample, match_labels
from edgeharfer.evaluate.emotion import match_votes
from edgeharfer.evaluate.ferplus import read_votes
from edgeharfer.runtime.errors import ConfigError, SourceError
from edgeharfer.runtime.faces import make_detector
from edgeharfer.runtime.faces.detector import Detector
from edgeharfer.runtime.faces.portrait import MIN_PORTRAIT_SCORE, cut_portrait, find_face
from edgeharfer.runtime.manifest import Manifest
from edgeharfer.runtime.preprocess import color, normalize, resize
from edgeharfer.runtime.source.decode import decode_image
from edgeharfer.runtime.types import Floats, Image

FRAMES_PER_CLIP = 16
"""At the most, so that a set of clips is not one clip."""
HEAD_WINDOWS = 32
"""Whole windows beside the single frames: for heads, and to compare whole models on real input."""

BATCH = 8

Rows = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Calibration:
    """What a model is calibrated on.

    pictures: the items of the set, uint8 (n, height, width, c) in the model's size and colours.
    windows: of clips, uint8 (m, frames, height, width, c).
    """

    chosen: CalibrationSet
    pictures: Image
    windows: Image | None = None


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What a quantized model is judged by.

    pictures: uint8 (n, height, width, c). truth: class of each picture or clip. For clips `windows`
    holds the rows of each window, (m, frames), and `owners` the clip of each, (m,). hashes: of the files.
    """

    pictures: Image
    truth: Rows
    hashes: frozenset[str]
    windows: Rows | None = None
    owners: Rows | None = None


@dataclass(frozen=True)
class Clip:
    """A clip as the runtime samples it: pictures in the model's size, and the rows of each window."""

    sha256: str
    pictures: list[Image]
    windows: Rows


def floats(pictures: Image, manifest: Manifest) -> Floats:
    """Pictures as the graph takes them: what `prepare` gives for the originals."""
    return normalize(pictures.astype(np.float32), manifest.input.normalize)


def batches(pictures: Image, manifest: Manifest) -> Iterator[Floats]:
    """Pictures as the graph takes them, a few at a time."""
    for at in range(0, len(pictures), BATCH):
        yield floats(np.asarray(pictures[at : at + BATCH]), manifest)


class Material:
    """A labelled data set as one model would see it. Raises SourceError where it has nothing for it."""

    def __init__(self, manifest: Manifest, path: Path, ferplus: Path | None = None) -> None:
        self.manifest = manifest
        self.data = Dataset(path, IMAGES if manifest.window is None else CLIPS)
        if ferplus is not None and manifest.window is not None:
            raise ConfigError("FER+ votes label faces: an action model has no use for --ferplus")
        self._votes = None if ferplus is None else read_votes(ferplus)
        self._detector: Detector | None = None

    def training_split(self) -> str:
        """The split that may be learned from, or the only one."""
        found = [split for split in self.data.splits if split.lower() in TRAIN_SPLITS]
        if not found and len(self.data.splits) > 1:
            raise SourceError(
                f"{self.data.path}: no training split to calibrate on, only {', '.join(self.data.splits)}"
            )
        return found[0] if found else self.data.splits[0]

    def calibration(self, wanted: int, seed: int, split: str | None = None) -> Calibration:
        """A fresh balanced choice of the training split."""
        pairs = self._pairs(self.training_split() if split is None else split)
        by_label: dict[str, list[Sample]] = defaultdict(list)
        for sample, label in pairs:
            by_label[self.manifest.labels[label]].append(sample)
        groups = {label: shuffled(samples, seed) for label, samples in sorted(by_label.items())}
        read = self._choose_pictures if self.manifest.window is None else self._choose_frames
        return read(groups, wanted, seed)

    def same_calibration(self, wanted: CalibrationSet) -> Calibration:
        """The items of a stored set, found by their hashes. Raises ConfigError where one is missing."""
        wanted.check(self.manifest)
        files = {item.partition("@")[0] for items in wanted.items.values() for item in items}
        found: dict[str, Sample] = {}
        for sample in self.data.samples:
            found.setdefault(sha256(self.data.read(sample)), sample)
        if missing := files - set(found):
            raise ConfigError(
                f"{self.data.path}: lacks {len(missing)} of the {len(files)} files of the calibration set"
            )
        if self.manifest.window is None:
            pictures = [self._face(found[item]) for items in wanted.items.values() for item in items]
            return Calibration(wanted, _stack(pictures, self.data.path))
        return self._frames_of(wanted, found)

    def evaluation(self, scratch: Path, split: str | None = None) -> Evaluation:
        """The split for testing. Frames of clips lie in a file in `scratch`, which outlives the result."""
        pairs = self._pairs(self.data.test_split() if split is None else split)
        return self._clips_to_judge(pairs, scratch) if self.manifest.window else self._faces_to_judge(pairs)

    def _pairs(self, split: str) -> list[tuple[Sample, int]]:
        samples, labels = self.data.split(split), self.manifest.labels
        pairs, _ = (
            match_labels(samples, labels)
            if self._votes is None
            else match_votes(samples, self._votes, labels)
        )
        if not pairs:
            raise SourceError(
                f"{self.data.path}: none of its classes is one of the model's: {', '.join(labels)}"
            )
        return pairs

    # Pictures of faces

    def _face(self, sample: Sample) -> Image | None:
        """A face in the model's size and colours, None where the file cannot be read."""
        try:
            picture = decode_image(self.data.read(sample), sample.name)
        except SourceError:
            return None
        crop, spec = self.manifest.crop, self.manifest.input
        assert crop is not None, "an emotion manifest has a crop"
        # As EmotionModel has it: a model that was taught whole pictures is given whole pictures.
        face = None
        if self.manifest.options.get("portraits") == "cut":
            self._detector = self._detector or make_detector(
                "blazeface", threads=1, min_score=MIN_PORTRAIT_SCORE
            )
            face = find_face(picture, self._detector)
        return color(
            resize(cut_portrait(picture, face, crop, (spec.width, spec.height)), spec.width, spec.height),
            spec,
        )

    def _choose_pictures(self, groups: Mapping[str, Sequence[Sample]], wanted: int, seed: int) -> Calibration:
        unique = {label: self._without_copies(samples, wanted) for label, samples in groups.items()}
        chosen: dict[str, list[str]] = defaultdict(list)
        pictures: list[Image | None] = []
        for label, items in balanced(unique, wanted).items():
            for digest, sample in items:
                picture = self._face(sample)
                if picture is not None:
                    chosen[label].append(digest)
                    pictures.append(picture)
        return Calibration(self._set(chosen, seed), _stack(pictures, self.data.path))

    def _without_copies(self, samples: Sequence[Sample], wanted: int) -> list[tuple[str, Sample]]:
        """The first `wanted` of the samples that differ, with their hashes."""
        found: dict[str, Sample] = {}
        for sample in samples:
            found.setdefault(sha256(self.data.read(sample)), sample)
            if len(found) == wanted:
                break
        return list(found.items())

    def _faces_to_judge(self, pairs: Sequence[tuple[Sample, int]]) -> Evaluation:
        pictures, truth, hashes = [], [], set()
        for sample, label in pairs:
            picture = self._face(sample)
            if picture is not None:
                pictures.append(picture)
                truth.append(label)
                hashes.add(sha256(self.data.read(sample)))
        return Evaluation(_stack(pictures, self.data.path), np.array(truth, np.int64), frozenset(hashes))

    # Clips

    @contextmanager
    def _opened(self, sample: Sample) -> Iterator[Path]:
        with tempfile.TemporaryDirectory() as scratch, self.data.local_file(sample, Path(scratch)) as path:
            yield path

    def _clip(self, sample: Sample) -> Clip | None:
        """The clip's sampled frames, None where it cannot be read."""
        window, spec = self.manifest.window, self.manifest.input
        assert window is not None, "an action manifest has a window"
        pictures: list[Image] = []

        def keep(bgr: Image) -> Floats:
            pictures.append(color(resize(bgr, spec.width, spec.height), spec))
            return np.array([len(pictures) - 1], np.float32)

        try:
            with self._opened(sample) as path:
                frames = ((frame.pts_s, frame.bgr) for frame in read_frames(path))
                windows = clip_windows(frames, window, keep)
        except SourceError:
            return None
        return Clip(sha256(self.data.read(sample)), pictures, windows[..., 0].astype(np.int64))

    def _choose_frames(self, groups: Mapping[str, Sequence[Sample]], wanted: int, seed: int) -> Calibration:
        slots = {
            label: [(turn, sample) for turn in range(FRAMES_PER_CLIP) for sample in samples]
            for label, samples in groups.items()
        }
        chosen: dict[str, list[str]] = defaultdict(list)
        pictures: list[Image] = []
        windows: list[Image] = []
        per_class = -(-HEAD_WINDOWS // len(groups))
        for label, turns in balanced(slots, wanted).items():
            counts: dict[Sample, int] = defaultdict(int)
            for _, sample in turns:
                counts[sample] += 1
            taken = 0
            for sample, number in counts.items():
                clip = self._clip(sample)
                if clip is None:
                    continue
                rows = np.unique(np.linspace(0, len(clip.pictures) - 1, number).round().astype(int))
                pictures += [clip.pictures[row] for row in rows]
                chosen[label] += [f"{clip.sha256}@{row}" for row in rows]
                if taken < per_class:
                    windows.append(np.stack([clip.pictures[row] for row in clip.windows[0]]))
                    taken += 1
        return Calibration(self._set(chosen, seed), _stack(pictures, self.data.path), np.stack(windows))

    def _frames_of(self, wanted: CalibrationSet, found: Mapping[str, Sample]) -> Calibration:
        pictures: list[Image | None] = []
        windows: list[Image] = []
        per_class = -(-HEAD_WINDOWS // max(1, len(wanted.items)))
        for items in wanted.items.values():
            rows: dict[str, list[int]] = defaultdict(list)
            for item in items:
                digest, _, row = item.partition("@")
                rows[digest].append(int(row or 0))
            for turn, (digest, numbers) in enumerate(rows.items()):
                clip = self._clip(found[digest])
                if clip is None or max(numbers) >= len(clip.pictures):
                    raise ConfigError(f"{self.data.path}: a clip of the calibration set reads otherwise here")
                pictures += [clip.pictures[row] for row in numbers]
                if turn < per_class:
                    windows.append(np.stack([clip.pictures[row] for row in clip.windows[0]]))
        return Calibration(wanted, _stack(pictures, self.data.path), np.stack(windows))

    def _clips_to_judge(self, pairs: Sequence[tuple[Sample, int]], scratch: Path) -> Evaluation:
        truth: list[int] = []
        owners: list[int] = []
        hashes: set[str] = set()
        windows: list[Rows] = []
        count = 0
        spec = self.manifest.input
        path = scratch / "frames.raw"
        with path.open("wb") as file:
            for sample, label in pairs:
                clip = self._clip(sample)
                if clip is None:
                    continue
                windows.append(clip.windows + count)
                owners += [len(truth)] * len(clip.windows)
                truth.append(label)
                hashes.add(clip.sha256)
                count += len(clip.pictures)
                for picture in clip.pictures:
                    file.write(picture.tobytes())
        if not truth:
            raise SourceError(f"{self.data.path}: none of its {len(pairs)} clips can be read")
        shape = (count, spec.height, spec.width, spec.channels)
        return Evaluation(
            np.memmap(path, np.uint8, "r", shape=shape),
            np.array(truth, np.int64),
            frozenset(hashes),
            np.concatenate(windows),
            np.array(owners, np.int64),
        )

    def _set(self, chosen: Mapping[str, Sequence[str]], seed: int) -> CalibrationSet:
        items = {label: tuple(hashes) for label, hashes in sorted(chosen.items())}
        return CalibrationSet(FORMAT, self.manifest.task, asdict(self.manifest.input), seed, items)


def sha256(data: bytes) -> str:
    """As hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def _stack(pictures: Sequence[Image | None], path: Path) -> Image:
    readable = [picture for picture in pictures if picture is not None]
    if not readable:
        raise SourceError(f"{path}: none of its pictures can be read")
    return np.stack(readable)
