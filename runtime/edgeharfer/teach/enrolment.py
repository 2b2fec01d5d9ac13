"""Enrolment files: features of a recording from the camera, with its label and without pixels.

A file is one line of JSON, followed by the features as little-endian float16 rows.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from edgeharfer.runtime.errors import ModelError
from edgeharfer.runtime.inference.manifest import Manifest
from edgeharfer.runtime.inference.package import read_regular_file
from edgeharfer.runtime.staging import write_durable
from edgeharfer.runtime.strict_json import integer, list_of, load_json, number, record, text
from edgeharfer.runtime.types import Floats

SUFFIX = ".enrol"
FORMAT = 1
MAX_BYTES = 64 * 1024 * 1024
MAX_FEATURES = 8192
"""Most features of a frame. Packages whose encoder passes on pixels have more."""


@dataclass(frozen=True)
class _Header:
    format: Annotated[int, integer(FORMAT, FORMAT)]
    label: Annotated[str, text(r"[^\x00-\x1f]{1,100}", "a label of 1 to 100 characters")]
    encoder: Annotated[str, text(r"[0-9a-f]{64}", "64 lower-case hexadecimal digits")]
    size: Annotated[int, integer(1, MAX_FEATURES)]
    times: Annotated[tuple[float, ...], list_of(number(0, 1e9), 1, 100_000)]


@dataclass(frozen=True, eq=False)
class Enrolment:
    """A recording of one action.

    Attributes:
        label: The action.
        encoder: Identity of the encoder, see `encoder_id`.
        times: Source time of each encoded frame in seconds, (n,).
        features: float32, (n, size).
    """

    label: str
    encoder: str
    times: NDArray[np.float64] = field(repr=False)
    features: Floats = field(repr=False)


def encoder_id(manifest: Manifest) -> str:
    """Return the SHA-256 of the encoder of a package, in its highest precision.

    Features of its other precisions are close enough to be used together.
    """
    precision = min(manifest.files, key=("fp32", "fp16", "int8").index)
    return manifest.files[precision]["encoder"].sha256


def write_enrolment(path: Path, enrolment: Enrolment) -> None:
    """Write an enrolment file.

    Raises:
        OSError: It cannot be written.
    """
    times = tuple(round(float(time), 4) for time in enrolment.times)
    header = _Header(FORMAT, enrolment.label, enrolment.encoder, enrolment.features.shape[1], times)
    line = json.dumps(asdict(header), ensure_ascii=False) + "\n"
    write_durable(path, line.encode() + enrolment.features.astype("<f2").tobytes(), 0o666)


def read_enrolment(path: Path) -> Enrolment:
    """Read an enrolment file.

    Raises:
        ModelError: It cannot be read, or is damaged.
    """
    line, newline, rows = read_regular_file(path, MAX_BYTES).partition(b"\n")
    if not newline:
        raise ModelError(f"{path}: not an enrolment file, or damaged: record it again")
    header = record(_Header)(load_json(line, str(path)), str(path))
    count = len(header.times)
    if len(rows) != 2 * count * header.size:
        raise ModelError(f"{path}: {len(rows)} bytes of features, expected {2 * count * header.size}: "
                         "damaged, record it again")  # fmt: skip
    features = np.frombuffer(rows, "<f2").reshape(count, header.size).astype(np.float32)
    if not np.isfinite(features).all() or any(np.diff(header.times) < 0):
        raise ModelError(f"{path}: invalid features or times: damaged, record it again")
    return Enrolment(header.label, header.encoder, np.array(header.times), features)
