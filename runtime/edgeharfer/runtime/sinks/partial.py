"""A file that appears under its name only when it is whole."""

from __future__ import annotations

import contextlib
from contextlib import ExitStack
from pathlib import Path

from edgeharfer.runtime.errors import SinkError
from edgeharfer.runtime.staging import cannot_write, temporary_file


class PartialFile:
    """Writes beside the target under a temporary name; `publish` renames it, `discard` removes it."""

    temporary: Path

    def __init__(self, target: Path) -> None:
        self.target = target
        self._open = ExitStack()

    def create(self) -> None:
        """Create the temporary file, so that a path that cannot be written fails at once."""
        if self.target.exists() and not self.target.is_file():
            raise SinkError(f"{self.target}: exists and is not a regular file; give another path")
        try:
            self.temporary = self._open.enter_context(temporary_file(self.target))
        except OSError as error:
            raise cannot_write(self.target, error) from error
        _unfinished.add(self)

    def publish(self) -> None:
        try:
            self.temporary.replace(self.target)
        except OSError as error:
            raise cannot_write(self.target, error) from error
        finally:
            self.discard()

    def discard(self) -> None:
        _unfinished.discard(self)
        self._open.close()


_unfinished: set[PartialFile] = set()


def discard_unfinished() -> None:
    """Remove the temporary files of this process, which is about to be ended."""
    for file in tuple(_unfinished):
        with contextlib.suppress(OSError):  # Windows, where a file that is open cannot be removed
            file.discard()


def exited_cleanly(kind: type[BaseException] | None) -> bool:
    """Whether a `with` block was left in good order: at its end, or by a person who stopped it."""
    return kind is None or issubclass(kind, KeyboardInterrupt | GeneratorExit)
