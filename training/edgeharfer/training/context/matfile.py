"""Read MATLAB files up to version 7.2 into plain Python values."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from edgeharfer.runtime.errors import SourceError

_COMPRESSED = 15
"""miCOMPRESSED of the MAT-file format: the element is a zlib stream of another one."""

_READ_ERRORS = (
    *(ArithmeticError, AttributeError, EOFError, LookupError, MemoryError, OSError, RuntimeError),
    *(TypeError, ValueError, struct.error, zlib.error),
)
"""Exceptions that SciPy raises for truncated files and files of other formats."""


def load_mat(path: Path, *names: str) -> dict[str, Any]:
    """Read variables of a file: structs as dicts, arrays of structs and cells as lists, text as str.

    Args:
        path: MATLAB file.
        *names: Variables to read; missing ones are omitted.

    Raises:
        SourceError: The file is missing, damaged, or of version 7.3.
    """
    from scipy.io import loadmat  # Imported here, since CSV files do not need SciPy.
    from scipy.io.matlab import MatReadError

    try:
        _verify_checksums(path.read_bytes())
        found = loadmat(path, simplify_cells=True, variable_names=names)
    except NotImplementedError as error:
        raise SourceError(f"{path}: MATLAB 7.3 is not supported: save it in MATLAB with -v7") from error
    except (MatReadError, *_READ_ERRORS) as error:
        raise SourceError(f"{path}: not a readable MATLAB file: {error}") from error
    return {name: value for name, value in found.items() if name in names}


def _verify_checksums(data: bytes) -> None:
    """Check the checksums of compressed variables, because SciPy can crash the process on damaged ones.

    MATLAB compresses variables by default.

    Raises:
        zlib.error: A variable is damaged.
        ValueError: The file has no header of MATLAB 5 or later.
    """
    order = {b"IM": "<", b"MI": ">"}.get(data[126:128])
    if order is None:
        raise ValueError("no header of MATLAB 5 or later")
    offset = 128
    while offset < len(data):
        kind, size = struct.unpack_from(order + "II", data, offset)
        if kind == _COMPRESSED:
            zlib.decompress(data[offset + 8 : offset + 8 + size])
        offset += 8 + size


def as_list(value: object) -> list[Any]:
    """Return the elements of an array of structs or cells.

    MATLAB stores an array of one element like the element itself, and an empty one as an empty matrix.
    """
    if isinstance(value, list):
        return value
    if isinstance(value, np.ndarray):
        return list(value.ravel())
    return [value]


def as_text(value: object) -> str:
    """Return a text, "" for MATLAB's empty matrix.

    Raises:
        TypeError: It is something else.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, np.ndarray) and not value.size:
        return ""
    raise TypeError(f"{type(value).__name__} instead of text")


def get_member(value: object, *path: str) -> Any:
    """Return the member at a path of struct fields.

    Raises:
        KeyError: A field is missing.
        TypeError: A value on the path is not a struct.
    """
    for name in path:
        if not isinstance(value, Mapping):
            raise TypeError(f"{type(value).__name__} instead of a struct with {name}")
        value = value[name]
    return value
