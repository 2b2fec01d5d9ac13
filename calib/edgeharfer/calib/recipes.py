"""What can be varied when a graph is quantized, and the order in which it is tried."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

Target = Literal["cpu", "tensorrt"]


@dataclass(frozen=True)
class Calibrator:
    """How the range of a tensor follows from its values.

    minmax: all of them. percentile: without the outermost. entropy: the range at which the distribution
    of the quantized values is closest to the original (Migacz 2017, "8-bit inference with TensorRT").
    """

    method: Literal["minmax", "percentile", "entropy"]
    percentile: float | None = None

    def __str__(self) -> str:
        return self.method if self.percentile is None else f"percentile {self.percentile:g}"


@dataclass(frozen=True)
class Recipe:
    """One way to quantize: where to, how ranges are found, which layers (role, node) stay as they are.

    cpu: unsigned asymmetric activations, signed weights per channel (the fast one with VNNI);
    tensorrt: both signed and symmetric, as TensorRT asks for.
    """

    calibrator: Calibrator
    target: Target = "cpu"
    excluded: tuple[tuple[str, str], ...] = ()

    def without(self, layers: Sequence[tuple[str, str]]) -> Recipe:
        """The same with more layers (role, node) left as they are."""
        return replace(self, excluded=tuple(dict.fromkeys((*self.excluded, *layers))))

    def __str__(self) -> str:
        without = f" without {len(self.excluded)} layers" if self.excluded else ""
        return f"{self.calibrator}{without}"


CALIBRATORS = (
    Calibrator("minmax"),
    Calibrator("percentile", 99.99),
    Calibrator("percentile", 99.9),
    Calibrator("entropy"),
)
"""Cheapest first."""

EXCLUSIONS = (1, 2, 4, 8, 16)
"""How many of the most sensitive layers are left in floats, in turn; never more than a third of all."""
