"""The machine, package versions and source revision of a benchmark."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from edgeharfer.runtime.clock import Clock, SystemClock
from edgeharfer.runtime.inference.device_record import cpu_model
from edgeharfer.runtime.inference.tensorrt import gpu_environment
from edgeharfer.runtime.versions import all_installed

PACKAGES = (
    *("edgeharfer", "onnxruntime", "onnxruntime-gpu", "onnxruntime-ep-openvino", "onnxruntime-ep-webgpu"),
    *("onnxruntime-ep-nv-tensorrt-rtx-cu13", "numpy", "opencv-python", "opencv-python-headless"),
    *("tensorflow", "keras", "openvino", "ai-edge-litert"),
)
_GIT_WAIT_S = 5.0


def machine_facts(clock: Clock | None = None) -> dict[str, object]:
    """The `machine` object of `benchmark --json`; unknown values are None."""
    clock = clock or SystemClock()
    gpu = gpu_environment()
    load = {"cores": usable_cores(), "load_average": load_average()}
    return {
        "cpu": cpu_model(),
        **load,
        "busy": is_busy(load),
        "memory_gb": memory_gb(),
        "gpu": gpu.gpu,
        "driver": gpu.driver,
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": all_installed(PACKAGES),
        "revision": source_revision(),
        "date": datetime.fromtimestamp(clock.wall(), timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
    }


def usable_cores() -> int | None:
    """Number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count()


def memory_gb(info: Path = Path("/proc/meminfo")) -> float | None:
    """Total memory in GiB; None on systems without /proc/meminfo."""
    try:
        text = info.read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    found = re.search(r"^MemTotal:\s*(\d+) kB", text, re.MULTILINE)
    return round(int(found[1]) / 1024**2, 1) if found else None


def load_average() -> float | None:
    """Load average of the last minute; None on Windows."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def is_busy(facts: Mapping[str, Any]) -> bool:
    """Whether the load is too high for reliable timings.

    The limit takes into account that the benchmark itself adds about one to the load average.
    """
    load, cores = facts["load_average"], facts["cores"]
    return load is not None and cores is not None and load > 0.75 * cores


def source_revision(folder: Path = Path(__file__).parent) -> str | None:
    """Short git revision of the source tree, with "+" for local changes; None for an installed wheel."""
    described = _git(folder, "describe", "--always", "--dirty=+", "--exclude=*")
    tracked = _git(folder, "ls-files", "--error-unmatch", ".")
    return described if described and tracked else None


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=folder, capture_output=True, text=True, timeout=_GIT_WAIT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None
