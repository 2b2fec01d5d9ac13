"""Encode clips once, with augmented views, and cache their features on disk."""

from __future__ import annotations

import hashlib
import json
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeharfer.evaluate.action import read_frames
from edgeharfer.runtime.errors import EdgeharferError
from edgeharfer.runtime.inference.manifest import InputSpec, WindowSpec
from edgeharfer.runtime.inference.preprocess import preprocess_images
from edgeharfer.runtime.progress import with_progress
from edgeharfer.runtime.staging import replaced_file
from edgeharfer.runtime.types import Floats
from edgeharfer.training.action.clips import ClipFeatures, EncodedClip
from edgeharfer.training.action.find import ClipFile
from edgeharfer.training.action.folds import scene_descriptor, thumbnail
from edgeharfer.training.action.sampling import EvenSpread, FramePicker, RuntimeGrid, Sampler
from edgeharfer.training.action.views import ClipView, ViewRanges, draw_views
from edgeharfer.training.records import file_hash

Arrays = dict[str, NDArray[Any]]

_CACHE_VERSION = 2


@dataclass(frozen=True)
class Encoder:
    """Maps prepared images (n, height, width, channels) to features (n, size).

    Attributes:
        run: Encodes a batch.
        digest: Identifies the encoder in cache keys.
    """

    run: Callable[[Floats], Floats]
    digest: str


@dataclass(frozen=True)
class ClipSpec:
    """How clips become features.

    Attributes:
        input: Input of the encoder.
        window: Window of the package.
        sampling: "time" or "uniform"; see `sampling`.
        views: Augmented copies per clip.
        view_seconds: Part of a clip that a view covers, with sampling by time.
        ranges: Strength of the augmentation.
    """

    input: InputSpec
    window: WindowSpec
    sampling: str = "time"
    views: int = 6
    view_seconds: float = 4.0
    ranges: ViewRanges = field(default_factory=ViewRanges)

    def draw_views(self, digest: str) -> list[ClipView]:
        """Return the views of the clip with this SHA-256."""
        return draw_views(self.views, self.ranges, (int(digest[:16], 16),))


@dataclass
class ClipStore:
    """Encodes clips and caches the features in `folder`, under a hash of everything they depend on.

    Attributes:
        folder: Cache folder.
        spec: How clips become features.
        encoder: The encoder.
        encoded: Number of clips encoded so far, not read from the cache.
    """

    folder: Path
    spec: ClipSpec
    encoder: Encoder
    encoded: int = 0

    def load(self, file: ClipFile) -> EncodedClip:
        """Return a clip's features from the cache, or encode it.

        Raises:
            SourceError: The clip has no readable frame.
        """
        with tempfile.TemporaryDirectory() as scratch, file.open(Path(scratch)) as path:
            digest = file_hash(path)
            cached = self.folder / f"{self._key(digest)}.npz"
            arrays = _read_arrays(cached)
            if arrays is None:
                arrays = self.encode(file, path, digest)
                _write_arrays(cached, arrays)
                self.encoded += 1
        return self.clip(file, digest, arrays)

    def clip(self, file: ClipFile, digest: str, arrays: Arrays) -> EncodedClip:
        """Build a clip from the arrays of `encode`."""
        spread = self.spec.sampling == "uniform"
        count = 1 + spread + self.spec.views
        tracks = [ClipFeatures(arrays[f"frames{i}"], arrays[f"features{i}"]) for i in range(count)]
        return EncodedClip(
            file.name, file.label, file.source, digest, arrays["times"], tracks[0],
            tuple(track for track in tracks[1 + spread :] if len(track.frames)), arrays["scene"],
            tracks[1] if spread else None,
        )  # fmt: skip

    def _key(self, digest: str) -> str:
        facts = [_CACHE_VERSION, digest, self.encoder.digest, asdict(self.spec)]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]

    def _tracks(self, path: Path, digest: str) -> list[tuple[ClipView, FramePicker]]:
        """Return view and frame selection of each track, the runtime's first."""
        spec, views = self.spec, self.spec.draw_views(digest)
        live: tuple[ClipView, FramePicker] = (ClipView(), RuntimeGrid(spec.window))
        if spec.sampling == "uniform":
            # Decoded twice, since not every file states its number of frames.
            total = sum(1 for _ in read_frames(path))
            return [live, *((view, EvenSpread(total, spec.window.frames)) for view in (ClipView(), *views))]
        grids = [
            RuntimeGrid(spec.window, offset=i % 2 == 1, seconds=spec.view_seconds) for i in range(len(views))
        ]
        return [live, *zip(views, grids, strict=True)]

    def encode(self, file: ClipFile, path: Path, digest: str) -> Arrays:
        """Encode the clip at `path`: times, scene, and frames and features of each track."""
        tracks = self._tracks(path, digest)
        rows: list[list[Floats]] = [[] for _ in tracks]
        frames: list[list[int]] = [[] for _ in tracks]
        times, thumbnails = [], []
        for number, frame in enumerate(read_frames(path)):
            times.append(frame.pts_s)
            selected = [i for i, (_, picker) in enumerate(tracks) if picker.accepts(number, frame.pts_s)]
            if not selected:
                continue
            pictures = [tracks[i][0].apply(frame.bgr) for i in selected]
            for i, row in zip(
                selected, self.encoder.run(preprocess_images(pictures, self.spec.input)), strict=True
            ):
                rows[i].append(row)
                frames[i].append(number)
            thumbnails.append(thumbnail(frame.bgr))
        arrays: Arrays = {"times": np.array(times, np.float64), "scene": scene_descriptor(thumbnails)}
        for i, (numbers, features) in enumerate(zip(frames, rows, strict=True)):
            arrays[f"frames{i}"] = np.array(numbers, np.int64)
            unchanged = tracks[i][0] == ClipView()
            arrays[f"features{i}"] = np.array(features, np.float32 if unchanged else np.float16)
        return arrays


