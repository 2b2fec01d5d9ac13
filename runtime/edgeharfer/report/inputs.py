"""Resolve paths to inputs and assign each input a folder for its report."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgeharfer.report.summary import SUMMARY
from edgeharfer.report.task import ReportInput, ReportTask
from edgeharfer.runtime.errors import ConfigError, SourceError
from edgeharfer.runtime.source import SOURCES, Source, source_kind
from edgeharfer.runtime.source.address import redact
from edgeharfer.runtime.source.animation import is_animation
from edgeharfer.runtime.source.image_format import IMAGE_SUFFIXES
from edgeharfer.runtime.source.images import (
    folder_images,
    glob_files,
    is_glob,
    is_sequence,
    natural_sort,
    sequence_files,
)
from edgeharfer.runtime.source.video import VIDEO_SUFFIXES, open_video

MANIFEST, ALL_SUMMARY, ALL_PERSONS, ALL_FRAMES = (
    "job.jsonl",
    "all_summary.csv",
    "all_persons.csv",
    "all_frames",
)
"""Files of a job of several inputs, next to the folders of the reports; the last one with its suffix."""
_JOB_FILES = frozenset({MANIFEST, ALL_SUMMARY, ALL_PERSONS, f"{ALL_FRAMES}.csv", f"{ALL_FRAMES}.parquet"})
_MAX_NAME = 80
_UNKNOWN_BYTES = 1 << 20


def find_inputs(specs: Iterable[str], *, lenient: bool = False) -> Iterator[ReportInput]:
    """Expand files, folders, globs and numbered sequences to inputs, one at a time and without duplicates.

    Each video and each animated image of a folder or glob is one input; its pictures together are another.
    Subfolders are ignored.

    Args:
        specs: The specifications.
        lenient: Yield an input with a `problem` in place of an error.

    Raises:
        ConfigError: A specification is a camera or stream, which has no end.
    """
    seen: set[str] = set()
    for text in specs:
        for item in _inputs_of(text, lenient):
            if item.place not in seen:
                seen.add(item.place)
                yield item


def check_finite(
    inputs: Iterable[ReportInput], duration_s: float | None, *, lenient: bool = False
) -> Iterator[ReportInput]:
    """Yield the inputs, and check that each ends, or that a duration is given.

    Args:
        inputs: The inputs.
        duration_s: The duration in seconds.
        lenient: Yield an input with a `problem` in place of an error.

    Raises:
        ConfigError: An input such as the demo is endless and there is no duration.
    """
    for item in inputs:
        if duration_s is None and SOURCES[source_kind(item.spec)].endless:
            problem = f"{redact(item.spec)}: has no end; limit it with --duration SECONDS"
            if not lenient:
                raise ConfigError(problem)
            yield replace(item, problem=item.problem or problem)
        else:
            yield item


def _inputs_of(text: str, lenient: bool) -> Iterator[ReportInput]:
    try:
        yield from map(make_input, _expand(text))
    except ConfigError as error:
        if not lenient:
            raise
        shown = redact(text)
        yield ReportInput(shown, shown, 0, _digest(text), "", str(error))


def make_input(spec: str) -> ReportInput:
    """Make an input from its specification, without checking that it can be read."""
    files = _files(spec)
    stats = [(path.name, stat.st_size, stat.st_mtime_ns) for path in files if (stat := path.stat())]
    size = sum(entry[1] for entry in stats)
    content = _digest(stats) if stats else ""
    name = Path(spec).name or Path(spec).absolute().name
    return ReportInput(spec, name, size or _UNKNOWN_BYTES, _digest(str(Path(spec).absolute())), content)


def plan_tasks(
    inputs: Iterable[ReportInput], out: Path, settings: Any, *, fresh: bool = False
) -> Iterator[ReportTask]:
    """Assign each input a folder below `out`, one input at a time.

    An input keeps the folder of an earlier report on it; other inputs get an unused name. It is done if
    that report was made with the same settings and the files of the input have not changed since.

    Args:
        inputs: The inputs.
        out: Folder of all reports.
        settings: JSON-serialisable settings that reports depend on.
        fresh: Treat no input as done.
    """
    taken = _TakenNames()
    for item in inputs:
        folder, resume = _choose_folder(item, out, taken)
        taken.add(folder.name)
        key = _digest([item.content, settings])
        done = bool(item.content) and not fresh and resume.get("key") == key
        yield ReportTask(item, folder, key, done, _unreadable_before(folder) if done else 0)


def available_folder(task: ReportTask) -> Path:
    """The folder of a task, or a new one if another input's report has since been written to it."""
    if _is_free(_resume_entry(task.folder), task.input):
        return task.folder
    return _choose_folder(task.input, task.folder.parent, _TakenNames())[0]


