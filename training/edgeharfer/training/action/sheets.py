"""Image grids for visual inspection: augmented clips and the worst mistakes."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edgeharfer.evaluate.action import read_frames
from edgeharfer.runtime.types import Frame, Image
from edgeharfer.training.action.find import ClipFile
from edgeharfer.training.action.sampling import spread_frames
from edgeharfer.training.action.store import ClipSpec
from edgeharfer.training.plots import plot_grid, plot_sheet
from edgeharfer.training.records import file_hash

ROWS = 8
COLUMNS = 8
MISTAKES = 32
_WIDTH = 160


def write_augmentation_sheet(files: Sequence[ClipFile], spec: ClipSpec, path: Path) -> None:
    """Write one row per clip: its first frame, then frames of one view at the times of a window.

    Args:
        files: Readable clips; one per class is shown, at most ROWS.
        spec: How clips are encoded.
        path: Image file to write.
    """
    rows, captions = [], []
    for number, file in enumerate(_one_per_class(files)[:ROWS]):
        frames, digest = _decode_frames(file, partial(_window_frames, spec))
        first_s = frames[0].pts_s
        views = spec.draw_views(digest)
        view = views[number % len(views)] if views else None
        changed = [view.apply(frame.bgr) if view else frame.bgr for frame in frames]
        rows.append([_thumbnail(frames[0].bgr), *map(_thumbnail, changed)])
        captions.append([file.label, *(f"{frame.pts_s - first_s:.2f} s" for frame in frames)])
    plot_sheet(rows, captions, path)


def write_mistakes_sheet(
    files: Mapping[str, ClipFile], mistakes: Sequence[Mapping[str, Any]], path: Path
) -> None:
    """Write the middle frame of the wrongly classified clips with the highest confidence.

    Captions are "truth > prediction score".

    Args:
        files: Clip name -> clip.
        mistakes: From `summarize_clips`.
        path: Image file to write.
    """
    worst = sorted(mistakes, key=lambda one: -one["score"])[:MISTAKES]
    pictures = []
    for one in worst:
        frames, _ = _decode_frames(files[one["clip"]], lambda times: [len(times) // 2])
        pictures.append(_thumbnail(frames[0].bgr))
    captions = [f"{one['label']} > {one['predicted']} {one['score']:.2f}" for one in worst]
    plot_grid(pictures, captions, COLUMNS, path)


def _one_per_class(files: Sequence[ClipFile]) -> list[ClipFile]:
    return list({file.label: file for file in reversed(files)}.values())[::-1]


def _window_frames(spec: ClipSpec, times: Sequence[float]) -> list[int]:
    """Return the frames to show: of the first window, or of the whole clip with uniform sampling."""
    inside = [time for time in times if time - times[0] <= spec.window.seconds]
    return spread_frames(len(times if spec.sampling == "uniform" else inside), COLUMNS)


def _decode_frames(file: ClipFile, choose: Callable[[Sequence[float]], list[int]]) -> tuple[list[Frame], str]:
    """Return the frames of a clip that `choose` selects by the times of all, and the clip's SHA-256.

    The clip is decoded twice, so that a long one is never held in memory.
    """
    with tempfile.TemporaryDirectory() as scratch, file.open(Path(scratch)) as path:
        chosen = choose([frame.pts_s for frame in read_frames(path)])
        return [frame for i, frame in enumerate(read_frames(path)) if i in chosen], file_hash(path)


def _thumbnail(bgr: Image) -> Image:
    """Convert a BGR frame to a small RGB image."""
    height = max(1, round(bgr.shape[0] * _WIDTH / bgr.shape[1]))
    small = cv2.resize(bgr, (_WIDTH, height), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.cvtColor(small, cv2.COLOR_BGR2RGB), np.uint8)
