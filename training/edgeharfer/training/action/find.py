"""Find labelled clips and background clips on disk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from edgeharfer.evaluate.dataset import CLIPS, TRAIN_SPLITS, Dataset, files_below
from edgeharfer.runtime.errors import SourceError

BACKGROUND = "background"


@dataclass(frozen=True)
class ClipFile:
    """A labelled clip on disk.

    Attributes:
        name: Path within its data set.
        label: Class.
        source: Folder or archive that it comes from.
        open: Takes a scratch folder and returns a context manager with a readable path.
    """

    name: str
    label: str
    source: str
    open: Callable[[Path], AbstractContextManager[Path]]


def find_clips(data: Path, background: Sequence[Path], label: str = BACKGROUND) -> list[ClipFile]:
    """Find the clips of the training split (or all, without splits) and the background clips.

    Args:
        data: Folder or zip of `<class>/<clip>` or `<split>/<class>/<clip>`.
        background: Clips or folders of clips, at any depth.
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
    for path in background:
        found += [
            ClipFile(f"{BACKGROUND}/{file.name}", label, path.name, partial(_open_in_place, file))
            for file in _clip_files(path)
        ]
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
    files = [file for file in sorted(files_below(path)) if file.suffix.lower() in CLIPS]
    if not files:
        raise SourceError(f"{path}: background: no clip ({'/'.join(sorted(CLIPS))}) in this folder")
    return files
