"""Clips as an action model reads them: the frames that the runtime would encode, and their windows."""

from __future__ import annotations

import tempfile
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from edgeharfer.calib.calibration_set import CalibrationSet, take_balanced
from edgeharfer.calib.data import CalibrationData, CalibrationSource, EvaluationData, Pair, Rows
from edgeharfer.evaluate.action import clip_windows, read_frames
from edgeharfer.evaluate.dataset import Dataset, LabelledFile, clip_suffixes
from edgeharfer.runtime.errors import ConfigError, SourceError
from edgeharfer.runtime.inference.manifest import Manifest
from edgeharfer.runtime.inference.preprocess import fit_image, match_color
from edgeharfer.runtime.progress import with_progress
from edgeharfer.runtime.types import Floats, Image

FRAMES_PER_CLIP = 16
"""Maximum number of frames from one clip, so that a set covers many clips."""
HEAD_WINDOWS = 32
"""Number of whole windows, which calibrate heads and compare whole models on real input."""


@dataclass(frozen=True)
class CalibrationClip:
    """Sampled frames of a clip.

    Attributes:
        sha256: Hash of the file.
        pictures: Frames in the model's size and colours, uint8 (height, width, channels).
        windows: Frame indices of each window, int64 (windows, frames).
    """

    sha256: str
    pictures: list[Image]
    windows: Rows

    def window(self) -> Image:
        """Return the first window, uint8 (frames, height, width, channels)."""
        return np.stack([self.pictures[row] for row in self.windows[0]])


@dataclass
class _Selection:
    """Frames and windows collected for a calibration."""

    chosen: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    pictures: list[Image] = field(default_factory=list)
    windows: dict[str, list[Image]] = field(default_factory=lambda: defaultdict(list))

    def add(self, label: str, clip: CalibrationClip, rows: Sequence[int]) -> None:
        self.pictures += [clip.pictures[row] for row in rows]
        self.chosen[label] += [f"{clip.sha256}@{row}" for row in rows]
        self.windows[label].append(clip.window())

    def balanced_windows(self) -> Image:
        """Return at least HEAD_WINDOWS windows, balanced over the classes, if there are that many."""
        numbered = {label: range(len(windows)) for label, windows in self.windows.items()}
        return np.stack(
            [
                self.windows[label][i]
                for label, numbers in take_balanced(numbered, HEAD_WINDOWS).items()
                for i in numbers
            ]
        )


class ClipCalibrationSource(CalibrationSource):
    """A folder or zip of clips."""

    def __init__(self, manifest: Manifest, path: Path) -> None:
        assert manifest.window is not None, "an action manifest has a window"
        super().__init__(manifest, Dataset(path, clip_suffixes(manifest.window)))

    def choose(self, groups: Mapping[str, Sequence[LabelledFile]], wanted: int, seed: int) -> CalibrationData:
        """Choose frames from as many clips as possible, evenly spaced within each clip."""
        turns = {label: list(samples) * FRAMES_PER_CLIP for label, samples in groups.items()}
        selection = _Selection()
        for label, samples in take_balanced(turns, wanted).items():
            for sample, number in with_progress(Counter(samples).items(), f"reading {label}"):
                if (clip := self.read(sample)) is not None:
                    rows = np.linspace(0, len(clip.pictures) - 1, number).round().astype(int)
                    selection.add(label, clip, np.unique(rows).tolist())
        pictures = self.stack(selection.pictures)
        return CalibrationData(self.new_set(selection.chosen, seed), pictures, selection.balanced_windows())

    def read_calibration(self, wanted: CalibrationSet, found: Mapping[str, LabelledFile]) -> CalibrationData:
        selection = _Selection()
        for label, items in wanted.items.items():
            rows: dict[str, list[int]] = defaultdict(list)
            for digest, _, row in (item.partition("@") for item in items):
                rows[digest].append(int(row or 0))
            for digest, numbers in with_progress(rows.items(), f"reading {label}"):
                clip = self.read(found[digest])
                if clip is None or max(numbers) >= len(clip.pictures):
                    raise ConfigError(
                        f"{self.data.path}: a clip of the calibration set decodes to other frames here: "
                        "create a new set with `edgeharfer calibrate`"
                    )
                selection.add(label, clip, numbers)
        return CalibrationData(wanted, self.stack(selection.pictures), selection.balanced_windows())

    def read_evaluation(self, pairs: Sequence[Pair], scratch: Path) -> EvaluationData:
        truth: list[int] = []
        owners: list[int] = []
        windows: list[Rows] = []
        hashes: set[str] = set()
        count = 0
        path = scratch / "frames.raw"
        with path.open("wb") as file:
            for sample, label in with_progress(pairs, "reading the evaluation data"):
                clip = self.read(sample)
                if clip is None:
                    continue
                windows.append(clip.windows + count)
                owners += [len(truth)] * len(clip.windows)
                truth.append(label)
                hashes.add(clip.sha256)
                count += len(clip.pictures)
                file.writelines(picture.tobytes() for picture in clip.pictures)
        if not truth:
            raise SourceError(f"{self.data.path}: none of its {len(pairs)} clips can be read")
        spec = self.manifest.input
        # All frames of all clips may not fit into memory.
        frames = np.memmap(path, np.uint8, "r", shape=(count, spec.height, spec.width, spec.channels))
        rows, owned = np.concatenate(windows), np.array(owners, np.int64)
        return EvaluationData(frames, np.array(truth, np.int64), frozenset(hashes), rows, owned)

    def read(self, sample: LabelledFile) -> CalibrationClip | None:
        """Read a clip with the runtime's sampling; None if it cannot be read."""
        window, spec = self.manifest.window, self.manifest.input
        assert window is not None, "an action manifest has a window"
        pictures: list[Image] = []

        def store(bgr: Image) -> Floats:
            pictures.append(match_color(fit_image(bgr, spec), spec))
            return np.array([len(pictures) - 1], np.float32)

        with tempfile.TemporaryDirectory() as scratch, self.data.local_file(sample, Path(scratch)) as path:
            try:
                windows = clip_windows(
                    ((frame.pts_s, frame.bgr) for frame in read_frames(path)), window, store
                )
            except SourceError:
                return None
        return CalibrationClip(self.digest(sample), pictures, windows[..., 0].astype(np.int64))
