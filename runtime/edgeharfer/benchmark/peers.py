"""Other inference engines to compare with, and their requirements."""

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
    """One graph as the peers use it.

    Attributes:
        name: Display name, as in the rows of ONNX Runtime.
        sample: One input without the batch axis.
        onnx: ONNX files by precision; empty for a whole clip model, which is only exported in parts.
        model: Keras model with the same weights, if there is one.
    """

    name: str
    sample: Floats
    onnx: Mapping[str, bytes] = field(default_factory=dict)
    model: Any = None

    def batch(self, count: int) -> Floats:
        """A batch of `count` copies of the sample."""
        return np.stack([self.sample] * count)

    def candidate(
        self, backend: str, precision: str, threads: int, batch: int, size_mb: float, load_ms: float, run: Run
    ) -> Candidate:
        """A candidate of a peer for this graph, on the CPU."""
        return Candidate(self.name, backend, precision, "CPU", threads, batch, size_mb, load_ms, run)


def parse_peers(text: str) -> list[str]:
    """Split a comma-separated list of peers.

    Raises:
        ConfigError: A name is unknown.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in PEERS:
            raise ConfigError(f"--against: unknown peer {name!r}: choose from {', '.join(PEERS)}")
    return list(dict.fromkeys(names))


def check_installed(peers: Sequence[str]) -> None:
    """Check that peers are installed.

    Raises:
        MissingExtra: One is not; the message names the command to install it.
    """
    for peer in peers:
        try:
            for module in _MODULES[peer]:
                import_peer(module)
        except ImportError as error:
            raise MissingExtra(peer, EXTRA_OF[peer]) from error


def import_peer(name: str) -> Any:
    """Import a module of another engine.

    OpenVINO sends telemetry on import. With its telemetry package blocked, it uses its own no-op fallback.

    Raises:
        ImportError: The module is not installed.
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
