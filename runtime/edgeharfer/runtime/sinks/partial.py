"""A file that appears under its name only when it is complete."""

from __future__ import annotations

import contextlib
from contextlib import ExitStack
from pathlib import Path

from edgeharfer.runtime.errors import SinkError
from edgeharfer.runtime.staging import cannot_write, temporary_file


class PartialFile:
    """A temporary file in the folder of the target; `publish` renames it, `discard` removes it.

    Attributes:
        target: Final path.
        temporary: Temporary path, once created.
    """

    temporary: Path

    def __init__(self, target: Path) -> None:
        self.target = target
        self._open = ExitStack()

    def create(self) -> None:
        """Create the temporary file.

        Raises:
            SinkError: The target cannot be written.
        """
        if self.target.exists() and not self.target.is_file():
            raise SinkError(f"{self.target}: exists and is not a regular file; use another path")
        try:
            self.temporary = self._open.enter_context(temporary_file(self.target))
        except OSError as error:
            raise cannot_write(self.target, error) from error
        _unfinished.add(self)

    def publish(self) -> None:
        """Rename the file to the target.

        Raises:
            SinkError: The target cannot be written.
        """
        try:
            self.temporary.replace(self.target)
        except OSError as error:
            raise cannot_write(self.target, error) from error
        finally:
            self.discard()

    def discard(self) -> None:
        """Remove the temporary file, if it is still there."""
        _unfinished.discard(self)
        self._open.close()


_unfinished: set[PartialFile] = set()


def discard_unfinished() -> None:
    """Remove the temporary files of this process, before it is ended."""
    for file in tuple(_unfinished):
        with contextlib.suppress(OSError):  # Windows cannot remove an open file
            file.discard()


def exited_cleanly(kind: type[BaseException] | None) -> bool:
    """Return whether a `with` block ended normally or by Ctrl-C."""
    return kind is None or issubclass(kind, KeyboardInterrupt | GeneratorExit)
