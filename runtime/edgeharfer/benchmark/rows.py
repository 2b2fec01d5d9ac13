"""The candidates of a benchmark and the rows of its result."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from edgeharfer.benchmark.measure import Run, Timing
from edgeharfer.runtime.errors import first_line
from edgeharfer.runtime.inference.backend import Backend

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
        streams: Number of concurrent sessions.
        setup: The backend that our own engine was asked for.
        auto: Whether "auto" runs the graph like this, by the measurements of `edgeharfer tune`.
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
    streams: int = 1
    setup: Backend | None = None
    auto: bool = False


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
            for candidate in candidates:
                candidate.run()
                self.candidates.append(candidate)
        except Exception as error:  # other engines raise various types for unsupported operators
            self.left_out.append(f"{what}: {first_line(error)}")


def as_rows(candidates: Sequence[Candidate], timings: Sequence[Timing]) -> list[dict[str, Any]]:
    """The rows of `benchmark --json`. A ratio is the peer's median divided by that of the row."""
    pairs = list(zip(candidates, timings, strict=True))
    return [_row(candidate, timing, pairs) for candidate, timing in pairs]


def _row(candidate: Candidate, timing: Timing, pairs: Sequence[tuple[Candidate, Timing]]) -> dict[str, Any]:
    per_second = timing.per_second
    row: dict[str, Any] = {
        "name": candidate.name,
        "backend": candidate.backend,
        "precision": candidate.precision,
        "provider": candidate.provider,
        "threads": candidate.threads,
        "batch": candidate.batch,
        "streams": candidate.streams,
        "median_ms": round(timing.median_ms, 4),
        **{f"p{share}_ms": round(timing.percentile_ms(share), 4) for share in (5, 95, 99)},
        "cpu_ms": round(timing.cpu_ms, 4),
        "per_second": None if per_second is None else round(candidate.batch * per_second, 1),
        "size_mb": round(candidate.size_mb, 3),
        "load_ms": round(candidate.load_ms, 1),
        "ratios": _ratios(candidate, timing, pairs) if candidate.backend == OURS else {},
    }
    if candidate.auto:
        row["auto"] = True
    if candidate.asked is not None:
        row["asked_provider"] = candidate.asked
    if candidate.accuracy is not None:
        row["top1"] = candidate.accuracy
    return row


def _ratios(
    candidate: Candidate, timing: Timing, pairs: Sequence[tuple[Candidate, Timing]]
) -> dict[str, float]:
    """Ratio to each peer in the same precision, or in FP32 if the peer does not have it."""
    ratios = {}
    for backend, key in RATIO_OF.items():
        peers = {
            other.precision: peer
            for other, peer in pairs
            if other.backend == backend and _configuration(other) == _configuration(candidate)
        }
        peer = peers.get(candidate.precision, peers.get("fp32"))
        if peer is not None and timing.median_ms > 0:
            ratios[key] = round(peer.median_ms / timing.median_ms, 3)
    return ratios


def _configuration(candidate: Candidate) -> tuple[str, int, int, int]:
    return candidate.name, candidate.threads, candidate.batch, candidate.streams
