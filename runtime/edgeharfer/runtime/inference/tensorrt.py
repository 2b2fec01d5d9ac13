"""Options of TensorRT, and the folder in which it keeps its engines.

TensorRT 10.12 deprecated weak typing and calibrators, 11 dropped both. So precision stands in the graph: FP16
types, or Q/DQ nodes. None of the provider's precision flags is set and no calibration table is named.

An engine fits one set of weights, one set of shapes, one GPU, one driver, one TensorRT. Each graph has its
folder with a `key.json` that says what its engine was built for, and beside it `built` once it was; any other
engine is deleted, built again, and that is said.
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
"""Smallest, usual and largest batch of one engine: a frame, and at most eight faces."""
SIDES = (96, 192, 192)
"""The same of an axis named `side`: a face detector looks close_up, and at the whole frame."""
LENGTHS = (32, 320, 640)
"""The same of axes named `height` and `width`: a face detector for pictures of any shape."""
AXES = {"side": SIDES, "height": LENGTHS, "width": LENGTHS}

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class GpuEnvironment:
    """What an engine depends on beside its graph; None where it cannot be told."""

    gpu: str | None = None
    driver: str | None = None
    tensorrt: str | None = None
    onnxruntime: str | None = None


@dataclass(frozen=True)
class EngineKey:
    """What one engine was built for. weights: SHA-256 of the ONNX bytes."""

    weights: str
    precision: str
    shapes: str
    environment: GpuEnvironment


Environment = Callable[[], GpuEnvironment]


def tensorrt_options(
    graph: Graph, *, root: Path | None = None, environment: Environment | None = None
) -> dict[str, str]:
    """Shapes and caches; without a folder that can be written, the engine is built at each start."""
    found, options = (environment or gpu_environment)(), optimization_profile(graph.info)
    if found.tensorrt is None:  # Nothing will be built.
        return options
    try:
        folder = engine_folder(engine_key(graph, found), root or cache_root(), graph.name)
    except OSError as error:
        _log.warning("%s: TensorRT's engine cannot be kept: %s", graph.name, error)
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
    """Whether TensorRT is here and would first have to build its engine. Changes nothing."""
    found = (environment or gpu_environment)()
    if found.tensorrt is None:
        return False
    key = engine_key(graph, found)
    folder = _folder_of(key, root or cache_root())
    return not ((folder / BUILT_FILE).exists() and _read(folder / KEY_FILE) == _as_text(key))


def mark_engine_built(options: Mapping[str, Any], name: str) -> None:
    """Note that the session of these options has loaded, so that its engine is whole."""
    if ENGINE_PATH in options:
        try:
            Path(options[ENGINE_PATH], BUILT_FILE).touch()
        except OSError as error:
            _log.warning("%s: TensorRT's engine cannot be kept: %s", name, error)


def optimization_profile(info: OnnxInfo) -> dict[str, str]:
    """The batches and sides that an engine is built for, so that none is built anew within a run."""
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
    """Everything that an engine depends on."""
    inputs = graph.info.inputs
    shapes = ";".join(f"{one.name}:{'x'.join(map(str, one.shape))}" for one in inputs)
    lengths = LENGTHS if any("height" in one.shape for one in inputs) else ()
    batches = "x".join(map(str, (*BATCHES, *SIDES, *lengths)))
    return EngineKey(graph.sha256, graph_precision(graph.info), f"{shapes};batch:{batches}", environment)


def graph_precision(info: OnnxInfo) -> str:
    """How the graph spells it out; the hash of the weights tells FP32 from FP16."""
    return "int8 by Q/DQ" if "QuantizeLinear" in info.nodes else "as its types say"


def engine_folder(key: EngineKey, root: Path, name: str) -> Path:
    """The folder of a graph's engine, emptied of one for something else and of one that was never done."""
    folder, wanted = _folder_of(key, root), _as_text(key)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found, whole = _read(folder / KEY_FILE), (folder / BUILT_FILE).exists()
    if found != wanted or not whole:
        if any(path.name != KEY_FILE for path in folder.iterdir()):
            why = "its building did not end" if found == wanted else _difference(found, wanted)
            _log.warning("%s: TensorRT's engine is built again: %s", name, why)
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
    """What changed, for people."""
    try:
        old, new = json.loads(found or "")["environment"], json.loads(wanted)["environment"]
        changed = [
            f"{what} {old.get(what)} became {now}" for what, now in new.items() if old.get(what) != now
        ]
    except (ValueError, KeyError, TypeError, AttributeError):
        return "what it was built for is not known"
    return ", ".join(changed) or "what it was built for is not known"


def cache_root() -> Path:
    """Where engines lie: the user's cache."""
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA")
    elif sys.platform == "darwin":
        base = str(Path.home() / "Library" / "Caches")
    else:
        base = os.environ.get("XDG_CACHE_HOME")
    return Path(base or Path.home() / ".cache") / "edgeharfer" / "engines"


@cache
def gpu_environment() -> GpuEnvironment:
    """The first GPU, its driver, TensorRT and ONNX Runtime, as far as they can be told."""
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
    """As `getInferLibVersion` gives it: 101300 is 10.13.0."""
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
