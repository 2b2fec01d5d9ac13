"""The engines that ours are held against, and what each of them needs."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edgeharfer.benchmark.measure import Run
from edgeharfer.benchmark.rows import Candidate
from edgeharfer.runtime.errors import ConfigError, MissingExtra
from edgeharfer.runtime.types import Floats

PEERS = ("keras", "openvino", "litert")
EXTRA_OF = {"keras": "export", "openvino": "compare", "litert": "compare"}
_MODULES = {"keras": ("tensorflow", "keras"), "openvino": ("openvino",), "litert": ("tensorflow",)}


@dataclass(frozen=True)
class PeerGraph:
    """One graph as the peers get it.

    name: as our rows have it. onnx: the package's files by precision; none for a whole clip model, which
    is never exported in one piece. model: the Keras model of the same weights, where there is one.
    sample: one input without the batch axis.
    """

    name: str
    sample: Floats
    onnx: Mapping[str, bytes] = field(default_factory=dict)
    model: Any = None

    def batch(self, count: int) -> Floats:
        """The sample so many times."""
        return np.stack([self.sample] * count)

    def candidate(
        self, backend: str, precision: str, threads: int, batch: int, size_mb: float, load_ms: float, run: Run
    ) -> Candidate:
        """This part in a peer, on the CPU."""
        return Candidate(self.name, backend, precision, "CPU", threads, batch, size_mb, load_ms, run)


def parse_peers(text: str) -> list[str]:
    """ "keras,openvino" as names. Raises ConfigError for one that is not known."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in PEERS:
            raise ConfigError(f"--against: unknown peer {name!r}: choose from {', '.join(PEERS)}")
    return list(dict.fromkeys(names))


def missing_peers(peers: Sequence[str]) -> dict[str, str]:
    """Peers that are not installed, each with the line that mends it."""
    found = {}
    for peer in peers:
        try:
            for module in _MODULES[peer]:
                import_peer(module)
        except ImportError:
            found[peer] = str(MissingExtra(peer, EXTRA_OF[peer]))
    return found


def import_peer(name: str) -> Any:
    """A module of another engine.

    OpenVINO would report each import to a web host. Kept from its telemetry package, it takes the silent
    stand-in that it brings for such a case.
    """
    if name == "openvino":
        sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    if name in ("tensorflow", "keras"):
        from edgeharfer.export import backend

        try:
            return backend.load(name)
        except MissingExtra as error:
            raise ImportError(str(error)) from error
    return importlib.import_module(name)
