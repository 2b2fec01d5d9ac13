"""Find labelled clips and background clips on disk."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from edgeharfer.evaluate.dataset import CLIPS, TRAIN_SPLITS, Dataset, files_ending
from edgeharfer.runtime.errors import SourceError
from edgeharfer.runtime.source.image_format import IMAGE_SUFFIXES

BACKGROUND = "background"
_NAMED = re.compile(r"(?P<name>[\w.-]+)=(?P<path>.+)")


@dataclass(frozen=True)
class BackgroundSource:
    """Background clips of one origin: the same people, place or camera, or one collection.

    Several of them with one name count as one source.

    Attributes:
        name: Name of the source in tables.
        path: A clip, or a folder of clips at any depth. Photographs count as clips of one frame.
        named: Whether the name was given; it is then part of the clips' names.
    """

    name: str
    path: Path
    named: bool = True

    @classmethod
    def parse(cls, text: str) -> BackgroundSource:
        """Parse `[NAME=]PATH`. Without a name, the last part of the path is the name."""
        match = _NAMED.fullmatch(text)
        if match is None or Path(text).exists():
            return cls.unnamed(Path(text))
        return cls(match["name"], Path(match["path"]))

    @classmethod
    def unnamed(cls, path: Path) -> BackgroundSource:
        """Return a source with the name of its file or folder."""
        return cls(path.name, path, named=False)

    def clips(self, label: str) -> Iterator[ClipFile]:
        """Yield the clips, labelled `label`.

        Raises:
            SourceError: The path does not exist or contains no clip.
        """
        for file in _clip_files(self.path):
            name = f"{BACKGROUND}/{self._clip_name(file)}"
            yield ClipFile(name, label, self.name, partial(_open_in_place, file))

    def _clip_name(self, file: Path) -> str:
        if not self.named:
            return file.name
        root = self.path.parent if file == self.path else self.path
        return f"{self.name}/{file.relative_to(root).as_posix()}"


@dataclass(frozen=True)
class ClipFile:
    """A labelled clip on disk.

    Attributes:
        name: Path within its data set.
        label: Class.
        source: Folder or archive that it comes from, or the name of a background source.
        open: Takes a scratch folder and returns a context manager with a readable path.
    """

    name: str
    label: str
    source: str
    open: Callable[[Path], AbstractContextManager[Path]]


def find_clips(
    data: Path, background: Sequence[BackgroundSource | Path], label: str = BACKGROUND
) -> list[ClipFile]:
    """Find the clips of the training split (or all, without splits) and the background clips.

    Args:
        data: Folder or zip of `<class>/<clip>` or `<split>/<class>/<clip>`.
        background: Sources of background clips, or their paths.
        label: Class of the background clips.

    Raises:
        SourceError: A path does not exist or contains no clip.
    """
    dataset = Dataset(data, CLIPS)
    split = next((name for name in dataset.splits if name.lower() in TRAIN_SPLITS), None)
    samples = dataset.samples if split is None else dataset.split(split)
    _check_classes(data / (split or ""), {sample.label for sample in samples})
    found = [
        ClipFile(sample.name, sample.label, data.name, partial(dataset.local_file, sample))
        for sample in samples
    ]
    for source in background:
        one = BackgroundSource.unnamed(source) if isinstance(source, Path) else source
        found += one.clips(label)
    return found


def _check_classes(folder: Path, labels: set[str]) -> None:
    """Reject class folders without a clip."""
    if folder.is_dir():
        names = {
            one.name for one in folder.iterdir() if one.is_dir() and not one.name.startswith((".", "__"))
        }
        if empty := sorted(names - labels):
            raise SourceError(
                f"{folder}: no clip of class {', '.join(empty)}: add clips or remove the folder"
            )


def _open_in_place(file: Path, scratch: Path) -> AbstractContextManager[Path]:
    return nullcontext(file)


def _clip_files(path: Path) -> list[Path]:
    if not path.exists():
        raise SourceError(f"{path}: background: no such file or folder")
    if path.is_file():
        return [path]
    files = files_ending(path, CLIPS | IMAGE_SUFFIXES)
    if not files:
        raise SourceError(f"{path}: background: no clip ({'/'.join(sorted(CLIPS))}) in this folder")
    return files
