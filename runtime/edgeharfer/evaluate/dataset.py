"""Labelled files in `<class>/<file>` or `<split>/<class>/<file>` layout, in a folder or a zip archive."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from edgeharfer.runtime.errors import SourceError
from edgeharfer.runtime.inference.manifest import WindowSpec
from edgeharfer.runtime.source.image_format import IMAGE_SUFFIXES

CLIPS = frozenset({".mp4", ".avi", ".mkv", ".mov", ".webm", ".mpg", ".mpeg", ".m4v"})
TEST_SPLITS = ("test", "privatetest", "publictest", "val", "valid", "validation")
TRAIN_SPLITS = ("train", "training")

SYNONYMS = {
    "anger": "angry", "disgusted": "disgust", "fearful": "fear", "happiness": "happy", "sadness": "sad",
    "surprised": "surprise", "neutrality": "neutral",
}  # fmt: skip
"""Other names of classes in common data sets."""


def clip_suffixes(window: WindowSpec) -> frozenset[str]:
    """Return the suffixes of files that a model of clips reads; also pictures if it reads single frames."""
    return CLIPS | IMAGE_SUFFIXES if window.frames == 1 else CLIPS


@dataclass(frozen=True, slots=True)
class LabelledFile:
    """One labelled file.

    Attributes:
        name: Path inside the data set.
        split: Name of the split; "" if the data set has none.
        label: Name of the class.
    """

    name: str
    split: str
    label: str

    @property
    def file(self) -> str:
        """The base name, which other tables such as FER+ refer to."""
        return PurePosixPath(self.name).name


class Dataset:
    """A folder or zip archive of labelled files, listed when it is created.

    Args:
        path: The folder or archive.
        suffixes: Suffixes of the files to list, in lower case.

    Attributes:
        samples: The files in order of their names.

    Raises:
        SourceError: The path cannot be read or holds no such files.
    """

    def __init__(self, path: Path, suffixes: Iterable[str] = IMAGE_SUFFIXES) -> None:
        self.path = path
        self._zip = _open_zip(path)
        suffix_set = frozenset(suffixes)
        names = self._zip.namelist() if self._zip else _walk(path)
        found = (_sample(name) for name in sorted(names) if PurePosixPath(name).suffix.lower() in suffix_set)
        self.samples = [sample for sample in found if sample is not None]
        if not self.samples:
            raise SourceError(
                f"{path}: no {'/'.join(sorted(suffix_set))} files in <class>/<file> or <split>/<class>/<file>"
            )

    @property
    def splits(self) -> list[str]:
        """Names of the splits; [""] if the class folders are at the top level."""
        return sorted({sample.split for sample in self.samples})

    def split(self, name: str | None = None) -> list[LabelledFile]:
        """Samples of one split.

        Args:
            name: Name of the split, in any case; None chooses `test_split()`.

        Raises:
            SourceError: There is no such split.
        """
        name = self.test_split() if name is None else name
        chosen = [sample for sample in self.samples if sample.split.lower() == name.lower()]
        if not chosen:
            raise SourceError(
                f"{self.path}: no split {name!r}; choose from {', '.join(map(repr, self.splits))}"
            )
        return chosen

    def test_split(self) -> str:
        """The split to evaluate on: the only one, else test, else validation.

        Raises:
            SourceError: There are several splits and none of them is a test or validation split.
        """
        if len(self.splits) == 1:
            return self.splits[0]
        by_name = {split.lower(): split for split in self.splits}
        for name in TEST_SPLITS:
            if name in by_name:
                return by_name[name]
        raise SourceError(f"{self.path}: choose the split to evaluate with --split: {', '.join(self.splits)}")

    def read(self, sample: LabelledFile) -> bytes:
        """Read a file.

        Raises:
            SourceError: The file is damaged, encrypted or cannot be read.
        """
        try:
            if self._zip:
                return self._zip.read(sample.name)
            return (self.path / sample.name).read_bytes()
        except (OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
            raise SourceError(f"{self.path}: {sample.name}: cannot be read: {error}") from error

    @contextmanager
    def local_file(self, sample: LabelledFile, scratch: Path) -> Iterator[Path]:
        """Provide a path to a file, extracted from a zip archive to `scratch` and removed at the end."""
        if self._zip is None:
            yield self.path / sample.name
            return
        copy = scratch / f"clip{PurePosixPath(sample.name).suffix}"
        copy.write_bytes(self.read(sample))
        try:
            yield copy
        finally:
            copy.unlink()


def canonical(label: str) -> str:
    """The form of a class name that is compared: lower case, synonyms replaced."""
    lower = label.lower()
    return SYNONYMS.get(lower, lower)


def match_labels(
    samples: Sequence[LabelledFile], labels: Sequence[str]
) -> tuple[list[tuple[LabelledFile, int]], Counter[str]]:
    """Pair samples with class indices of the model.

    Returns:
        The pairs, and the number of samples by class that the model does not have.
    """
    index = {canonical(label): i for i, label in enumerate(labels)}
    pairs, left_out = [], Counter[str]()
    for sample in samples:
        i = index.get(canonical(sample.label))
        if i is None:
            left_out[sample.label] += 1
        else:
            pairs.append((sample, i))
    return pairs, left_out


def _open_zip(path: Path) -> zipfile.ZipFile | None:
    if path.is_dir():
        return None
    if not path.exists():
        raise SourceError(f"{path}: no such file or folder")
    try:
        return zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError) as error:
        raise SourceError(f"{path}: neither a folder nor a readable zip archive: {error}") from error


def files_ending(path: Path, suffixes: Set[str]) -> list[Path]:
    """Files below a folder with one of these suffixes, which are in lower case, in order of their paths."""
    return [file for file in sorted(files_below(path)) if file.suffix.lower() in suffixes]


def files_below(path: Path) -> list[Path]:
    """All files below a folder. Symbolic links are followed, except to a folder above."""
    paths: list[Path] = []
    for name, folders, files in os.walk(path, followlinks=True):
        above = {parent.resolve() for parent in Path(name).parents} | {Path(name).resolve()}
        folders[:] = [entry for entry in folders if Path(name, entry).resolve() not in above]
        paths += [file for entry in files if (file := Path(name, entry)).is_file()]
    return paths


def _walk(path: Path) -> list[str]:
    return [file.relative_to(path).as_posix() for file in files_below(path)]


def _sample(name: str) -> LabelledFile | None:
    parts = PurePosixPath(name).parts
    if len(parts) < 2 or any(part.startswith((".", "__MACOSX")) for part in parts):
        return None
    return LabelledFile(name, parts[-3] if len(parts) > 2 else "", parts[-2])
