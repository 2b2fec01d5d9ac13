"""Whether sums of 8-bit products are exact on this processor, and the name of its instruction set.

x86 processors without VNNI add two products of unsigned activations and signed weights in 16 bits, which
saturate. The outputs of an INT8 graph then differ from those on other processors, without an error.
"""

from __future__ import annotations

import platform
from functools import cache

import cv2
import numpy as np

from edgeharfer.runtime.inference import onnx_runtime
from edgeharfer.runtime.inference.graph import Graph

SATURATING = "8-bit products saturate on this processor"
_FEATURES = ("AVX512VNNI", "AVX_VNNI", "AVX512BW", "AVX2", "AVX", "NEON_DOTPROD", "NEON")
"""OpenCV's names of instruction sets with which ONNX Runtime multiplies, best first."""
_MAX_FEATURE = 512
_PRODUCTS = (
    b'\x08\x08:\xe2\x01\n\x1c\n\x01x\n\x01s\n\x01z\x12\x01q"\x0eQuantizeLinear\n\x18\n\x01q\n\x01w\x12\x01p'
    b'"\rMatMulInteger\n\x17\n\x01p\x12\x01y"\x04Cast*\t\n\x02to\x18\x01\xa0\x01\x02\x12\x01g*\x0b\x10\x01B\x01s'
    b"J\x04\x00\x00\x80?*\x08\x10\x02B\x01zJ\x01\x00*K\x08\x04\x08\x10\x10\x03B\x01wJ@"
    + b"\x7f"
    * 64
    + b"Z\x13"
    b"\n\x01x\x12\x0e\n\x0c\x08\x01\x12\x08\n\x02\x08\x01\n\x02\x08\x04b\x13\n\x01y\x12\x0e\n\x0c\x08\x01\x12\x08"
    b"\n\x02\x08\x01\n\x02\x08\x10B\x04\n\x00\x10\x11"
)
"""ONNX model: x, float (1, 4), as uint8, times a matrix (4, 16) of int8 127; made with onnx.helper."""


@cache
def products_saturate() -> bool:
    """Whether ONNX Runtime's 8-bit products saturate here: the largest ones are computed once.

    Raises:
        MissingExtra: ONNX Runtime is not installed.
    """
    ort = onnx_runtime.load()
    session = onnx_runtime.create_session(ort, Graph.scan(_PRODUCTS, "products"), 1, ["CPUExecutionProvider"])
    (sums,) = session.run(None, {"x": np.full((1, 4), 255, np.float32)})
    return not np.all(sums == 4 * 255 * 127)


def instruction_set() -> str:
    """Return architecture and best instruction set for products, such as "x86_64 AVX512VNNI"."""
    names = {cv2.getHardwareFeatureName(number): number for number in range(1, _MAX_FEATURE)}
    found = (name for name in _FEATURES if name in names and cv2.checkHardwareSupport(names[name]))
    return f"{platform.machine()} {next(found, 'without vector instructions')}"
