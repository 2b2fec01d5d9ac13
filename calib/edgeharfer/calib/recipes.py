"""Quantization recipes, and the order in which they are tried.

A new INT8 recipe is an entry of CALIBRATORS.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from edgeharfer.calib.weights import Weights

Target = Literal["cpu", "tensorrt"]
TARGETS: tuple[Target, ...] = ("cpu", "tensorrt")


@dataclass(frozen=True)
class Calibrator:
    """Method that derives the range of a tensor from its values.

    Attributes:
        name: In reports and receipts.
        method: Of ONNX Runtime's `CalibrationMethod`. MinMax takes all values, Percentile leaves out the
            outermost, Entropy takes the range at which the distribution of the quantized values is closest
            to the original (Migacz 2017, "8-bit inference with TensorRT").
        options: Its extra options, by name.
    """

    name: str
    method: str
    options: tuple[tuple[str, float], ...] = ()

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Recipe:
    """One way to quantize the graphs of a package.

    Attributes:
        calibrator: How ranges are found.
        target: "cpu" for unsigned asymmetric activations and signed weights per channel, which is fastest
            with VNNI; "tensorrt" for signed symmetric ones, which TensorRT requires.
        weights: For "cpu": "exact" for scales with which products are exact on every processor, see
            `calib.weights`; "full" for all eight bits, whose products saturate on x86 without VNNI.
        first: First layers (role, node) that stay in floats because that is faster.
        excluded: Layers that stay in floats because that is more accurate.
    """

    calibrator: Calibrator
    target: Target = "cpu"
    weights: Weights = "exact"
    first: tuple[tuple[str, str], ...] = ()
    excluded: tuple[tuple[str, str], ...] = ()

    @property
    def in_floats(self) -> tuple[tuple[str, str], ...]:
        """All layers that stay in floats."""
        return tuple(dict.fromkeys((*self.first, *self.excluded)))

    def without(self, layers: Sequence[tuple[str, str]]) -> Recipe:
        """Return the recipe with more layers (role, node) excluded."""
        return replace(self, excluded=tuple(dict.fromkeys((*self.excluded, *layers))))

    def __str__(self) -> str:
        without = f" without {len(self.excluded)} layers" if self.excluded else ""
        return f"{self.calibrator}{without}"


CALIBRATORS = (
    Calibrator("minmax", "MinMax"),
    Calibrator("percentile 99.99", "Percentile", (("percentile", 99.99),)),
    Calibrator("percentile 99.9", "Percentile", (("percentile", 99.9),)),
    # With the default of 128 bins for 128 levels the search has nothing to choose. Its time grows with the
    # square of the number of bins.
    Calibrator("entropy", "Entropy", (("num_bins", 512), ("num_quantized_bins", 128))),
)
"""In the order in which they are tried, the cheapest first."""

EXCLUSIONS = (1, 2, 4, 8, 16)
"""Numbers of the most sensitive layers to leave in floats, tried in turn; at most a third of all layers."""