def load_clips(
    files: Sequence[ClipFile], store: ClipStore, report: Callable[[str], None]
) -> tuple[list[EncodedClip], dict[str, str]]:
    """Load all readable clips, each content once.

    Returns:
        The clips, and clip name -> reason for each one that was skipped.
    """
    clips: list[EncodedClip] = []
    skipped: dict[str, str] = {}
    first: dict[str, str] = {}
    for done, file in enumerate(with_progress(files, "encoding clips"), 1):
        try:
            clip = store.load(file)
        except EdgeharferError as error:
            skipped[file.name] = str(error)
            report(f"skipped {file.name}: {error}")
            continue
        if clip.sha256 in first:
            skipped[clip.name] = f"duplicate of {first[clip.sha256]}"
        else:
            first[clip.sha256] = clip.name
            clips.append(clip)
        if done % max(10, len(files) // 10) == 0 or done == len(files):
            counts = f"{store.encoded} encoded now, {len(skipped)} skipped"
            report(f"features of {done} of {len(files)} clips ({counts})")
    return clips, skipped


def _read_arrays(path: Path) -> Arrays | None:
    """Return cached arrays, or None if there are none or the file is damaged."""
    try:
        # Opened here, because np.load does not close a damaged file.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return dict(arrays)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        return None


def _write_arrays(path: Path, arrays: Arrays) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with replaced_file(path) as temporary:
        np.savez(temporary, **arrays)  # type: ignore[arg-type]


@dataclass(kw_only=True)
class WindowStore(ClipStore):
    """Encodes whole windows: all that `run` would see, and `draws` random ones of each view.

    The frames of a clip are held in memory while it is encoded; only the windows' features are kept.

    Attributes:
        trunk: Maps an encoded window (1, frames, size) to features of any shape.
        window_sampler: Draws the windows of views.
        draws: Windows per view.
    """

    trunk: Callable[[Floats], Floats]
    window_sampler: Sampler
    draws: int

    def encode(self, file: ClipFile, path: Path, digest: str) -> Arrays:
        arrays = super().encode(file, path, digest)
        clip = self.clip(file, digest, arrays)
        rng = np.random.default_rng(int(digest[:16], 16))
        kept: Arrays = {"times": clip.times, "scene": clip.scene}
        for i in range(1 + self.spec.views):
            track = ClipFeatures(arrays[f"frames{i}"], arrays[f"features{i}"])
            found = self._encode_view_windows(clip, track, rng) if i else self._encode_live_windows(clip)
            kept[f"frames{i}"], kept[f"features{i}"] = found.frames, found.features
        return kept

    def _encode_live_windows(self, clip: EncodedClip) -> ClipFeatures:
        pictures = np.asarray(clip.plain.features, np.float32)
        windows = clip.rows(self.spec.window)
        rows = [self.trunk(pictures[one][None]).ravel() for one in windows]
        return ClipFeatures(clip.plain.frames[windows[:, -1]], np.stack(rows))

    def _encode_view_windows(
        self, clip: EncodedClip, track: ClipFeatures, rng: np.random.Generator
    ) -> ClipFeatures:
        """Encode windows of a view; a view that starts after the end of the clip has none."""
        if not len(track.frames):
            return track
        rows = [
            self.trunk(self.window_sampler.draw(clip, track, rng)[None]).ravel() for _ in range(self.draws)
        ]
        return ClipFeatures(np.repeat(track.frames[-1:], self.draws), np.stack(rows).astype(np.float16))
