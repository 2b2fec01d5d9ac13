"""An ONNX graph in memory: its bytes, their hash and the result of scanning them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from edgeharfer.runtime.inference.protobuf import FieldBudget
from edgeharfer.runtime.inference.scan import OnnxInfo, scan_onnx

if TYPE_CHECKING:
    from typing_extensions import Self


@dataclass(frozen=True)
class Graph:
    """A scanned graph, from which sessions are created.

    Attributes:
        name: Name in error messages, such as the path of its file.
        data: The bytes that were hashed and scanned.
        sha256: SHA-256 of the bytes, hexadecimal.
        info: Result of the scan.
        sizes: Names of free axes and the sizes to fix them to, which lets ONNX Runtime optimize further.
        profile: Prefix of the trace file that its sessions write; None for no trace.
    """

    name: str
    data: bytes = field(repr=False)
    sha256: str
    info: OnnxInfo = field(repr=False)
    sizes: tuple[tuple[str, int], ...] = ()
    profile: str | None = None

    @classmethod
    def scan(
        cls, data: bytes, name: str = "model", *, sha256: str | None = None, budget: FieldBudget | None = None
    ) -> Self:
        """Hash and scan the bytes of an ONNX model.

        Args:
            data: The bytes.
            name: Name of the graph in error messages.
            sha256: SHA-256 of the bytes, if it is known already.
            budget: Field limit shared by several graphs, see `scan_onnx`.

        Raises:
            ModelError: The bytes are damaged, not an ONNX model, or unsafe.
        """
        info = scan_onnx(data, name, budget)
        return cls(name, data, sha256 or hashlib.sha256(data).hexdigest(), info)
