"""NVIDIA machines: included software of each kind, and how to use the GPU.

The guides docs/deploy/jetson.md and docs/deploy/laptop-gpu.md contain the same texts, which a test checks.
Versions are those of NVIDIA's release notes and of the packages' metadata.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path


@dataclass(frozen=True, slots=True)
class GpuAdvice:
    """How to use the GPU of one kind of machine.

    Attributes:
        name: Name of the machine, release or driver.
        includes: Installed software.
        instructions: What to do to use the GPU.
    """

    name: str
    includes: str
    instructions: str


JETPACKS: Mapping[int, GpuAdvice] = {
    35: GpuAdvice(
        "JetPack 5",
        "Ubuntu 20.04, Python 3.8, CUDA 11.4, cuDNN 8.6, TensorRT 8.5",
        "CPU only, since current ONNX Runtime does not support CUDA 11: uv venv --python 3.12, "
        "then uv pip install 'edgeharfer[cpu]'",
    ),
    36: GpuAdvice(
        "JetPack 6",
        "Ubuntu 22.04, Python 3.10, CUDA 12.6, cuDNN 9.3, TensorRT 10.3",
        "download onnxruntime-gpu 1.23 for Python 3.10 (cp310, aarch64) from NVIDIA's Jetson package index "
        "for CUDA 12.6, then pip install that wheel and edgeharfer with Python 3.10, without an extra",
    ),
    38: GpuAdvice(
        "JetPack 7",
        "Ubuntu 24.04, Python 3.12, CUDA 13.0, cuDNN 9.12, TensorRT 10.13",
        "pip install 'edgeharfer[gpu]' for CUDA; for TensorRT build ONNX Runtime 1.31 and install that wheel",
    ),
}
"""By the major release of Jetson Linux."""
DRIVERS: Mapping[int, GpuAdvice] = {
    580: GpuAdvice("driver 580 or newer", "up to CUDA 13", "pip install 'edgeharfer[gpu]'"),
    525: GpuAdvice(
        "driver 525 to 579",
        "up to CUDA 12",
        "update the driver to 580 or newer, or pip install edgeharfer "
        "'onnxruntime-gpu[cuda,cudnn]>=1.23,<1.27', without an extra",
    ),
    0: GpuAdvice("older driver", "up to CUDA 11", "update the driver to 580 or newer"),
}
"""By the lowest branch of the driver."""
UNKNOWN_JETPACK = "unknown Jetson Linux release; see docs/deploy/jetson.md"


def gpu_advice(root: Path = Path("/")) -> GpuAdvice | None:
    """Return the advice for this machine, or None if it has no NVIDIA GPU.

    Args:
        root: Folder in place of /.
    """
    return _jetson(root) or _graphics_card(root)


def _jetson(root: Path) -> GpuAdvice | None:
    """Identify the board by its device tree and the release by NVIDIA's file."""
    board = _read(root / "proc/device-tree/model")
    release = re.search(r"R(\d+) \(release\), REVISION: ([\d.]+)", _read(root / "etc/nv_tegra_release"))
    if release is None:
        return GpuAdvice(board, "a Jetson", UNKNOWN_JETPACK) if "jetson" in board.lower() else None
    major, revision = int(release[1]), release[2]
    name = f"{board or 'Jetson'}, Jetson Linux {major}.{revision}"
    known = JETPACKS.get(major)
    if known is None:
        return GpuAdvice(name, "a Jetson", UNKNOWN_JETPACK)
    return replace(known, name=f"{name}, {known.name}")


def _graphics_card(root: Path) -> GpuAdvice | None:
    """Identify the driver by "NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.65.06  ..."."""
    version = re.search(r"\b(\d{3})\.\d+(\.\d+)?\b", _read(root / "proc/driver/nvidia/version"))
    if version is None:
        return None
    found = DRIVERS[max(least for least in DRIVERS if least <= int(version[1]))]
    return replace(found, name=f"NVIDIA driver {version[0]}")


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip("\0\n ")
    except OSError:
        return ""
