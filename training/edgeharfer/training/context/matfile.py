"""MATLAB files of the classic kind (up to version 7.2) as plain Python values."""

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
"""What SciPy raises over files that are cut off or no MATLAB files, depending on where it stumbles."""


def load_mat(path: Path, *names: str) -> dict[str, Any]:
    """Variables of a file by name: structs as dicts, arrays of them and of cells as lists, text as str.

    names: the variables wanted; those that the file lacks are left out.
    Raises SourceError: no such file, damaged, or of version 7.3.
    """
    from scipy.io import loadmat  # Only here, since csv files do without SciPy.
    from scipy.io.matlab import MatReadError

    try:
        _verify_checksums(path.read_bytes())
        found = loadmat(path, simplify_cells=True, variable_names=names)
    except NotImplementedError as error:
        raise SourceError(f"{path}: is a MATLAB 7.3 file: save it in MATLAB with the option -v7") from error
    except (MatReadError, *_READ_ERRORS) as error:
        raise SourceError(f"{path}: not a readable MATLAB file: {error}") from error
    return {name: value for name, value in found.items() if name in names}


def _verify_checksums(data: bytes) -> None:
    """Raises zlib.error or ValueError for damage, over which SciPy may crash the whole process.

    Variables that MATLAB compressed, as it does unless told otherwise, end with a checksum.
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
    """The elements of an array of structs or cells. MATLAB keeps one alike, and none as an empty matrix."""
    if isinstance(value, list):
        return value
    if isinstance(value, np.ndarray):
        return list(value.ravel())
    return [value]


def as_text(value: object) -> str:
    """A text; "" for MATLAB's empty matrix. Raises TypeError for anything else."""
    if isinstance(value, str):
        return value
    if isinstance(value, np.ndarray) and not value.size:
        return ""
    raise TypeError(f"{type(value).__name__} instead of text")


def get_member(value: object, *path: str) -> Any:
    """What stands at value.a.b. Raises KeyError or TypeError where that is not."""
    for name in path:
        if not isinstance(value, Mapping):
            raise TypeError(f"{type(value).__name__} instead of a struct with {name}")
        value = value[name]
    return value
