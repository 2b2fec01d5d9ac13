"""Where a graph runs: the value that carries the command-line options to the session."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing_extensions import Self

AUTO = "auto"


@dataclass(frozen=True)
class Backend:
    """Provider, precision and threads of a graph.

    Attributes:
        provider: A name of `inference.providers.PROVIDERS`, or "auto" for the best that loads.
        precision: Precision of the weights, one of `inference.manifest.PRECISIONS`, or "auto" for the one
            measured as fastest.
        threads: ONNX Runtime intra-op threads; None for the tuned number of this device, or else one.
        device: Device of the provider, such as "GPU" in "openvino:GPU"; None for its default.
        fallback: Use the next best provider if this one does not load.
        background_build: If TensorRT has no engine for a graph yet, run on the next best provider while a
            child process builds it, then switch to it. Such a session must be closed.
    """

    provider: str = AUTO
    precision: str = AUTO
    threads: int | None = None
    device: str | None = None
    fallback: bool = False
    background_build: bool = False

    @classmethod
    def parse(cls, provider: str, **options: Any) -> Self:
        """Create a backend from a provider as written in options: "cuda", or "openvino:GPU" with a device."""
        name, _, device = provider.partition(":")
        return cls(name, device=device or None, **options)

    @property
    def name(self) -> str:
        """Provider and device as written in options."""
        return self.provider if self.device is None else f"{self.provider}:{self.device}"


CPU = Backend("cpu", threads=1)
"""One CPU thread; available on every machine."""
