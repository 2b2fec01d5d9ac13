"""NVIDIA machines: what each kind comes with, and the line that brings its GPU into use.

The guides, docs/deploy/jetson.md and docs/deploy/laptop-gpu.md, say the same in the same words (tested).
Versions are those of NVIDIA's release notes and of the packages' own metadata.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path


@dataclass(frozen=True, slots=True)
class GpuAdvice:
    """name: of the machine or release. comes_with: what is installed. line: what to do for its GPU."""

    name: str
    comes_with: str
    line: str


JETPACKS: Mapping[int, GpuAdvice] = {
    35: GpuAdvice(
        "JetPack 5",
        "Ubuntu 20.04, Python 3.8, CUDA 11.4, cuDNN 8.6, TensorRT 8.5",
        "CPU alone, today's ONNX Runtime knows CUDA 11 no more: uv venv --python 3.12, "
        "then uv pip install 'edgeharfer[cpu]'",
    ),
    36: GpuAdvice(
        "JetPack 6",
        "Ubuntu 22.04, Python 3.10, CUDA 12.6, cuDNN 9.3, TensorRT 10.3",
        "build ONNX Runtime 1.26 for Python 3.12 with CUDA and TensorRT, "
        "then uv pip install its wheel and edgeharfer, without an extra",
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
"""By the least branch of the driver."""
UNKNOWN_JETPACK = "its Jetson Linux is none that edgeharfer knows; see docs/deploy/jetson.md"


def gpu_advice(root: Path = Path("/")) -> GpuAdvice | None:
    """What holds of this machine, by its own names; None where no NVIDIA GPU can be seen.

    root: the folder that stands for /.
    """
    return _jetson(root) or _graphics_card(root)


def _jetson(root: Path) -> GpuAdvice | None:
    """The board by its device tree, the release of Jetson Linux by NVIDIA's file."""
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
    """The driver by its kernel module: "NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.65.06  ..."."""
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
