"""Keras, imported when it is first used: the names of networks are known where it is not installed."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import keras
    from keras import layers, ops

__all__ = ["keras", "layers", "ops"]


class _Module:
    """Stands for a module until something of it is needed."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        return getattr(import_module(self._name), name)


if not TYPE_CHECKING:
    keras, layers, ops = _Module("keras"), _Module("keras.layers"), _Module("keras.ops")
