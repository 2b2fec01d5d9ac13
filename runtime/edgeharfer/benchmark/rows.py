"""The candidates of a benchmark and the rows of its result."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from edgeharfer.benchmark.measure import Run, Timing

OURS = "onnxruntime"
RATIO_OF = {
    "keras predict": "keras",
    "keras tf.function": "keras_function",
    "openvino": "openvino",
    "litert": "litert",
}
"""Key in `ratios` by backend of a peer."""


@dataclass(frozen=True)
class Candidate:
    """One configuration of one graph.

    Attributes:
        name: Name of the package and, if it has several, of the graph.
        backend: OURS or a key of RATIO_OF.
        precision: Precision, such as "int8".
        provider: Execution provider in use.
        threads: Intra-op threads.
        batch: Batch size.
        size_mb: Size of the weights in 10^6 bytes.
        load_ms: Load time.
        run: Runs one inference.
        asked: The requested provider if it differs from `provider`.
        accuracy: Top-1 accuracy, if it was measured.
    """

    name: str
    backend: str
    precision: str
    provider: str
    threads: int
    batch: int
    size_mb: float
    load_ms: float
    run: Run
    asked: str | None = None
    accuracy: float | None = None


@dataclass
class Comparison:
    """The candidates to measure, and the reasons why others are left out."""

    candidates: list[Candidate] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    def add_peer(self, what: str, candidates: Iterable[Candidate]) -> None:
        """Add the candidates of a peer; on a failure, the remaining ones are left out with the reason.

        Args:
            what: Name of the peer and graph.
            candidates: Candidates, each of which is run once.
        """
        try:
            for one in candidates:
                one.run()
                self.candidates.append(one)
        except Exception as error:  # other engines raise various types for unsupported operators
            reason = str(error).strip().splitlines()
            self.left_out.append(f"{what}: {(reason[0] if reason else type(error).__name__)[:200]}")


def as_rows(candidates: Sequence[Candidate], timings: Sequence[Timing]) -> list[dict[str, Any]]:
    """The rows of `benchmark --json`. A ratio is the peer's median divided by that of the row."""
    pairs = list(zip(candidates, timings, strict=True))
    return [_row(one, timing, pairs) for one, timing in pairs]


def _row(one: Candidate, timing: Timing, pairs: Sequence[tuple[Candidate, Timing]]) -> dict[str, Any]:
    row: dict[str, Any] = {
        "name": one.name,
        "backend": one.backend,
        "precision": one.precision,
        "provider": one.provider,
        "threads": one.threads,
        "batch": one.batch,
        "median_ms": round(timing.median_ms, 4),
        "p95_ms": round(timing.p95_ms, 4),
        "cpu_ms": round(timing.cpu_ms, 4),
        "per_second": round(one.batch * 1e3 / timing.median_ms, 1) if timing.median_ms > 0 else None,
        "size_mb": round(one.size_mb, 3),
        "load_ms": round(one.load_ms, 1),
        "ratios": _ratios(one, timing, pairs) if one.backend == OURS else {},
    }
    if one.asked is not None:
        row["asked_provider"] = one.asked
    if one.accuracy is not None:
        row["top1"] = one.accuracy
    return row


def _ratios(one: Candidate, timing: Timing, pairs: Sequence[tuple[Candidate, Timing]]) -> dict[str, float]:
    """Ratio to each peer in the same precision, or in FP32 if the peer does not have it."""
    ratios = {}
    for backend, key in RATIO_OF.items():
        peers = {
            other.precision: peer
            for other, peer in pairs
            if other.backend == backend and _place(other) == _place(one)
        }
        peer = peers.get(one.precision, peers.get("fp32"))
        if peer is not None and timing.median_ms > 0:
            ratios[key] = round(peer.median_ms / timing.median_ms, 3)
    return ratios


def _place(one: Candidate) -> tuple[str, int, int]:
    return one.name, one.threads, one.batch
