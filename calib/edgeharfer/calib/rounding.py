"""Rounding of weights that keeps the outputs of a layer rather than the weights.

Each weight is rounded in turn, and those that follow it in its row are corrected for the error, as far as
their inputs are correlated with its own in the calibration set: GPTQ (Frantar et al. 2023, "GPTQ: Accurate
post-training quantization for generative pre-trained transformers").
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeharfer.calib.nodes import attribute
from edgeharfer.calib.weights import LIMIT, PAIR_LIMIT, WeightMatrix
from edgeharfer.runtime.types import Floats

MAX_INPUTS = 4608
"""Largest number of inputs of a layer; with more, which only dense layers on large maps have, the moments do
not fit the memory, and weights are rounded to the nearest."""
MAX_POSITIONS = 36
"""Number of positions of a convolution that are used of each picture, on a grid."""
BLOCK = 128
"""Number of weights that are rounded before all that follow are corrected."""
DAMPING = 0.01
"""Added to the second moments, of their mean (GPTQ, section 3.3)."""

Moments = NDArray[np.float64]


class InputMoments:
    """Second moments of the inputs of layers that have weights of their own.

    Args:
        matrices: The layers.
    """

    def __init__(self, matrices: Sequence[WeightMatrix]) -> None:
        readers = Counter(one.tensor for one in matrices)
        self._matrices = [
            one for one in matrices if readers[one.tensor] == 1 and one.rows.shape[-1] <= MAX_INPUTS
        ]
        self._sums: dict[str, Moments] = {}
        self._counts: dict[str, int] = {}
        self._corrections: dict[str, Moments] = {}

    @property
    def tensors(self) -> list[str]:
        """Names of the tensors to `add`."""
        return sorted({one.node.input[0] for one in self._matrices})

    def add(self, values: Mapping[str, Floats]) -> None:
        """Add the values of `tensors` for one batch."""
        for one in self._matrices:
            rows = _input_rows(one, values[one.node.input[0]]).astype(np.float64)
            self._sums[one.tensor] = self._sums.get(one.tensor, 0) + rows.transpose(0, 2, 1) @ rows
            self._counts[one.tensor] = self._counts.get(one.tensor, 0) + rows.shape[1]

    def corrections(self, matrix: WeightMatrix) -> Moments | None:
        """Return the upper Cholesky factors of the inverse of the moments, (groups, inputs, inputs).

        They are None if the moments are not known, and replace the sums in memory.
        """
        if (sums := self._sums.pop(matrix.tensor, None)) is not None and np.isfinite(sums).all():
            moments = second_moments(sums, self._counts[matrix.tensor])
            self._corrections[matrix.tensor] = np.linalg.cholesky(np.linalg.inv(moments)).transpose(0, 2, 1)
        return self._corrections.get(matrix.tensor)


def second_moments(sums: Moments, count: int) -> Moments:
    """Return regular second moments of some inputs.

    The fewer samples there are for the number of inputs, the more correlations are reduced: those that only
    a few samples show are not those of other data.

    Args:
        sums: Sums of the products of each two inputs, (groups, inputs, inputs).
        count: Number of samples.
    """
    inputs = sums.shape[-1]
    kept, own = count / (count + inputs), np.eye(inputs)
    moments = (kept + (1 - kept) * own) * sums / count
    mean = np.einsum("gii->g", moments) / inputs
    return np.asarray(moments + own * np.maximum(DAMPING * mean, np.finfo(np.float32).tiny)[:, None, None])


def round_weights(
    rows: Floats, scales: Floats, corrections: Moments | None, *, in_pairs: bool
) -> NDArray[np.int8]:
    """Round weights to integers.

    Args:
        rows: Weights of each output channel, (groups, channels, inputs).
        scales: Scale of each channel, (groups, channels).
        corrections: See `InputMoments.corrections`; without, to the nearest integer.
        in_pairs: Keep the sum of two neighbouring integers within PAIR_LIMIT.
    """
    left = rows / scales[..., None].astype(np.float64)
    if corrections is None:
        return np.clip(np.round(left), -LIMIT, LIMIT).astype(np.int8)
    inputs = left.shape[-1]
    result = np.zeros(left.shape)
    for start, end in pairwise([*range(0, inputs, BLOCK), inputs]):
        errors = np.zeros((*left.shape[:2], end - start))
        for at in range(start, end):
            before = result[..., at - 1] if in_pairs and at % 2 else np.zeros(1)
            low, high = np.maximum(-LIMIT, -PAIR_LIMIT - before), np.minimum(LIMIT, PAIR_LIMIT - before)
            result[..., at] = np.clip(np.round(left[..., at]), low, high)
            error = (left[..., at] - result[..., at]) / corrections[:, None, at, at]
            errors[..., at - start] = error
            left[..., at + 1 : end] -= error[..., None] * corrections[:, None, at, at + 1 : end]
        left[..., end:] -= errors @ corrections[:, start:end, end:]
    return result.astype(np.int8)


def _input_rows(matrix: WeightMatrix, values: Floats) -> Floats:
    """Return what each row of weights is multiplied with, (groups, samples, inputs)."""
    groups, _, inputs = matrix.rows.shape
    if matrix.node.op_type != "Conv":
        values = values.T if attribute(matrix.node, "transA", 0) else values
        positions = values.reshape(len(values), -1, inputs)
        return positions[:, :: _step(positions.shape[1:2])].reshape(1, -1, inputs)
    windows = _windows(matrix, values)
    batch, channels = windows.shape[:2]
    split = windows.reshape(batch, groups, channels // groups, -1, inputs // (channels // groups))
    return np.asarray(split.transpose(1, 0, 3, 4, 2).reshape(groups, -1, inputs))


def _windows(matrix: WeightMatrix, values: Floats) -> Floats:
    """Return what a convolution reads at some positions, (batch, channels, *positions, *kernel)."""
    kernel, sides = matrix.shape[2:], values.shape[2:]
    ones = [1] * len(kernel)
    strides, dilations = (attribute(matrix.node, name, ones) for name in ("strides", "dilations"))
    spans = [(size - 1) * dilation + 1 for size, dilation in zip(kernel, dilations, strict=True)]
    padded = np.pad(values, [(0, 0), (0, 0), *_pads(matrix.node, sides, spans, strides)])
    axes = tuple(range(2, values.ndim))
    windows = np.lib.stride_tricks.sliding_window_view(padded, spans, axes)
    every = (slice(None),) * 2
    whole = (slice(None),) * len(kernel)
    strided = windows[every + tuple(slice(None, None, one) for one in strides) + whole]
    grid = (slice(None, None, _step(strided.shape[2 : 2 + len(kernel)])),) * len(kernel)
    return strided[every + grid + tuple(slice(None, None, one) for one in dilations)]


def _pads(
    node: Any, sides: Iterable[int], spans: Iterable[int], strides: Iterable[int]
) -> list[tuple[int, int]]:
    """Return the padding of a convolution before and after each spatial axis."""
    mode = attribute(node, "auto_pad", b"NOTSET")
    result = []
    for axis, (side, span, stride) in enumerate(zip(sides, spans, strides, strict=True)):
        if mode in (b"SAME_UPPER", b"SAME_LOWER"):
            total = max((-(-side // stride) - 1) * stride + span - side, 0)
            before = total // 2 if mode == b"SAME_UPPER" else total - total // 2
            result.append((before, total - before))
        else:
            pads = attribute(node, "pads", ())
            result.append((pads[axis], pads[axis + len(pads) // 2]) if pads else (0, 0))
    return result


def _step(sides: Sequence[int]) -> int:
    """Return the step of the grid with the most positions up to MAX_POSITIONS."""
    step = 1
    while np.prod([-(-side // step) for side in sides]) > MAX_POSITIONS:
        step += 1
    return step
