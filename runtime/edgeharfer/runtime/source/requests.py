"""Requests to a reader process to open a live source."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import import_module
from typing import Any

from edgeharfer.runtime.clock import Clock
from edgeharfer.runtime.source.base import Source


@dataclass(frozen=True)
class OpenRequest:
    """A request to open a live source.

    It is sent over a socket rather than on a command line, because a URL may contain a password.

    Attributes:
        module: Module of this package.
        name: Class in the module, called with a clock and the arguments.
        arguments: Keyword arguments; JSON values.
    """

    module: str
    name: str
    arguments: Mapping[str, Any]

    def open(self, clock: Clock) -> Source:
        """Open the source in this process; exceptions of the class are passed on."""
        source: Source = vars(import_module(f"{__package__}.{self.module}"))[self.name](
            clock=clock, **self.arguments
        )
        return source


def to_line(request: OpenRequest) -> bytes:
    """Encode a request as one line of JSON."""
    return json.dumps(asdict(request)).encode("ascii") + b"\n"


def from_line(line: bytes) -> OpenRequest:
    """Decode a request from a line of JSON."""
    return OpenRequest(**json.loads(line))
