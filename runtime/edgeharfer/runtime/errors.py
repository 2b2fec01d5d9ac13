"""The exceptions of edgeharfer, as one tree.

EdgeharferError            exit code
├── ConfigError            2   an invalid option, configuration key or value
├── ModelError             2   a model package or file that cannot be trusted or run
├── SourceError            2   a file or stream that cannot be read
│   ├── CameraError        3   the requested camera was not found
│   └── DecoderError       3   the requested hardware decoder cannot be used
├── ProviderError          3   an execution provider or display that cannot be loaded
├── SinkError              2   an output that cannot be written
├── TaskError              2   a task that failed or returned an invalid value
└── MissingExtra           2   an extra that is not installed
    └── MissingFormat      2   an image format whose decoder is such an extra; also a SourceError

Every message is one line that says what is wrong, where, and how to fix it.
"""

from __future__ import annotations

import re

from edgeharfer.runtime.installation import install_command, why_not_here


class EdgeharferError(Exception):
    """Base class of all errors that edgeharfer reports to the user.

    Attributes:
        exit_code: Exit code of the command line when this error ends it.

    Args:
        message: The message. Line breaks and runs of spaces become one space.
    """

    exit_code = 2

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))


class ConfigError(EdgeharferError):
    """An option, a configuration key or a value is invalid."""


class ModelError(EdgeharferError):
    """A model package or file is damaged, unsafe or of the wrong kind."""


class SourceError(EdgeharferError):
    """A file, folder or stream cannot be read."""


class CameraError(SourceError):
    """The requested camera was not found."""

    exit_code = 3


class DecoderError(SourceError):
    """The requested hardware decoder is missing, or does not decode the video."""

    exit_code = 3


class ProviderError(EdgeharferError):
    """The requested execution provider or display cannot be loaded."""

    exit_code = 3


class SinkError(EdgeharferError):
    """An output cannot be written."""


class TaskError(EdgeharferError):
    """A task failed, is not a valid task, or returned an invalid value."""


class MissingExtra(EdgeharferError):
    """An optional part of edgeharfer is not installed.

    Attributes:
        extra: Name of the extra to install.

    Args:
        what: What is missing, such as "ONNX Runtime".
        extra: Name of the extra to install.
        note: Text to append after the command that installs the extra.
    """

    def __init__(self, what: str, extra: str, note: str = "") -> None:
        super().__init__(f"{what} is not installed: {why_not_here(extra) or install_command(extra)}{note}")
        self.extra = extra


class MissingFormat(MissingExtra, SourceError):
    """The decoder of an image format is not installed."""


def is_out_of_memory(error: Exception) -> bool:
    """Return whether an error means that memory ran out, as when the libraries of a module do not fit."""
    # The words of glibc's loader; a folder that is mounted "noexec" adds the reason.
    unmapped = isinstance(error, ImportError) and "failed to map segment" in str(error)
    return isinstance(error, MemoryError) or (unmapped and "not permitted" not in str(error))


_BEFORE_THE_CAUSE = re.compile(
    r"\x1b\[\d*m"  # Keras prints the cause in bold
    r"|\{\{function_node [^}]*\}\} "
    r"|.*Exception encountered:"  # repeated for each of the layers around
    r"|^Exception encountered when calling [^\n]*\n"
    r"|^Graph execution error:.*\n  File [^\n]*\n",  # with where the graph was made
    re.DOTALL,
)


def first_line(error: Exception) -> str:
    """Return the cause of another library's error in one line of at most 300 characters.

    Keras and TensorFlow put other lines before it.
    """
    lines = _BEFORE_THE_CAUSE.sub("", str(error)).strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:300]
