"""Joints over time with what they show: true joints of clips, and joints that the pose model finds in clips.

A window of joints may have several right answers, such as "walk" and "sit" where somebody walks to a chair.
So each track says for each moment which labels are right for the window that ends there.
"""

from __future__ import annotations

import csv
import hashlib
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeharfer.runtime.cuts import CutDetector
from edgeharfer.runtime.errors import ConfigError, SourceError
from edgeharfer.runtime.progress import with_progress
from edgeharfer.runtime.source import open_source
from edgeharfer.runtime.tasks.joints import JOINTS
from edgeharfer.runtime.tasks.movenet import PoseModel
from edgeharfer.runtime.tasks.pose import LOOK_INTERVAL_S
from edgeharfer.runtime.types import BACKGROUND, Floats

FALL = "fall"
TRUE_JOINTS_FPS = 30.0
"""Frame rate of JHMDB (Jhuang et al. 2013), 15 to 40 frames a clip."""
TRUE_JOINTS = {
    "nose": 2, "left_shoulder": 4, "right_shoulder": 3, "left_hip": 6, "right_hip": 5, "left_elbow": 8,
    "right_elbow": 7, "left_knee": 10, "right_knee": 9, "left_wrist": 12, "right_wrist": 11, "left_ankle": 14,
    "right_ankle": 13,
}  # fmt: skip
"""Row of each joint in a file of true joints. The middle of the face stands for the nose."""
CLIPS = (".mp4", ".mkv", ".avi", ".mov")
MIN_OVERLAP_S = 0.5
"""Shortest part of a window for which what happens in it counts."""
FALL_SURE_S, FALL_OVER_S = 0.75, 2.2
"""From when after the beginning of a fall a window must be called a fall, and until when."""


@dataclass(frozen=True, eq=False)
class JointTrack:
    """The joints of one clip.

    Attributes:
        name: Name of the clip.
        source: Origin of the clip, such as the name of its folder; sources are held out as a whole.
        group: Person or scene within the source.
        fps: Joints per second.
        joints: Float32, (frames, 17, 3), as in `joint_features`.
        right: Labels that are right for the window that ends with each frame; None where any is.
        annotated: Whether they come from annotations of the clip.
    """

    name: str
    source: str
    group: str
    fps: float
    joints: Floats
    right: tuple[frozenset[str] | None, ...]
    annotated: bool = False

    @property
    def seconds(self) -> float:
        """Time from the first frame to the last."""
        return (len(self.joints) - 1) / self.fps


def read_true_joints(path: Path, split: str, labels: Sequence[str]) -> list[JointTrack]:
    """Read the clips of one split of a file of true joints.

    Args:
        path: A .npz file with the arrays SPLIT_xy (frames of all clips, 15, 2), SPLIT_frames (frames of each
            clip) and SPLIT_label.
        split: "train" or "test".
        labels: Labels with a class of their own; all others are background. "run" is left out, because it is
            neither.

    Raises:
        ConfigError: The file does not have these arrays.
    """
    try:
        with np.load(path, allow_pickle=False) as data:
            xy, frames, names = (data[f"{split}_{key}"] for key in ("xy", "frames", "label"))
    except (KeyError, OSError, ValueError) as error:
        raise ConfigError(f"{path}: not a file of true joints: {error}") from error
    joints = np.zeros((len(xy), len(JOINTS), 3), np.float32)
    for name, row in TRUE_JOINTS.items():
        joints[:, JOINTS.index(name)] = np.column_stack([xy[:, row], np.ones(len(xy))])
    clips = np.split(joints, np.cumsum(frames)[:-1])
    return [
        JointTrack(
            f"{split} {number} {name}", "true joints", str(number), TRUE_JOINTS_FPS, clip,
            (frozenset({name if name in labels else BACKGROUND}),) * len(clip),
        )
        for number, (clip, name) in enumerate(zip(clips, map(str, names), strict=True))
        if name in labels or name != "run"
    ]  # fmt: skip


def find_joints(clip: Path, model: PoseModel) -> Iterator[Floats]:
    """Find the joints of a clip as `run` does; yields an array (looks, 17, 3) for each scene.

    Raises:
        SourceError: The clip cannot be read.
    """
    model.reset()
    cuts, next_s = CutDetector(), 0.0
    looks: list[Floats] = []
    with open_source(str(clip)) as source:
        while (frame := source.read()) is not None:
            if cuts.step(frame.picture):
                model.reset()
                if looks:
                    yield np.stack(looks)
                looks = []
            if frame.pts_s >= next_s - 1e-6:
                next_s = (np.floor(frame.pts_s / LOOK_INTERVAL_S + 1e-6) + 1) * LOOK_INTERVAL_S
                looks.append(model.locate(frame.bgr))
    if looks:
        yield np.stack(looks)


