"""Annotated photographs (`--save FILE.jpg`, `--save FILE.png` or `--save DIR`)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import cv2

from edgeharfer.runtime.errors import ConfigError, SinkError
from edgeharfer.runtime.overlay import annotate
from edgeharfer.runtime.result import Result
from edgeharfer.runtime.sinks.base import Sink
from edgeharfer.runtime.sinks.partial import PartialFile
from edgeharfer.runtime.staging import cannot_write
from edgeharfer.runtime.stats import Status
from edgeharfer.runtime.types import Frame

if TYPE_CHECKING:
    from typing_extensions import Self

PHOTO_SUFFIXES = (".jpg", ".jpeg", ".png")


class PhotoSink(Sink):
    """Writes each photograph with its overlay, at its own size, to `targets[frame.seq]`.

    Files appear under their names only when they are complete. If some cannot be written, the others still
    are, and leaving raises SinkError.
    """

    def __init__(
        self, targets: Sequence[Path], sources: Sequence[Path] = (), folder: Path | None = None
    ) -> None:
        """Set the targets.

        Args:
            targets: One path for each photograph.
            sources: The files of the photographs.
            folder: Folder to create when the sink is entered, if it does not exist.

        Raises:
            ConfigError: A target is one of the photographs.
        """
        self._targets, self._folder = targets, folder
        self._failed: list[SinkError] = []
        self._written: list[Path] = []
        originals = {path.resolve() for path in sources}
        if overwritten := next((path for path in targets if path.resolve() in originals), None):
            raise ConfigError(
                f"{overwritten}: would overwrite the photograph itself; use another path for --save"
            )

    @property
    def saved(self) -> str:
        if not self._written:
            return ""
        if self._folder is None:
            return str(self._written[0])
        return f"{self._folder}: {len(self._written)} photograph{'s' if len(self._written) > 1 else ''}"

    def __enter__(self) -> Self:
        try:
            if self._folder is not None:
                self._folder.mkdir(exist_ok=True)
        except OSError as error:
            raise cannot_write(self._targets[0].parent, error) from error
        probe = PartialFile(self._targets[0])
        probe.create()
        probe.discard()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None and self._failed:
            count = len(self._failed)
            others = f"; {count} photographs in total were not saved" if count > 1 else ""
            raise SinkError(f"{self._failed[0]}{others}")

    def write(self, frame: Frame, result: Result, status: Status) -> None:
        try:
            self._save(self._targets[frame.seq], annotate(frame, result, status))
        except SinkError as error:
            self._failed.append(error)
            raise

    def _save(self, target: Path, image: cv2.typing.MatLike) -> None:
        file = PartialFile(target)
        file.create()
        try:
            file.temporary.write_bytes(_encode(image, target))
        except OSError as error:
            file.discard()
            raise cannot_write(target, error) from error
        except SinkError:
            file.discard()
            raise
        file.publish()
        self._written.append(target)


def output_paths(folder: Path, photos: Sequence[Path]) -> list[Path]:
    """Return a unique path in `folder` for each photograph; formats other than JPEG and PNG become JPEG."""
    taken: set[str] = set()
    targets = []
    for photo in photos:
        suffix = photo.suffix if photo.suffix.lower() in PHOTO_SUFFIXES else ".jpg"
        name, number = f"{photo.stem}{suffix}", 1
        while name.casefold() in taken:
            number += 1
            name = f"{photo.stem}-{number}{suffix}"
        taken.add(name.casefold())
        targets.append(folder / name)
    return targets


def _encode(image: cv2.typing.MatLike, target: Path) -> bytes:
    try:
        done, data = cv2.imencode(target.suffix.lower(), image)
    except cv2.error as error:
        raise SinkError(f"{target}: cannot be encoded ({error.err}); try .png") from error
    if not done:
        raise SinkError(f"{target}: cannot be encoded; try .png")
    return data.tobytes()
