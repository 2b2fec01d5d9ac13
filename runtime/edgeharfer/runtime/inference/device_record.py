"""Small JSON files in the user's cache with what was measured on this device.

A record applies only to the machine and the versions of ONNX Runtime, its plug-ins and edgeharfer that it was
measured with. Otherwise, or if it cannot be read, it counts as empty.
"""

from __future__ import annotations

import json
import logging
import os
import platform
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgeharfer.runtime.errors import ModelError
from edgeharfer.runtime.inference.providers import plugin_versions
from edgeharfer.runtime.inference.tensorrt import gpu_environment
from edgeharfer.runtime.staging import replaced_file
from edgeharfer.runtime.strict_json import load_json
from edgeharfer.runtime.versions import installed

_log = logging.getLogger(__name__)


def read_record(
    path: Path, key: str, form: int, device: Mapping[str, object], *, renewal: str | None = None
) -> dict[str, Any]:
    """Read the entries of a record.

    Args:
        path: The file.
        key: Key of the entries in the file.
        form: Number of the file's format.
        device: What the entries depend on, see `device_info`.
        renewal: What to do if the file has another format, for a warning; None for no warning.

    Returns:
        The entries by name; empty if the record is missing, not valid or of another device.
    """
    try:
        content = load_json(path.read_bytes(), str(path))
    except (OSError, ModelError):
        return {}
    if not isinstance(content, dict):
        return {}
    if renewal and content.get("format") not in (None, form):
        _log.warning("%s is of another version of edgeharfer: %s", path, renewal)
    if content.get("format") != form or content.get("device") != device:
        return {}
    entries = content.get(key)
    return entries if isinstance(entries, dict) else {}


def write_record(
    path: Path, key: str, form: int, device: Mapping[str, object], entries: Mapping[str, object]
) -> None:
    """Write a record for `read_record`.

    Raises:
        OSError: The file cannot be written.
    """
    content = {"format": form, "device": device, key: entries}
    path.parent.mkdir(parents=True, exist_ok=True)
    with replaced_file(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def device_info() -> dict[str, object]:
    """Return what a measurement depends on besides the package."""
    gpu = gpu_environment()
    return {
        "processor": cpu_model(),
        "cores": os.cpu_count(),
        "gpu": gpu.gpu,
        "driver": gpu.driver,
        "tensorrt": gpu.tensorrt,
        "onnxruntime": gpu.onnxruntime,
        "plugins": plugin_versions(),
        "edgeharfer": installed("edgeharfer"),
    }


def cpu_model(info: Path = Path("/proc/cpuinfo")) -> str | None:
    """Return the name of the processor, or None if it is unknown."""
    try:
        text = info.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return platform.processor() or None
    found = re.search(r"^(?:model name|Model|Hardware)\s*:\s*(.+)$", text, re.MULTILINE)
    return found[1].strip() if found else platform.processor() or None
