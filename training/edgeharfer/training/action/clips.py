"""Clips as features: each decoded once, sampled in time, encoded in several views, and kept on disk."""

from __future__ import annotations

import hashlib
import json
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeharfer.evaluate.action import clip_windows, read_frames
from edgeharfer.evaluate.dataset import CLIPS, TRAIN_SPLITS, Dataset
from edgeharfer.runtime.action import FeatureRing
from edgeharfer.runtime.errors import EdgeharferError, SourceError
from edgeharfer.runtime.manifest import InputSpec, WindowSpec
from edgeharfer.runtime.preprocess import prepare
from edgeharfer.runtime.types import Floats
from edgeharfer.training.action.scenes import scene_of, thumbnail
from edgeharfer.training.action.views import View, ViewRanges, draw_views

BACKGROUND = "background"

Arrays = dict[str, NDArray[Any]]

_CACHE_VERSION = 2
_NOTHING = np.zeros(0, np.float32)


@dataclass(frozen=True)
class ClipFile:
    """A labelled clip on disk.

    source: the folder or archive that it came with. open: gives a path that can be read.
    """

    name: str
    label: str
    source: str
    open: Callable[[Path], AbstractContextManager[Path]]


@dataclass(frozen=True)
class Encoder:
    """Prepared pictures (n, height, width, 3) -> features (n, size); `digest` tells encoders apart."""

    run: Callable[[Floats], Floats]
    digest: str


@dataclass(frozen=True)
class ClipSpec:
    """How clips become features: views (changed copies) of each clip, of its first `view_seconds`."""

    input: InputSpec
    window: WindowSpec
    views: int = 6
    view_seconds: float = 4.0
    ranges: ViewRanges = field(default_factory=ViewRanges)


@dataclass(frozen=True, eq=False)
class Track:
    """Features of some frames of a clip. frames: their numbers, int64 (n,). features: float (n, size)."""

    frames: NDArray[np.int64]
    features: NDArray[np.floating]


@dataclass(frozen=True, eq=False)
class Clip:
    """A clip's features.

    times: of every frame, seconds, float64. plain: of the frames that the runtime would encode, float32.
    views: of changed copies, float16, every other one half a grid step later. scene: as scene_of makes it.
    """

    name: str
    label: str
    source: str
    sha256: str
    times: NDArray[np.float64]
    plain: Track
    views: tuple[Track, ...]
    scene: Floats

    def windows(self, window: WindowSpec) -> Floats:
        """The clip's windows as `run` would see them, float32 (windows, frames, size)."""
        row = {int(frame): i for i, frame in enumerate(self.plain.frames)}
        frames = ((float(time), i) for i, time in enumerate(self.times))
        return clip_windows(
            frames, window, lambda frame: np.asarray(self.plain.features[row[frame]], np.float32)
        )

    def play(self, track: Track, start: float, step_s: float, frames: int) -> Floats:
        """A window of a track in steps of `step_s`, float32 (frames, size); held where the track ends.

        start: 0 is the earliest start, 1 the latest that leaves the window full.
        """
        times = self.times[track.frames]
        latest = max(0.0, float(times[-1] - times[0]) - step_s * (frames - 1))
        wanted = times[0] + start * latest + step_s * np.arange(frames)
        rows = np.searchsorted(times, wanted - 1e-6).clip(max=len(times) - 1)
        return np.asarray(track.features[rows], np.float32)


def find_clips(data: Path, background: Sequence[Path]) -> list[ClipFile]:
    """Clips of the training split, or of all where there are no splits, and the background's.

    data: folder or zip of `<class>/<clip>` or `<split>/<class>/<clip>`. background: clips or folders of
    clips, at any depth. Raises SourceError for what is not there or holds no clip.
    """
    dataset = Dataset(data, CLIPS)
    split = next((name for name in dataset.splits if name.lower() in TRAIN_SPLITS), None)
    samples = dataset.samples if split is None else dataset.split(split)
    _check_classes(data / (split or ""), {sample.label for sample in samples})
    found = [
        ClipFile(sample.name, sample.label, data.name, partial(dataset.local_file, sample))
        for sample in samples
    ]
    for path in background:
        found += [
            ClipFile(f"{BACKGROUND}/{file.name}", BACKGROUND, path.name, partial(_as_it_is, file))
            for file in _clip_files(path)
        ]
    return found


def _check_classes(folder: Path, labels: set[str]) -> None:
    """A class folder without a clip is a mistake, not a class less."""
    if folder.is_dir():
        names = {
            one.name for one in folder.iterdir() if one.is_dir() and not one.name.startswith((".", "__"))
        }
        if empty := sorted(names - labels):
            raise SourceError(f"{folder}: no clip of class {', '.join(empty)}: add some or remove the folder")


def _as_it_is(file: Path, scratch: Path) -> AbstractContextManager[Path]:
    return nullcontext(file)


