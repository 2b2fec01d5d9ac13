"""HDF5 files of Keras 3: their configuration, with the operations that Keras itself does not find again.

Keras 3 writes a call such as `x / 255` in a functional model to HDF5 as an operation without its module, and
then looks for a layer of that name. The module is added here.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from edgeharfer.export import backend

Config = dict[str, Any]

_OPERATIONS = ("numpy", "nn", "core", "math", "image", "linalg")
_MODELS = {"Functional": "Model", "Model": "Model", "Sequential": "Sequential"}


def with_modules(config: Any) -> Any:
    """Return a configuration with the module of each model, layer and operation."""
    if isinstance(config, list):
        return [with_modules(one) for one in config]
    if not isinstance(config, dict):
        return config
    changed = {key: with_modules(value) for key, value in config.items()}
    kind, settings = config.get("class_name"), config.get("config")
    if not isinstance(kind, str) or not isinstance(settings, dict) or config.get("module"):
        return changed
    if kind in _MODELS:
        return {**changed, "module": "keras", "class_name": _MODELS[kind], "registered_name": None}
    module = _module(kind, is_layer="trainable" in settings)
    return changed if module is None else {**changed, "module": module, "registered_name": None}


@cache
def _module(kind: str, *, is_layer: bool) -> str | None:
    """Return the module of a class; operations such as Add may have the name of a layer, but no weights."""
    modules = [f"keras.src.ops.{one}" for one in _OPERATIONS]
    names = ["keras.layers", *modules] if is_layer else [*modules, "keras.layers"]
    return next((one for one in names if isinstance(getattr(backend.load(one), kind, None), type)), None)
