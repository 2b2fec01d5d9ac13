"""Keras, imported on first use, so that network names are available where Keras is not installed."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import keras
    from keras import layers, ops

__all__ = ["keras", "layers", "ops"]


class _Module:
    """Stand-in for a module that is imported on first attribute access."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        return getattr(import_module(self._name), name)


if not TYPE_CHECKING:
    keras, layers, ops = _Module("keras"), _Module("keras.layers"), _Module("keras.ops")
