"""What can go wrong, as one tree.

EdgeharferError            exit code
├── ConfigError            2   an option, a key or a value that cannot be used
├── ModelError             2   a package or model file that cannot be trusted or run
├── SourceError            2   a file or stream that cannot be read
│   └── CameraError        3   a camera that was asked for is not there
├── ProviderError          3   an execution provider or display that cannot be loaded
├── SinkError              2   an output that cannot be written
├── TaskError              2   a task that failed or returned what it must not
└── MissingExtra           2   a part of the product that is not installed

A message says what, where, and what to do, in one line.
"""

from __future__ import annotations

from edgeharfer.runtime.installation import install_command


class EdgeharferError(Exception):
    """Base of every error that is told to a person in one line."""

    exit_code = 2

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))


class ConfigError(EdgeharferError):
    """An option, a configuration key or a value that cannot be used."""


class ModelError(EdgeharferError):
    """A model package or file that is damaged, unsafe or of the wrong kind."""


class SourceError(EdgeharferError):
    """A file, folder or stream that cannot be read."""


class CameraError(SourceError):
    """A camera that was asked for is not there."""

    exit_code = 3


class ProviderError(EdgeharferError):
    """An execution provider or a display that was asked for cannot be loaded."""

    exit_code = 3


class SinkError(EdgeharferError):
    """An output that cannot be written."""


class TaskError(EdgeharferError):
    """A task that failed, or returned what it must not."""


class MissingExtra(EdgeharferError):
    """A part of the product whose packages are not installed.

    what: is missing. extra: brings it. note: goes after the command that installs the extra.
    """

    def __init__(self, what: str, extra: str, note: str = "") -> None:
        super().__init__(f"{what} is not installed: {install_command(extra)}{note}")
        self.extra = extra