def expected_frames(source: Source, spec: str, duration_s: float | None = None) -> int | None:
    """Number of frames that a source will return, for progress estimates; None if unknown.

    If the container does not state it, packets are counted, which needs no decoding.
    """
    count = source.frame_count or _count_packets(spec)
    if duration_s is None or not source.fps:
        return count
    limit = max(1, round(duration_s * source.fps))
    return min(count, limit) if count else limit


def _expand(text: str) -> Iterator[str]:
    kind = SOURCES[source_kind(text)]
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
    videos = natural_sort(filter(_is_video, files))
    yield from map(str, videos)
    pictures = (file for file in files if file.suffix.lower() in IMAGE_SUFFIXES)
    if not videos or any(file not in videos for file in pictures):
        yield str(path)  # a folder with neither raises an error when it is opened


def _is_video(file: Path) -> bool:
    suffix = file.suffix.lower()
    try:
        return suffix in VIDEO_SUFFIXES or (suffix in IMAGE_SUFFIXES and is_animation(file))
    except OSError:
        return False  # opening it raises the error


def _visible_files(folder: Path) -> list[Path]:
    try:
        return [path for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")]
    except OSError:
        return []  # opening it raises the error


def _files(spec: str) -> list[Path]:
    """The files of a specification; empty if there are none."""
    path = Path(spec)
    if not SOURCES[source_kind(spec)].is_path:
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
        return []  # opening it raises the error


class _TakenNames:
    """Folder names that this run has assigned, compared without regard to case."""

    def __init__(self) -> None:
        self._names = set(_JOB_FILES)
        self._first: dict[str, int] = {}

    def add(self, name: str) -> None:
        self._names.add(name.casefold())

    def numbers(self, base: str) -> Iterator[int]:
        """The numbers of the names that are not taken, from the lowest one.

        The numbers below it are not tried again, so many inputs of one name cost no more each.
        """
        key = base.casefold()
        first = self._first.get(key, 1)
        while _numbered(key, first) in self._names:
            first += 1
        self._first[key] = first
        return (number for number in itertools.count(first) if _numbered(key, number) not in self._names)


def _choose_folder(item: ReportInput, out: Path, taken: _TakenNames) -> tuple[Path, dict[str, Any]]:
    base = folder_name(item.name)
    for number in taken.numbers(base):
        folder = out / _numbered(base, number)
        resume = _resume_entry(folder)
        if _is_free(resume, item):
            return folder, resume
    raise AssertionError("numbers do not end")


def _numbered(base: str, number: int) -> str:
    return base if number == 1 else f"{base}-{number}"


def _is_free(resume: Mapping[str, Any], item: ReportInput) -> bool:
    """Whether a folder holds no report or a report on this input."""
    return bool(resume.get("place", item.place) == item.place)


def folder_name(name: str) -> str:
    """A folder name that is valid on every system: the stem with special characters replaced."""
    stem = re.sub(r"(?:[^\w.-]|_)+", "_", Path(name).stem).strip("._")
    return stem[:_MAX_NAME] or "input"


def _resume_entry(folder: Path) -> dict[str, Any]:
    """The "resume" entry of an earlier report; empty if there is no complete report."""
    try:
        entry = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))["resume"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return entry if isinstance(entry, dict) else {}


def _unreadable_before(folder: Path) -> int:
    try:
        return int(json.loads((folder / SUMMARY).read_text(encoding="utf-8"))["input"]["unreadable"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0  # older reports do not hold the count


def _count_packets(spec: str) -> int | None:
    if not (SOURCES[source_kind(spec)].is_path and Path(spec).is_file()):
        return None
    with closing(open_video(Path(spec))) as decoder:
        return decoder.count_packets() or None


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, ensure_ascii=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
