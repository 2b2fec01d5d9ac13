"""What `edgeharfer tune` found out about this device: the quickest provider, precision and threads.

The record is a small JSON file in the user's cache. It holds only for the machine, ONNX Runtime and
edgeharfer that it was measured with, and for packages that have not changed since; otherwise, and when it
cannot be read, the choice that a package's manifest makes is taken.
"""

from __future__ import annotations

import json
import os
import platform
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from edgeharfer.runtime.errors import ModelError
from edgeharfer.runtime.inference.binding import Sizes
from edgeharfer.runtime.inference.package import Package
from edgeharfer.runtime.inference.session import PROVIDERS, Session, available_providers, make_session
from edgeharfer.runtime.inference.tensorrt import cache_root, gpu_environment, lacks_engine
from edgeharfer.runtime.inference.upgrade import start_at_once
from edgeharfer.runtime.staging import replaced_file
from edgeharfer.runtime.strict_json import load_json
from edgeharfer.runtime.versions import installed

FORMAT = 1
AUTO = "auto"


@dataclass(frozen=True)
class Choice:
    """How to run a package. provider: "cpu", "cuda", "tensorrt" or "auto". threads: of one operator."""

    provider: str
    precision: str
    threads: int


def settle(
    package: Package, provider: str = AUTO, precision: str = AUTO, threads: int | None = None
) -> Choice:
    """What was asked for; what was left open as it was tuned here, or else as the manifest says.

    threads: None leaves them open. Raises ModelError for a precision that the package does not hold.
    """
    tuned = tuned_choices(package)
    first = provider if provider != AUTO else next(iter(tuned), AUTO)
    found = tuned.get(first)
    kind = first if first != AUTO else _loadable()[0]
    if precision == AUTO and found is not None and found.precision in package.manifest.files:
        precision = found.precision
    else:
        precision = package.manifest.precision_for(kind, precision)
    return Choice(first, precision, threads or (found.threads if found else 1))


@cache
def _loadable() -> tuple[str, ...]:
    return available_providers()


def tuned_choices(package: Package) -> dict[str, Choice]:
    """The measured choice for each provider, the quickest provider first; empty where none holds."""
    return {row["provider"]: Choice(**row) for row in _record().get(key_of(package), [])}


def tuned_packages() -> dict[str, list[Choice]]:
    """All choices of the record, by the key of their package."""
    return {key: [Choice(**row) for row in rows] for key, rows in _record().items()}


def open_graph(
    package: Package,
    role: str,
    how: Choice,
    fallback: bool = False,
    *,
    shapes: Sequence[Sizes] = (),
    at_once: bool = False,
) -> Session:
    """A session for one graph of a package. Raises as make_session does.

    shapes: of the only input, if it is one of a few. at_once: where TensorRT has no engine of it yet, run on
    the next best provider while it is built, and go on with it then; who asks for that closes the session.
    """
    name = str(package.path / package.spec(role, how.precision).file)
    model = package.read(role, how.precision)
    wanted = at_once and how.provider in (AUTO, "tensorrt")
    if wanted and _loadable()[0] == "tensorrt" and lacks_engine(model, name):
        return start_at_once(
            model, _loadable()[1], how.threads, name=name, precision=how.precision, shapes=shapes
        )
    return make_session(model, how.provider, how.threads, fallback, name=name, shapes=shapes)


def key_of(package: Package) -> str:
    """Tells packages apart by name and the hashes of their files."""
    hashes = (
        spec.sha256[:16] for roles in package.manifest.files.values() for spec in roles.values()
    )  # fmt: skip
    return " ".join([package.manifest.name, *sorted(hashes)])


def record_path() -> Path:
    """Where the record lies."""
    return cache_root().parent / "tuned.json"


def write_record(choices: Mapping[str, list[Choice]], path: Path | None = None) -> Path:
    """Keep choices, the quickest provider first, by the key of their package. Raises OSError."""
    path = path or record_path()
    content = {
        "format": FORMAT,
        "device": device(),
        "packages": {key: [asdict(one) for one in rows] for key, rows in choices.items()},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with replaced_file(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    _record.cache_clear()
    return path


@cache
def _record() -> dict[str, list[dict[str, Any]]]:
    """The packages of the record, if it is sound and of this device."""
    path = record_path()
    try:
        content = load_json(path.read_bytes(), str(path))
    except (OSError, ModelError):
        return {}
    if not isinstance(content, dict) or content.get("format") != FORMAT or content.get("device") != device():
        return {}
    packages = content.get("packages")
    if not isinstance(packages, dict):
        return {}
    return {key: rows for key, rows in packages.items() if isinstance(rows, list) and all(map(_sound, rows))}


def _sound(row: object) -> bool:
    return (
        isinstance(row, dict)
        and set(row) == {"provider", "precision", "threads"}
        and row["provider"] in PROVIDERS
        and isinstance(row["precision"], str)
        and type(row["threads"]) is int
        and 1 <= row["threads"] <= 256
    )


def device() -> dict[str, object]:
    """What a measurement depends on, beside the package."""
    gpu = gpu_environment()
    return {
        "processor": cpu_model(),
        "cores": os.cpu_count(),
        "gpu": gpu.gpu,
        "driver": gpu.driver,
        "tensorrt": gpu.tensorrt,
        "onnxruntime": gpu.onnxruntime,
        "edgeharfer": installed("edgeharfer"),
    }


def cpu_model(info: Path = Path("/proc/cpuinfo")) -> str | None:
    """The processor's name as it tells it."""
    try:
        text = info.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return platform.processor() or None
    found = re.search(r"^(?:model name|Model|Hardware)\s*:\s*(.+)$", text, re.MULTILINE)
    return found[1].strip() if found else platform.processor() or None
