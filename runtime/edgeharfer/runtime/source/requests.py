"""A live source that another process is to open, in a form that can be sent to it."""

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
    """What to open.

    It goes over a socket, never on a command line: a URL among the arguments may hold a password.

    Attributes:
        module: A module of this package.
        name: The class in it, which takes a clock and the arguments.
        arguments: By name; JSON values.
    """

    module: str
    name: str
    arguments: Mapping[str, Any]

    def open(self, clock: Clock) -> Source:
        """Open it in this process. Raises what the class raises."""
        source: Source = vars(import_module(f"{__package__}.{self.module}"))[self.name](
            clock=clock, **self.arguments
        )
        return source


def to_line(order: OpenRequest) -> bytes:
    """The order as one line."""
    return json.dumps(asdict(order)).encode("ascii") + b"\n"


def from_line(line: bytes) -> OpenRequest:
    """The order that a line holds."""
    return OpenRequest(**json.loads(line))
