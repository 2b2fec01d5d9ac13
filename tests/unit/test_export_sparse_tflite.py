"""Sparse tensors written out in full, on small ones that can be checked by eye."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgeharfer.export.sparse_tflite import _expand


def dense(size: int) -> Any:
    return SimpleNamespace(format=0, denseSize=size, arraySegments=None, arrayIndices=None)


def sparse(segments: list[int], indices: list[int]) -> Any:
    return SimpleNamespace(
        format=1,
        denseSize=0,
        arraySegments=SimpleNamespace(values=segments),
        arrayIndices=SimpleNamespace(values=indices),
    )


def tensor(shape: list[int], order: list[int], levels: list[Any], blocks: list[int] | None = None) -> Any:
    sparsity = SimpleNamespace(traversalOrder=order, blockMap=blocks, dimMetadata=levels)
    return SimpleNamespace(shape=shape, sparsity=sparsity, type=0, name="weights")


def values(*numbers: float) -> bytes:
    return np.array(numbers, np.float32).tobytes()


def assert_equal(found: NDArray[Any], rows: list[list[float]]) -> None:
    np.testing.assert_array_equal(found, np.array(rows, np.float32))


def test_compressed_rows() -> None:
    """[[0, 1, 0], [0, 0, 0], [2, 0, 3]] as rows (dense) of columns (sparse)."""
    one = tensor([3, 3], [0, 1], [dense(3), sparse([0, 1, 1, 3], [1, 0, 2])])
    assert_equal(_expand(one, values(1, 2, 3)), [[0, 1, 0], [0, 0, 0], [2, 0, 3]])


def test_compressed_columns() -> None:
    """The same, walked column by column."""
    one = tensor([3, 3], [1, 0], [dense(3), sparse([0, 1, 2, 3], [2, 0, 2])])
    assert_equal(_expand(one, values(2, 1, 3)), [[0, 1, 0], [0, 0, 0], [2, 0, 3]])


def test_blocks() -> None:
    """A 2 x 4 tensor in blocks of 1 x 2: the second block of row 0 and the first of row 1."""
    levels = [dense(2), sparse([0, 1, 2], [1, 0]), dense(2)]
    one = tensor([2, 4], [0, 1, 2], levels, blocks=[1])
    assert_equal(_expand(one, values(1, 2, 3, 4)), [[0, 0, 1, 2], [3, 4, 0, 0]])


def test_half_precision_stays_half() -> None:
    one = tensor([2], [0], [sparse([0, 1], [1])])
    one.type = 1
    found = _expand(one, np.array([0.5], np.float16).tobytes())
    assert found.dtype == np.float16 and found.tolist() == [0, 0.5]


def test_values_left_over_are_an_error() -> None:
    one = tensor([2], [0], [sparse([0, 1], [1])])
    with pytest.raises(ValueError, match="1 of 2 values"):
        _expand(one, values(1, 2))
