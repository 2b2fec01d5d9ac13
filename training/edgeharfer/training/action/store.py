"""Clips encoded, each once: decoded, sampled, seen in several views, and their features kept on disk."""

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
from edgeharfer.runtime.staging import replaced_file
from edgeharfer.runtime.types import Floats
from edgeharfer.training.action.clips import ClipFeatures, EncodedClip
from edgeharfer.training.action.find import ClipFile
from edgeharfer.training.action.folds import scene_of, thumbnail
from edgeharfer.training.action.grid import EvenSpread, FramePicker, RuntimeGrid
from edgeharfer.training.action.sampling import Sampler
from edgeharfer.training.action.views import ClipView, ViewRanges, draw_views
from edgeharfer.training.records import file_hash

Arrays = dict[str, NDArray[Any]]

_CACHE_VERSION = 2


@dataclass(frozen=True)
class Encoder:
    """Prepared pictures (n, height, width, 3) -> features (n, size); `digest` tells encoders apart."""

    run: Callable[[Floats], Floats]
    digest: str


@dataclass(frozen=True)
class ClipSpec:
    """How clips become features: views (changed copies) of each clip.

    sampling: "time" or "uniform" (see `sampling`). view_seconds: of a clip, that views hold by time.
    """

    input: InputSpec
    window: WindowSpec
    sampling: str = "time"
    views: int = 6
    view_seconds: float = 4.0
    ranges: ViewRanges = field(default_factory=ViewRanges)

    def draw_views(self, digest: str) -> list[ClipView]:
        """The changes made to the clip of this SHA-256."""
        return draw_views(self.views, self.ranges, (int(digest[:16], 16),))


@dataclass
class ClipStore:
    """Encodes clips, each once: features stay in `folder` under the hash of all that they depend on."""

    folder: Path
    spec: ClipSpec
    encoder: Encoder
    encoded: int = 0

    def load(self, file: ClipFile) -> EncodedClip:
        """The clip's features, from disk or encoded now. Raises SourceError for one without a picture."""
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
        """The clip of what `encode` gave."""
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
        """What is kept of a clip: the change and the frames of each track; those of the runtime first."""
        spec, views = self.spec, self.spec.draw_views(digest)
        live: tuple[ClipView, FramePicker] = (ClipView(), RuntimeGrid(spec.window))
        if spec.sampling == "uniform":
            # Decoded twice, since not every file knows how many frames it has.
            total = sum(1 for _ in read_frames(path))
            return [live, *((view, EvenSpread(total, spec.window.frames)) for view in (ClipView(), *views))]
        grids = [
            RuntimeGrid(spec.window, later=i % 2 == 1, seconds=spec.view_seconds) for i in range(len(views))
        ]
        return [live, *zip(views, grids, strict=True)]

    def encode(self, file: ClipFile, path: Path, digest: str) -> Arrays:
        """What is kept of the clip in `path`: times, scene, and the frames and features of each track."""
        tracks = self._tracks(path, digest)
        rows: list[list[Floats]] = [[] for _ in tracks]
        frames: list[list[int]] = [[] for _ in tracks]
        times, thumbnails = [], []
        for number, frame in enumerate(read_frames(path)):
            times.append(frame.pts_s)
            turn = [i for i, (_, picker) in enumerate(tracks) if picker.wants(number, frame.pts_s)]
            if not turn:
                continue
            pictures = [tracks[i][0].apply(frame.bgr) for i in turn]
            for i, row in zip(
                turn, self.encoder.run(preprocess_images(pictures, self.spec.input)), strict=True
            ):
                rows[i].append(row)
                frames[i].append(number)
            thumbnails.append(thumbnail(frame.bgr))
        arrays: Arrays = {"times": np.array(times, np.float64), "scene": scene_of(thumbnails)}
        for i, (numbers, features) in enumerate(zip(frames, rows, strict=True)):
            arrays[f"frames{i}"] = np.array(numbers, np.int64)
            unchanged = tracks[i][0] == ClipView()
            arrays[f"features{i}"] = np.array(features, np.float32 if unchanged else np.float16)
        return arrays


def load_clips(
    files: Sequence[ClipFile], store: ClipStore, report: Callable[[str], None]
) -> tuple[list[EncodedClip], dict[str, str]]:
    """All clips that can be read, each content once, and the reason for each that was skipped."""
    clips: list[EncodedClip] = []
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
    with replaced_file(path) as temporary:
        np.savez(temporary, **arrays)  # type: ignore[arg-type]


@dataclass(kw_only=True)
class WindowStore(ClipStore):
    """Encodes windows: all that `run` would see, and `draws` of each view as `shaker` makes them.

    trunk: a window of what the encoder gives (1, frames, size) -> its features, in any shape. Pictures of a
    clip are held in memory while it is encoded, and only the windows' features are kept.
    """

    trunk: Callable[[Floats], Floats]
    shaker: Sampler
    draws: int

    def encode(self, file: ClipFile, path: Path, digest: str) -> Arrays:
        arrays = super().encode(file, path, digest)
        clip = self.clip(file, digest, arrays)
        rng = np.random.default_rng(int(digest[:16], 16))
        kept: Arrays = {"times": clip.times, "scene": clip.scene}
        for i in range(1 + self.spec.views):
            track = ClipFeatures(arrays[f"frames{i}"], arrays[f"features{i}"])
            found = self._drawn(clip, track, rng) if i else self._live(clip)
            kept[f"frames{i}"], kept[f"features{i}"] = found.frames, found.features
        return kept

    def _live(self, clip: EncodedClip) -> ClipFeatures:
        pictures = np.asarray(clip.plain.features, np.float32)
        windows = clip.rows(self.spec.window)
        rows = [self.trunk(pictures[one][None]).ravel() for one in windows]
        return ClipFeatures(clip.plain.frames[windows[:, -1]], np.stack(rows))

    def _drawn(self, clip: EncodedClip, track: ClipFeatures, rng: np.random.Generator) -> ClipFeatures:
        """Of a view that holds a picture at all; one that begins after the end of a clip does not."""
        if not len(track.frames):
            return track
        rows = [self.trunk(self.shaker.draw(clip, track, rng)[None]).ravel() for _ in range(self.draws)]
        return ClipFeatures(np.repeat(track.frames[-1:], self.draws), np.stack(rows).astype(np.float16))
