"""Measure the face detectors for the table in docs/performance.md.

python docs/detectors.py --faces DIR --empty DIR --photographs DIR --crowds DIR [--detector NAME]...

Videos are searched as `edgeharfer run` searches them: the looks of a live run, known faces followed, a second
opinion where the detector has one. What the folders hold is the measurer's word, there is no other truth:
--faces videos that show a face all the time, --empty videos that never show one, --crowds videos of many
people, --photographs pictures that show a face. Each option can be repeated; folders are searched deeply.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeharfer.runtime.cuts import CutFinder
from edgeharfer.runtime.faces.detector import Detector
from edgeharfer.runtime.faces.detectors import DETECTORS, make_detector
from edgeharfer.runtime.faces.search import FaceFinder
from edgeharfer.runtime.faces.tracks import Tracker
from edgeharfer.runtime.source import open_source
from edgeharfer.runtime.types import Frame

LOOKS_A_SECOND = 10.0
VIDEOS = {".avi", ".mkv", ".mov", ".mp4", ".webm"}
PICTURES = {".jpeg", ".jpg", ".png", ".webp"}

HEADINGS = (
    "detector",
    "looks with a face",
    "faces (tracks) where nobody is",
    "photographs with a face (time each)",
    "faces in a look at a crowd (time)",
    "one face: CPU ms a look / a second",
    "nobody: CPU ms a look / a second",
)


@dataclass
class Tally:
    """Sums over videos or photographs. hits: looks that found a face. tracks: numbers given to faces."""

    looks: int = 0
    hits: int = 0
    faces: int = 0
    tracks: int = 0
    cpu_s: float = 0.0

    @property
    def share(self) -> float:
        return self.hits / self.looks

    @property
    def ms_a_look(self) -> float:
        return self.cpu_s / self.looks * 1e3


def files(folders: Sequence[Path], endings: set[str]) -> list[Path]:
    """The files of some folders that have one of the endings, in a fixed order."""
    return [path for folder in folders for path in sorted(folder.rglob("*")) if path.suffix in endings]


def looks(path: Path) -> Iterator[tuple[Frame, bool]]:
    """The frames of a video that a live run looks at, and whether another scene begins before each."""
    finder, due_s, cut = CutFinder(), 0.0, False
    with open_source(str(path)) as source:
        while (frame := source.read()) is not None:
            cut = finder.step(frame.bgr) or cut
            if frame.pts_s >= due_s:
                due_s = frame.pts_s + 1 / LOOKS_A_SECOND - 0.002
                yield frame, cut
                cut = False


def measure_videos(detector: Detector, paths: Sequence[Path]) -> Tally:
    """Search videos as a live run does, one after the other."""
    tally, finder = Tally(), FaceFinder(detector)
    for path in paths:
        finder.reset()
        tracker, numbers = Tracker(), set[int]()
        for frame, cut in looks(path):
            if cut:
                tracker.reset()
            start_s = time.process_time()
            found = finder.find(frame, tracker.known_boxes)
            tally.cpu_s += time.process_time() - start_s
            numbers |= {track.number for track in tracker.update(found, frame.pts_s)}
            tally.looks += 1
            tally.hits += bool(found)
            tally.faces += len(found)
        tally.tracks += len(numbers)
    return tally


def measure_photographs(detector: Detector, paths: Sequence[Path]) -> Tally:
    """Search photographs, each by itself."""
    tally, finder = Tally(), FaceFinder(detector)
    for path in paths:
        with open_source(str(path)) as source:
            frame = source.read()
        if frame is None:
            continue
        start_s = time.process_time()
        found = finder.find(frame)
        tally.cpu_s += time.process_time() - start_s
        tally.looks += 1
        tally.hits += bool(found)
        tally.faces += len(found)
    return tally


def row(name: str, found: dict[str, list[Path]]) -> list[str]:
    """The cells of one detector; those of folders that were not given are empty."""
    detector = make_detector(name)
    detector.warm_up()
    cells = [f"`{name}`"]
    with_faces = measure_videos(detector, found["faces"]) if found["faces"] else None
    empty = measure_videos(detector, found["empty"]) if found["empty"] else None
    crowds = measure_videos(detector, found["crowds"]) if found["crowds"] else None
    photographs = measure_photographs(detector, found["photographs"]) if found["photographs"] else None
    detector.close()
    cells.append(f"{with_faces.share:.1%}" if with_faces else "")
    cells.append(f"{empty.faces} ({empty.tracks})" if empty else "")
    cells.append(f"{photographs.hits} ({photographs.ms_a_look:.1f} ms)" if photographs else "")
    cells.append(f"{crowds.faces / crowds.looks:.2f} ({crowds.ms_a_look:.1f} ms)" if crowds else "")
    for tally in (with_faces, empty):
        cells.append(f"{tally.ms_a_look:.1f} / {tally.ms_a_look * LOOKS_A_SECOND:.0f}" if tally else "")
    return cells


def main() -> None:
    """Print the table, a row a detector."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    for name in ("faces", "empty", "photographs", "crowds"):
        parser.add_argument(f"--{name}", type=Path, action="append", default=[], metavar="DIR")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="only every Nth photograph")
    parser.add_argument("--detector", choices=list(DETECTORS), action="append")
    options = parser.parse_args()
    found = {
        "faces": files(options.faces, VIDEOS),
        "empty": files(options.empty, VIDEOS),
        "crowds": files(options.crowds, VIDEOS),
        "photographs": files(options.photographs, PICTURES)[:: options.every],
    }
    print(", ".join(f"{name}: {len(paths)}" for name, paths in found.items()))
    print(f"| {' | '.join(HEADINGS)} |\n{'|---' * len(HEADINGS)}|")
    for name in options.detector or ("blazeface", "yunet", "auto"):
        print(f"| {' | '.join(row(name, found))} |", flush=True)


if __name__ == "__main__":
    main()