def read_background(
    folder: Path, model: PoseModel, cache: Path, left_out: Collection[str] = ()
) -> list[JointTrack]:
    """Read all clips below a folder as background.

    Args:
        folder: The folder; its name is the source.
        model: Finds the joints.
        cache: Folder that keeps the joints.
        left_out: Names of folders inside that show one of the actions.
    """
    return [
        JointTrack(
            clip.name,
            folder.name,
            clip.stem,
            1 / LOOK_INTERVAL_S,
            joints,
            (frozenset({BACKGROUND}),) * len(joints),
        )
        for clip in with_progress(
            sorted(path for path in folder.rglob("*") if path.suffix.lower() in CLIPS),
            f"finding joints in {folder.name}",
        )
        if clip.parent.name not in left_out
        for joints in _cached(clip, model, cache)
    ]


def read_annotated(folder: Path, model: PoseModel, cache: Path) -> list[JointTrack]:
    """Read clips with annotations in the layout of GMDCSA24.

    FOLDER/SUBJECT/KIND/CLIP, and FOLDER/SUBJECT/KIND.csv with the columns "File Name", "Description" and
    "Classes", such as "Walking[0 to 1.7]; Falling (BW)[1.8 to 5]". Rows of other clips are ignored.
    """
    tracks = []
    for table in sorted(folder.glob("*/*.csv")):
        for row in with_progress(list(_rows(table)), f"finding joints in {table.parent.name}"):
            clip = table.with_suffix("") / row["File Name"].strip()
            if not clip.is_file():
                continue
            events = list(parse_events(row.get("Classes") or ""))
            for joints in _cached(clip, model, cache)[:1]:
                times = np.arange(len(joints)) * LOOK_INTERVAL_S
                right = tuple(right_labels(events, row.get("Description") or "", end) for end in times)
                person = table.parent.name
                name, fps = f"{person}/{table.stem}/{clip.name}", 1 / LOOK_INTERVAL_S
                tracks.append(JointTrack(name, folder.name, person, fps, joints, right, annotated=True))
    return tracks


def _rows(table: Path) -> Iterable[dict[str, str]]:
    with table.open(newline="", encoding="utf-8-sig") as file:
        for row in csv.DictReader(file, skipinitialspace=True):
            yield {(key or "").strip(): value for key, value in row.items() if isinstance(value, str)}


Event = tuple[str, float, float]
_EVENT = re.compile(r"([A-Za-z]+)\s*(?:\([A-Z]+\))?\s*\[([^\]]*)\]?")
_SPAN = re.compile(r"([\d.]+)\s*to\s*([\d.]+)")


def parse_events(text: str) -> Iterator[Event]:
    """Yield (class, start, end), in seconds, of annotations such as "Sitting[0 to 2; 3 to 4]"."""
    for name, spans in _EVENT.findall(text):
        for start, end in _SPAN.findall(spans):
            yield name.lower(), float(start), float(end)


def fall_start(events: Iterable[Event]) -> float | None:
    """Return when somebody begins to fall, in seconds."""
    return next((start for name, start, _ in events if name.startswith("fall")), None)


def right_labels(
    events: Sequence[Event], description: str, end: float, length: float = 2.0
) -> frozenset[str] | None:
    """Return the labels that are right for the window that ends at `end`, in seconds; None for any."""
    start = end - length
    fall = fall_start(events)
    if fall is not None and end >= fall:
        if end < fall + FALL_SURE_S:
            return None
        return frozenset({FALL}) if end <= fall + FALL_OVER_S else frozenset({FALL, BACKGROUND})
    inside = [name for name, first, last in events if min(end, last) - max(start, first) >= MIN_OVERLAP_S]
    right = {"walk" if name == "walking" else BACKGROUND for name in inside}
    moves = {"sit", "stand"} if len(right) > 1 or "exercising" in inside or not inside else set()
    if "pick" in description.lower():
        moves |= {"pick", BACKGROUND}
    return frozenset(right | moves | (set() if inside else {BACKGROUND, "walk"}))


def _cached(clip: Path, model: PoseModel, cache: Path) -> list[Floats]:
    """Return the joints of each scene of a clip, computed once."""
    digest = hashlib.sha256(str(clip.resolve()).encode()).hexdigest()[:16]
    file = cache / f"{clip.stem}-{digest}.npz"
    if not file.exists():
        try:
            scenes = list(find_joints(clip, model))
        except SourceError:
            scenes = []
        cache.mkdir(parents=True, exist_ok=True)
        np.savez(file, *scenes)
    with np.load(file, allow_pickle=False) as data:
        return [data[key] for key in data.files]


def to_hot(right: frozenset[str] | None, labels: Sequence[str]) -> NDArray[np.float32]:
    """Return 1 for each right label and 0 for the others, float32, (labels,)."""
    return np.array([right is None or label in right for label in labels], np.float32)
