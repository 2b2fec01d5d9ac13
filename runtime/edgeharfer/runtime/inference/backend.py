"""What a session runs on: one value that travels from the command line's options to the session."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

AUTO = "auto"


@dataclass(frozen=True)
class Backend:
    """Where and how a graph runs.

    Attributes:
        provider: A name of `inference.providers.PROVIDERS`, or "auto" for the best that loads.
        precision: Of the weights, one of `inference.manifest.PRECISIONS`, or "auto" for the one that was
            measured to be the fastest.
        threads: ONNX Runtime intra-op threads; None for as many as were tuned for this device, or one.
        device: Device of the provider, such as "GPU" in "openvino:GPU"; None for its default.
        fallback: Use the next best provider where this one does not load.
        background_build: Where TensorRT has no engine for a graph yet, run on the next best provider while a
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
        """A backend from a provider as options spell it: "cuda", or "openvino:GPU" with a device."""
        name, _, device = provider.partition(":")
        return cls(name, device=device or None, **options)

    @property
    def name(self) -> str:
        """Provider and device as options spell them."""
        return self.provider if self.device is None else f"{self.provider}:{self.device}"


CPU = Backend("cpu", threads=1)
"""One thread of the CPU, which every machine has."""
