"""What is to be analysed: paths become inputs, each with a folder for its report."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2

from edgeharfer.report.summary import SUMMARY
from edgeharfer.runtime.errors import ConfigError, SourceError
from edgeharfer.runtime.source import SOURCES, Source, kind_of
from edgeharfer.runtime.source.address import redact
from edgeharfer.runtime.source.images import (
    IMAGE_SUFFIXES,
    folder_images,
    glob_files,
    in_natural_order,
    is_glob,
    is_sequence,
    sequence_files,
)
from edgeharfer.runtime.source.opencv import open_capture
from edgeharfer.runtime.source.video import VIDEO_SUFFIXES

_MAX_NAME = 80
_UNKNOWN_BYTES = 1 << 20


@dataclass(frozen=True)
class ReportInput:
    """One input. spec: as for open_source. name: for people. size: of its files in bytes.

    place: digest of where it lies. content: digest of names, sizes and times of its files, which
    changes when they do; empty where there is none.
    """

    spec: str
    name: str
    size: int
    place: str
    content: str


@dataclass(frozen=True)
class ReportTask:
    """An input, the folder of its report, and whether that report is there already.

    unreadable: how many pictures or frames of the input an earlier report could not read.
    """

    input: ReportInput
    folder: Path
    key: str
    done: bool
    unreadable: int = 0

    @property
    def extra(self) -> dict[str, Any]:
        """The entry of summary.json by which a later run knows this report."""
        return {"resume": {"place": self.input.place, "key": self.key}}


def find_inputs(specs: Sequence[str]) -> list[ReportInput]:
    """Files, folders, globs and numbered sequences as inputs, each once, in the order given.

    The videos of a folder or glob are inputs of their own, its pictures are one together; folders within
    a folder are left alone. Raises ConfigError for cameras and streams, which have no end.
    """
    found = (make_input(spec) for text in specs for spec in _expand(text))
    return list({item.place: item for item in found}.values())


def check_finite(inputs: Iterable[ReportInput], duration_s: float | None) -> None:
    """Raises ConfigError for what goes on for ever, such as the demo, unless a duration is given."""
    for item in inputs if duration_s is None else ():
        if SOURCES[kind_of(item.spec)].endless:
            raise ConfigError(f"{item.spec}: has no end; say how much of it with --duration SECONDS")


def make_input(spec: str) -> ReportInput:
    """An input by its specification; that it can be read is seen when it is opened."""
    files = _files(spec)
    stats = [(path.name, stat.st_size, stat.st_mtime_ns) for path in files if (stat := path.stat())]
    size = sum(entry[1] for entry in stats)
    content = _digest(stats) if stats else ""
    name = Path(spec).name or Path(spec).absolute().name
    return ReportInput(spec, name, size or _UNKNOWN_BYTES, _digest(str(Path(spec).absolute())), content)


def plan_tasks(
    inputs: Iterable[ReportInput], out: Path, settings: Any, *, fresh: bool = False
) -> list[ReportTask]:
    """A folder below `out` for each input: the one of an earlier report on it, or one not taken.

    An input is done when its report was made with the same settings and its files have not changed
    since. fresh: nothing is taken as done.
    """
    taken: set[str] = set()
    tasks = []
    for item in inputs:
        folder, resume = _choose_folder(item, out, taken)
        taken.add(folder.name.casefold())
        key = _digest([item.content, settings])
        done = bool(item.content) and not fresh and resume.get("key") == key
        tasks.append(ReportTask(item, folder, key, done, _unreadable_before(folder) if done else 0))
    return tasks


def available_folder(task: ReportTask) -> Path:
    """The folder of a task, or a new one where a report on another input has taken it meanwhile."""
    if _is_free(_resume_entry(task.folder), task.input):
        return task.folder
    return _choose_folder(task.input, task.folder.parent, set())[0]


def expected_frames(source: Source, spec: str, duration_s: float | None = None) -> int | None:
    """How many frames a source will give, so that the time left can be told; None where nobody knows.

    Where the container does not say, its packets are counted, which needs no decoding.
    """
    count = source.frame_count or _count_packets(spec)
    if duration_s is None or not source.fps:
        return count
    asked = max(1, round(duration_s * source.fps))
    return min(count, asked) if count else asked


def _expand(text: str) -> Iterator[str]:
    kind = SOURCES[kind_of(text)]
    if kind.live:
        raise ConfigError(
            f"{redact(text)}: has no end; record it first (edgeharfer run --save FILE.mp4) and analyze "
            "the file"
        )
    path = Path(text).expanduser()
    if not kind.is_path or path.is_file():
        yield str(path) if kind.is_path else text
        return
    files = _visible_files(path) if path.is_dir() else _files(str(path))
    videos = in_natural_order(file for file in files if file.suffix.lower() in VIDEO_SUFFIXES)
    yield from map(str, videos)
    if not videos or any(file.suffix.lower() in IMAGE_SUFFIXES for file in files):
        yield str(path)  # one with neither tells so when it is opened


def _visible_files(folder: Path) -> list[Path]:
    try:
        return [path for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")]
    except OSError:
        return []  # opening it tells why


def _files(spec: str) -> list[Path]:
    """The files behind a specification; none where it names nothing."""
    path = Path(spec)
    if not SOURCES[kind_of(spec)].is_path:
        return []
    try:
        if path.is_file():
            return [path]
        if path.is_dir():
            return folder_images(path)
        if is_sequence(spec):
            return sequence_files(spec)
        return glob_files(spec) if is_glob(spec) else []
    except (OSError, SourceError):
        return []  # opening it tells why


def _choose_folder(item: ReportInput, out: Path, taken: set[str]) -> tuple[Path, dict[str, Any]]:
    base = folder_name(item.name)
    number = 1
    while True:
        folder = out / (base if number == 1 else f"{base}-{number}")
        resume = _resume_entry(folder)
        if _is_free(resume, item) and folder.name.casefold() not in taken:
            return folder, resume
        number += 1


def _is_free(resume: Mapping[str, Any], item: ReportInput) -> bool:
    """Whether a folder holds no report, or one on this input."""
    return bool(resume.get("place", item.place) == item.place)


def folder_name(name: str) -> str:
    """A name for a folder on any system: the stem, with no signs that mean anything to one."""
    stem = re.sub(r"(?:[^\w.-]|_)+", "_", Path(name).stem).strip("._")
    return stem[:_MAX_NAME] or "input"


def _resume_entry(folder: Path) -> dict[str, Any]:
    """What an earlier run left for this one; empty where there is no whole report."""
    try:
        entry = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))["resume"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return entry if isinstance(entry, dict) else {}


def _unreadable_before(folder: Path) -> int:
    try:
        return int(json.loads((folder / SUMMARY).read_text(encoding="utf-8"))["input"]["unreadable"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0  # a report of before they were counted


def _count_packets(spec: str) -> int | None:
    if not (SOURCES[kind_of(spec)].is_path and Path(spec).is_file()):
        return None
    capture = open_capture(str(Path(spec).absolute()), cv2.CAP_FFMPEG)
    try:
        if not capture.set(cv2.CAP_PROP_FORMAT, -1):  # packets as they are
            return None
        count = 0
        while capture.grab():
            count += 1
        return count or None
    finally:
        capture.release()


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, ensure_ascii=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
