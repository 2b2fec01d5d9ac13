"""TensorRT provider options and engine cache.

TensorRT 10.12 deprecated weak typing and calibrators, TensorRT 11 removed both. The precision is therefore
part of the graph: FP16 types or Q/DQ nodes. No precision flag of the provider is set and no calibration table
is used.

An engine is valid for one set of weights, one set of shapes, one GPU, one driver and one TensorRT version.
Each graph has a cache folder with `key.json`, which states what its engine was built for, and an empty file
`built` once the build succeeded. Any other engine is deleted and built again, with a warning.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import logging
import os
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from edgeharfer.runtime.inference.graph import Graph
from edgeharfer.runtime.inference.scan import OnnxInfo
from edgeharfer.runtime.versions import installed

KEY_FILE, BUILT_FILE = "key.json", "built"
ENGINE_PATH = "trt_engine_cache_path"
BATCHES = (1, 1, 8)
"""Minimum, optimum and maximum batch size of an engine: one frame, and at most eight faces."""
SIDES = (96, 192, 192)
"""Minimum, optimum and maximum of an axis named `side`: a face detector's close-up and whole-frame input."""
LENGTHS = (32, 320, 640)
"""Minimum, optimum and maximum of axes named `height` and `width`: a face detector for any aspect ratio."""
AXES = {"side": SIDES, "height": LENGTHS, "width": LENGTHS}

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class GpuEnvironment:
    """What an engine depends on besides its graph; None where it is unknown.

    Attributes:
        gpu: Name of the first GPU.
        driver: Version of its driver.
        tensorrt: Version of TensorRT.
        onnxruntime: Version of ONNX Runtime.
    """

    gpu: str | None = None
    driver: str | None = None
    tensorrt: str | None = None
    onnxruntime: str | None = None


@dataclass(frozen=True)
class EngineKey:
    """What one engine was built for.

    Attributes:
        weights: SHA-256 of the ONNX file.
        precision: Result of `graph_precision`.
        shapes: Input shapes and the ranges of their free axes.
        environment: GPU and library versions.
    """

    weights: str
    precision: str
    shapes: str
    environment: GpuEnvironment


Environment = Callable[[], GpuEnvironment]


def tensorrt_options(
    graph: Graph, *, root: Path | None = None, environment: Environment | None = None
) -> dict[str, str]:
    """Return the TensorRT provider options of a graph: shape ranges and caches.

    If the cache folder cannot be written, the engine is built at each start.

    Args:
        graph: Graph to run.
        root: Cache folder; `cache_root()` by default.
        environment: Returns the GPU and library versions; `gpu_environment` by default.
    """
    found, options = (environment or gpu_environment)(), optimization_profile(graph.info)
    if found.tensorrt is None:  # TensorRT is not installed, so no engine is built.
        return options
    try:
        folder = engine_folder(engine_key(graph, found), root or cache_root(), graph.name)
    except OSError as error:
        _log.warning("%s: TensorRT engine cannot be cached: %s", graph.name, error)
        return options
    return {
        **options,
        "trt_engine_cache_enable": "1",
        ENGINE_PATH: str(folder),
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": str(folder),
    }


def needs_engine_build(
    graph: Graph, *, root: Path | None = None, environment: Environment | None = None
) -> bool:
    """Whether TensorRT is installed and has no engine for this graph yet. Changes nothing on disk."""
    found = (environment or gpu_environment)()
    if found.tensorrt is None:
        return False
    key = engine_key(graph, found)
    folder = _folder_of(key, root or cache_root())
    return not ((folder / BUILT_FILE).exists() and _read(folder / KEY_FILE) == _as_text(key))


def mark_engine_built(options: Mapping[str, Any], name: str) -> None:
    """Record that a session with these options has loaded, so its engine is complete."""
    if ENGINE_PATH in options:
        try:
            Path(options[ENGINE_PATH], BUILT_FILE).touch()
        except OSError as error:
            _log.warning("%s: TensorRT engine cannot be cached: %s", name, error)


def optimization_profile(info: OnnxInfo) -> dict[str, str]:
    """Return the input shape ranges of the engine, so that no engine is rebuilt during a run."""
    free = [one for one in info.inputs if any(not isinstance(axis, int) for axis in one.shape)]
    if not free:
        return {}
    options = {}
    for i, limit in enumerate(("min", "opt", "max")):
        sizes = {name: lengths[i] for name, lengths in AXES.items()}
        shapes = (
            "x".join(
                str(axis if isinstance(axis, int) else sizes.get(str(axis), BATCHES[i])) for axis in one.shape
            )
            for one in free
        )
        options[f"trt_profile_{limit}_shapes"] = ",".join(
            f"{one.name}:{shape}" for one, shape in zip(free, shapes, strict=True)
        )
    return options


