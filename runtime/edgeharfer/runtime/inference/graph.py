"""An ONNX graph in memory: its bytes, their hash, and what one scan of them found."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Self

from edgeharfer.runtime.inference.protobuf import FieldBudget
from edgeharfer.runtime.inference.scan import OnnxInfo, scan_onnx


@dataclass(frozen=True)
class Graph:
    """A scanned graph, from which sessions are made.

    Attributes:
        name: How errors refer to it, such as the path of its file.
        data: The bytes that were hashed and scanned.
        sha256: Of the bytes, hexadecimal.
        info: What the scan found.
    """

    name: str
    data: bytes = field(repr=False)
    sha256: str
    info: OnnxInfo = field(repr=False)

    @classmethod
    def scan(
        cls, data: bytes, name: str = "model", *, sha256: str | None = None, budget: FieldBudget | None = None
    ) -> Self:
        """The graph of some bytes.

        Args:
            data: An ONNX model.
            name: Of the graph, in errors.
            sha256: Of the bytes, where it is known already.
            budget: Shared by several graphs, see `scan_onnx`.

        Raises:
            ModelError: The bytes are damaged, no ONNX model, or unsafe.
        """
        info = scan_onnx(data, name, budget)
        return cls(name, data, sha256 or hashlib.sha256(data).hexdigest(), info)
