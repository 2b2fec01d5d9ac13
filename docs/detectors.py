"""Measure the face detectors for the table in docs/performance.md.

python docs/detectors.py --faces DIR --empty DIR --photographs DIR --crowds DIR [--detector NAME]...

Videos are searched as `edgeharfer run` does: at the rate of a live run, known faces are followed, and new
ones confirmed if the detector does so. The folders are the ground truth: --faces has videos that always show
a face, --empty videos that never show one, --crowds videos of many people, --photographs pictures that show a
face. Each option can be given more than once; folders are searched recursively.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeharfer.runtime.cuts import CutDetector
from edgeharfer.runtime.faces.detector import Detector
from edgeharfer.runtime.faces.detectors import DETECTORS, make_detector
from edgeharfer.runtime.faces.search import FaceFinder
from edgeharfer.runtime.faces.tracks import Tracker
from edgeharfer.runtime.source import open_source
from edgeharfer.runtime.types import Box, Face, Frame

LOOKS_A_SECOND = 10.0
VIDEOS = {".avi", ".mkv", ".mov", ".mp4", ".webm"}
PICTURES = {".jpeg", ".jpg", ".png", ".webp"}

HEADINGS = (
    "detector",
    "looks with a face",
    "faces where nobody is",
    "photographs with a face (time each)",
    "faces in a look at a crowd (time)",
    "one face: CPU ms a look / a second",
    "nobody: CPU ms a look / a second",
)


@dataclass
class Tally:
    """Sums over videos or photographs.

    Attributes:
        looks: Number of searches.
        hits: Number of searches that found a face.
        faces: Number of faces found.
        tracks: Number of tracks.
        cpu_s: Processor time of the searches.
    """

    looks: int = 0
    hits: int = 0
    faces: int = 0
    tracks: int = 0
    cpu_s: float = 0.0

    @property
    def ms_a_look(self) -> float:
        return self.cpu_s / self.looks * 1e3


def files(folders: Sequence[Path], endings: set[str]) -> list[Path]:
    """Return the files in folders with one of the endings, sorted."""
    return [path for folder in folders for path in sorted(folder.rglob("*")) if path.suffix in endings]


def looks(path: Path) -> Iterator[tuple[Frame, bool]]:
    """Yield the frames of a video that a live run searches, and whether there was a cut before each."""
    finder, due_s, cut = CutDetector(), 0.0, False
    with open_source(str(path)) as source:
        while (frame := source.read()) is not None:
            cut = finder.step(frame.bgr) or cut
            if frame.pts_s >= due_s:
                due_s = frame.pts_s + 1 / LOOKS_A_SECOND - 0.002
                yield frame, cut
                cut = False


def search_video(detector: Detector, path: Path, tally: Tally) -> None:
    """Search a video as a live run does."""
    finder, tracker, numbers = FaceFinder(detector), Tracker(), set[int]()
    for frame, cut in looks(path):
        if cut:
            tracker.reset()
        found = timed(finder, frame, tally, tracker.known_boxes)
        numbers |= {track.number for track in tracker.update(found, frame.pts_s)}
    tally.tracks += len(numbers)


def search_photograph(detector: Detector, path: Path, tally: Tally) -> None:
    """Search a photograph."""
    with open_source(str(path)) as source:
        frame = source.read()
    assert frame is not None, f"{path} holds no picture"
    timed(FaceFinder(detector), frame, tally)


def timed(finder: FaceFinder, frame: Frame, tally: Tally, known: Sequence[Box] = ()) -> list[Face]:
    """Search a frame and add it to the tally."""
    start_s = time.process_time()
    found = finder.find(frame, known)
    tally.cpu_s += time.process_time() - start_s
    tally.looks += 1
    tally.hits += bool(found)
    tally.faces += len(found)
    return found


def measure(detectors: Mapping[str, Detector], kind: str, paths: Sequence[Path]) -> dict[str, Tally]:
    """Search every file with each detector in turn, so that other load affects all alike."""
    search = search_photograph if kind == "photographs" else search_video
    tallies = {name: Tally() for name in detectors}
    for path in paths:
        for name, detector in detectors.items():
            search(detector, path, tallies[name])
    return tallies


def cells(name: str, of: Mapping[str, Mapping[str, Tally]]) -> list[str]:
    """Format the row of one detector, with empty cells for folders that were not given."""
    forms: list[tuple[str, Callable[[Tally], str]]] = [
        ("faces", lambda one: f"{one.hits / one.looks:.1%} of {one.looks}"),
        ("empty", lambda one: f"{one.faces} in {one.looks} looks, {one.tracks} tracks"),
        ("photographs", lambda one: f"{one.hits} of {one.looks} ({one.ms_a_look:.1f} ms)"),
        ("crowds", lambda one: f"{one.faces / one.looks:.2f} ({one.ms_a_look:.1f} ms)"),
        ("faces", lambda one: f"{one.ms_a_look:.1f} / {one.ms_a_look * LOOKS_A_SECOND:.0f}"),
        ("empty", lambda one: f"{one.ms_a_look:.1f} / {one.ms_a_look * LOOKS_A_SECOND:.0f}"),
    ]
    return [f"`{name}`", *(text(of[kind][name]) if of[kind][name].looks else "" for kind, text in forms)]


def main() -> None:
    """Print the table, one row for each detector."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    for name in ("faces", "empty", "photographs", "crowds"):
        parser.add_argument(f"--{name}", type=Path, action="append", default=[], metavar="DIR")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="only every Nth photograph")
    parser.add_argument("--detector", choices=list(DETECTORS), action="append")
    options = parser.parse_args()
    detectors = {name: make_detector(name) for name in options.detector or ("blazeface", "yunet", "auto")}
    for detector in detectors.values():
        detector.warm_up()
    found = {kind: files(getattr(options, kind), VIDEOS) for kind in ("faces", "empty", "crowds")}
    found["photographs"] = files(options.photographs, PICTURES)[:: options.every]
    tallies = {kind: measure(detectors, kind, paths) for kind, paths in found.items()}
    print(f"| {' | '.join(HEADINGS)} |\n{'|---' * len(HEADINGS)}|")
    for name, detector in detectors.items():
        print(f"| {' | '.join(cells(name, tallies))} |")
        detector.close()


if __name__ == "__main__":
    main()
