"""Image files: a single one, a folder or glob of photographs, or a numbered sequence."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from edgeharfer.runtime.clock import Clock
from edgeharfer.runtime.errors import SourceError
from edgeharfer.runtime.source.base import BaseSource, size_of
from edgeharfer.runtime.source.decode import decode_image
from edgeharfer.runtime.source.opencv import describe
from edgeharfer.runtime.types import Frame, Image

IMAGE_SUFFIXES = frozenset(
    {".bmp", ".dib", ".jpg", ".jpeg", ".jpe", ".jfif", ".jp2", ".png", ".webp", ".avif"}
    | {".pbm", ".pgm", ".ppm", ".pnm", ".tif", ".tiff"}
)
DEFAULT_SEQUENCE_FPS = 25.0
_MAX_FILE_BYTES = 512 * 2**20
_PRINTF_NUMBER = re.compile(r"%(0?)(\d*)d")


class ImagesSource(BaseSource):
    """Image files in order; `frame.file` and `paths[frame.seq]` are the file of a frame.

    Photographs (`sequence_fps` None) are unrelated in time: each is `still`, one second of source time after
    the last. A sequence runs at `sequence_fps`. Files that cannot be decoded are skipped and listed in
    `skipped` as (path, reason).
    """

    def __init__(
        self,
        name: str,
        paths: Sequence[Path],
        clock: Clock,
        *,
        sequence_fps: float | None = None,
        missing: Sequence[int] = (),
    ) -> None:
        """Decode the first image.

        Args:
            name: Name for messages.
            paths: The image files in order.
            clock: Clock for the timestamps.
            sequence_fps: Frame rate of a sequence in Hz, None for photographs.
            missing: Numbers without a file within a sequence.

        Raises:
            SourceError: None of the files can be decoded.
        """
        super().__init__(name, clock)
        self.paths, self.missing = tuple(paths), tuple(missing)
        self.fps = sequence_fps
        self.frame_count = len(self.paths)
        self._next_index = 0
        self._first: tuple[int, Image] | None = self._decode_next()
        if self._first is None:
            raise SourceError(self._nothing_decodes())
        self.size = size_of(self._first[1])
        what = "image" if len(self.paths) == 1 else f"{len(self.paths)} images"
        self.details = describe(what, self.size, self.fps)

    def _next(self) -> Frame | None:
        decoded, self._first = self._first, None
        decoded = decoded or self._decode_next()
        if decoded is None:
            return None
        index, picture = decoded
        still = self.fps is None
        file = str(self.paths[index])
        return self._frame(index, index / (self.fps or 1.0), picture, still=still, file=file)

    def _decode_next(self) -> tuple[int, Image] | None:
        while self._next_index < len(self.paths):
            index = self._next_index
            self._next_index += 1
            try:
                return index, read_image(self.paths[index])
            except SourceError as error:
                self.skipped.append((self.paths[index], str(error)))
                self.unreadable += 1
        return None

    def _nothing_decodes(self) -> str:
        first_error = self.skipped[0][1] if self.skipped else f"{self.name}: no images"
        if len(self.paths) == 1:
            return first_error
        return f"{self.name}: none of the {len(self.paths)} images can be decoded; first error: {first_error}"


def read_image(path: Path) -> Image:
    """Read an image file as a uint8 BGR array of shape (height, width, 3).

    Raises:
        SourceError: The file cannot be read or decoded.
    """
    try:
        if path.stat().st_size > _MAX_FILE_BYTES:
            raise SourceError(f"{path}: the image file is larger than {_MAX_FILE_BYTES >> 20} MB")
        data = path.read_bytes()
    except OSError as error:
        raise SourceError(f"{path}: {error.strerror or error}") from error
    return decode_image(data, str(path))


def folder_images(folder: Path) -> list[Path]:
    """Return the image files of a folder, without hidden files and subfolders.

    Raises:
        SourceError: There are none.
    """
    paths = [
        path
        for path in folder.iterdir()
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".") and path.is_file()
    ]
    if not paths:
        raise SourceError(f"{folder}: the folder contains no images ({', '.join(sorted(IMAGE_SUFFIXES))})")
    return natural_sort(paths)


def is_glob(text: str) -> bool:
    """Return whether a text contains glob characters."""
    return any(character in text for character in "*?[")


def glob_files(pattern: str) -> list[Path]:
    """Return the files that match a glob pattern, in natural order.

    Raises:
        SourceError: The pattern is invalid or no file matches.
    """
    parts = Path(pattern).parts
    fixed = next(index for index, part in enumerate(parts) if is_glob(part))
    try:
        paths = [path for path in Path(*parts[:fixed]).glob(str(Path(*parts[fixed:]))) if path.is_file()]
    except (ValueError, NotImplementedError) as error:
        raise SourceError(f"{pattern}: invalid glob pattern: {error}") from error
    if not paths:
        raise SourceError(f"{pattern}: no file matches: check the folder, and quote the pattern")
    return natural_sort(paths)


def is_sequence(text: str) -> bool:
    """Return whether a text is the pattern of a numbered sequence, such as "img_%04d.png"."""
    return _PRINTF_NUMBER.search(Path(text).name) is not None


def sequence_files(pattern: str) -> list[Path]:
    """Return the files of a numbered sequence in order, without gaps.

    Raises:
        SourceError: There are none.
    """
    found = sequence_numbers(pattern)
    return [found[number] for number in sorted(found)]


def missing_numbers(found: Iterable[int]) -> list[int]:
    """Return the missing numbers between the first and the last.

    The result is empty if most are missing: every tenth frame of a video is not a sequence with gaps.
    """
    numbers = set(found)
    first, last = min(numbers), max(numbers)
    if last - first + 1 > 2 * len(numbers):
        return []
    return [number for number in range(first, last) if number not in numbers]


def sequence_numbers(pattern: str) -> dict[int, Path]:
    """Return the files of a numbered sequence by number.

    Raises:
        SourceError: There are none.
    """
    folder, name = Path(pattern).parent, Path(pattern).name
    before, zero, digits, after = _split_number(name)
    width = int(digits or 1)
    number = rf"(\d{{{width},}})" if zero else r"\s*(\d+)"
    expression = re.compile(re.escape(before) + number + re.escape(after))
    found = {
        int(match[1]): path
        for path in (folder.iterdir() if folder.is_dir() else ())
        if (match := expression.fullmatch(path.name)) and path.is_file()
    }
    if not found:
        raise SourceError(
            f"{pattern}: no file of this sequence exists: check the folder and the number of digits"
        )
    return found


def natural_sort(paths: Iterable[Path]) -> list[Path]:
    """Sort paths in natural order: img2 before img10."""

    def key(path: Path) -> list[tuple[int, str]]:
        pieces = re.split(r"(\d+)", str(path))
        return [(int(piece), "") if piece.isdecimal() else (-1, piece.lower()) for piece in pieces]

    return sorted(paths, key=key)


def _split_number(name: str) -> tuple[str, str, str, str]:
    match = _PRINTF_NUMBER.search(name)
    if match is None:
        raise SourceError(f"{name}: a sequence needs a number such as %04d in its name")
    return name[: match.start()], match[1], match[2], name[match.end() :]