def engine_key(graph: Graph, environment: GpuEnvironment) -> EngineKey:
    """Return everything that the engine of a graph depends on."""
    inputs = graph.info.inputs
    shapes = ";".join(f"{one.name}:{'x'.join(map(str, one.shape))}" for one in inputs)
    lengths = LENGTHS if any("height" in one.shape for one in inputs) else ()
    batches = "x".join(map(str, (*BATCHES, *SIDES, *lengths)))
    return EngineKey(graph.sha256, graph_precision(graph.info), f"{shapes};batch:{batches}", environment)


def graph_precision(info: OnnxInfo) -> str:
    """Describe how the graph states its precision. FP32 and FP16 differ by the hash of their weights."""
    return "int8 by Q/DQ" if "QuantizeLinear" in info.nodes else "as its types say"


def engine_folder(key: EngineKey, root: Path, name: str) -> Path:
    """Create the cache folder of a graph's engine and remove an outdated or incomplete engine from it."""
    folder, wanted = _folder_of(key, root), _as_text(key)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found, complete = _read(folder / KEY_FILE), (folder / BUILT_FILE).exists()
    if found != wanted or not complete:
        if any(path.name != KEY_FILE for path in folder.iterdir()):
            why = "the last build was not completed" if found == wanted else _difference(found, wanted)
            _log.warning("%s: rebuilding the TensorRT engine: %s", name, why)
            shutil.rmtree(folder)
            folder.mkdir(mode=0o700)
        (folder / KEY_FILE).write_text(wanted, encoding="utf-8")
    return folder


def _folder_of(key: EngineKey, root: Path) -> Path:
    graph = hashlib.sha256(f"{key.weights} {key.precision} {key.shapes}".encode()).hexdigest()[:20]
    return root / graph


def _as_text(key: EngineKey) -> str:
    return json.dumps(asdict(key), indent=2, sort_keys=True)


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None


def _difference(found: str | None, wanted: str) -> str:
    """Describe what has changed since the engine was built."""
    try:
        old, new = json.loads(found or "")["environment"], json.loads(wanted)["environment"]
        changed = [
            f"{what} changed from {old.get(what)} to {now}"
            for what, now in new.items()
            if old.get(what) != now
        ]
    except (ValueError, KeyError, TypeError, AttributeError):
        return "its build settings are unknown"
    return ", ".join(changed) or "its build settings are unknown"


def cache_root() -> Path:
    """Return the engine cache folder in the user's cache directory."""
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA")
    elif sys.platform == "darwin":
        base = str(Path.home() / "Library" / "Caches")
    else:
        base = os.environ.get("XDG_CACHE_HOME")
    return Path(base or Path.home() / ".cache") / "edgeharfer" / "engines"


@cache
def gpu_environment() -> GpuEnvironment:
    """Return the first GPU, its driver, TensorRT and ONNX Runtime, as far as they can be determined."""
    gpu, driver = _nvml()
    runtime = installed("onnxruntime-gpu") or installed("onnxruntime")
    return GpuEnvironment(gpu, driver, _tensorrt_version(), runtime)


def _nvml() -> tuple[str | None, str | None]:
    """Name of the first GPU and version of the driver (https://docs.nvidia.com/deploy/nvml-api)."""
    library = _library("nvml.dll" if sys.platform == "win32" else "libnvidia-ml.so.1")
    if library is None or library.nvmlInit_v2() != 0:
        return None, None
    try:
        text, handle = ctypes.create_string_buffer(96), ctypes.c_void_p()
        driver = text.value.decode() if library.nvmlSystemGetDriverVersion(text, len(text)) == 0 else None
        found = library.nvmlDeviceGetHandleByIndex_v2(0, ctypes.byref(handle)) == 0
        named = found and library.nvmlDeviceGetName(handle, text, len(text)) == 0
        return (text.value.decode() if named else None), driver
    finally:
        library.nvmlShutdown()


def _tensorrt_version() -> str | None:
    """Decode `getInferLibVersion`: 101300 is 10.13.0."""
    library = _library("nvinfer_10.dll" if sys.platform == "win32" else "libnvinfer.so.10")
    if library is None:
        return None
    number = int(library.getInferLibVersion())
    return f"{number // 10000}.{number // 100 % 100}.{number % 100}"


def _library(name: str) -> Any:
    try:
        return ctypes.CDLL(name)
    except OSError:
        return None