def _clip_files(path: Path) -> list[Path]:
    if not path.exists():
        raise SourceError(f"{path}: no such file or folder for the background")
    if path.is_file():
        return [path]
    files = [file for file in sorted(path.rglob("*")) if file.suffix.lower() in CLIPS and file.is_file()]
    if not files:
        raise SourceError(f"{path}: no clip ({'/'.join(sorted(CLIPS))}) for the background")
    return files


@dataclass
class ClipStore:
    """Encodes clips, each once: features stay in `folder` under the hash of all that they depend on."""

    folder: Path
    spec: ClipSpec
    encoder: Encoder
    encoded: int = 0

    def load(self, file: ClipFile) -> Clip:
        """The clip's features, from disk or encoded now. Raises SourceError for one without a picture."""
        with tempfile.TemporaryDirectory() as scratch, file.open(Path(scratch)) as path:
            digest = _sha256(path)
            cached = self.folder / f"{self._key(digest)}.npz"
            arrays = _read_arrays(cached)
            if arrays is None:
                arrays = self._encode(path, digest)
                _write_arrays(cached, arrays)
                self.encoded += 1
        tracks = [Track(arrays[f"frames{i}"], arrays[f"features{i}"]) for i in range(1 + self.spec.views)]
        views = tuple(track for track in tracks[1:] if len(track.frames))
        return Clip(
            file.name, file.label, file.source, digest, arrays["times"], tracks[0], views, arrays["scene"]
        )

    def _key(self, digest: str) -> str:
        facts = [_CACHE_VERSION, digest, self.encoder.digest, asdict(self.spec)]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]

    def _encode(self, path: Path, digest: str) -> Arrays:
        views = [View(), *draw_views(self.spec.views, self.spec.ranges, (int(digest[:16], 16),))]
        grids = [Grid(self.spec.window, later=i > 0 and i % 2 == 0) for i in range(len(views))]
        rows: list[list[Floats]] = [[] for _ in views]
        frames: list[list[int]] = [[] for _ in views]
        times, thumbnails = [], []
        for number, frame in enumerate(read_frames(path)):
            times.append(frame.pts_s)
            wanting = [i for i, grid in enumerate(grids) if grid.wants(frame.pts_s)]
            turn = [i for i in wanting if i == 0 or frame.pts_s - times[0] <= self.spec.view_seconds]
            if not turn:
                continue
            pictures = [views[i].apply(frame.bgr) for i in turn]
            for i, row in zip(turn, self.encoder.run(prepare(pictures, self.spec.input)), strict=True):
                rows[i].append(row)
                frames[i].append(number)
            thumbnails.append(thumbnail(frame.bgr))
        arrays: Arrays = {
            "times": np.array(times, np.float64),
            "scene": scene_of(thumbnails),
        }
        for i, (numbers, features) in enumerate(zip(frames, rows, strict=True)):
            arrays[f"frames{i}"] = np.array(numbers, np.int64)
            arrays[f"features{i}"] = np.array(features, np.float16 if i else np.float32)
        return arrays


class Grid:
    """The frames that the runtime would encode; or, half a grid step `later`, those between them."""

    def __init__(self, window: WindowSpec, *, later: bool) -> None:
        self._ring = FeatureRing(window)
        self._delay_s = window.seconds / window.frames / 2 if later else 0.0
        self._first_s: float | None = None

    def wants(self, pts_s: float) -> bool:
        """Whether the frame at this time belongs to the grid; it counts as taken then."""
        if self._first_s is None:
            self._first_s = pts_s
        if pts_s < self._first_s + self._delay_s or not self._ring.wants(pts_s):
            return False
        self._ring.push(pts_s, _NOTHING)
        return True


def load_clips(
    files: Sequence[ClipFile], store: ClipStore, report: Callable[[str], None]
) -> tuple[list[Clip], dict[str, str]]:
    """All clips that can be read, each content once, and the reason for each that was skipped."""
    clips: list[Clip] = []
    skipped: dict[str, str] = {}
    first: dict[str, str] = {}
    for done, file in enumerate(files, 1):
        try:
            clip = store.load(file)
        except EdgeharferError as error:
            skipped[file.name] = str(error)
            report(f"skipped {file.name}: {error}")
            continue
        if clip.sha256 in first:
            skipped[clip.name] = f"a copy of {first[clip.sha256]}"
        else:
            first[clip.sha256] = clip.name
            clips.append(clip)
        if done % 10 == 0 or done == len(files):
            counts = f"{store.encoded} encoded now, {len(skipped)} skipped"
            report(f"features of {done} of {len(files)} clips ({counts})")
    return clips, skipped


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise SourceError(f"{path}: {error.strerror or error}") from error


def _read_arrays(path: Path) -> Arrays | None:
    """What was kept, or None where there is nothing or it was cut off."""
    try:
        # Opened here, since np.load leaves a damaged file open.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return dict(arrays)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        return None


def _write_arrays(path: Path, arrays: Arrays) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part.npz")
    np.savez(part, **arrays)  # type: ignore[arg-type]
    part.replace(path)
