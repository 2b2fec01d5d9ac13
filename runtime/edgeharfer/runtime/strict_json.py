"""Strict reading of JSON: typed values or a ModelError that names the file and the key.

A reader takes a JSON value and the place where it stands ("folder/manifest.json: input.width") and
returns the typed value or raises ModelError.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, NoReturn, TypeVar, cast

from edgeharfer.runtime.errors import ModelError

T = TypeVar("T")
Reader = Callable[[object, str], T]


def load_json(text: str | bytes, where: str) -> object:
    """Parsed JSON; a key that stands twice, NaN and Infinity are errors."""
    try:
        return json.loads(text, object_pairs_hook=_unique_keys, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{where}: not valid JSON: {error}") from error


def _unique_keys(pairs: list[tuple[str, object]]) -> dict[str, object]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key stands twice")
    return result


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number")


def fail(where: str, what: str) -> NoReturn:
    """Raise the ModelError of one key."""
    raise ModelError(f"{where}: {what}")


def text(pattern: str, what: str) -> Reader[str]:
    """Text that matches a pattern as a whole."""

    def read(value: object, where: str) -> str:
        if not isinstance(value, str) or not re.fullmatch(pattern, value):
            fail(where, f"must be {what}")
        return value

    return read


def choice(*names: str) -> Reader[str]:
    """One of some names."""

    def read(value: object, where: str) -> str:
        if not isinstance(value, str) or value not in names:
            fail(where, f"must be one of {', '.join(names)}")
        return value

    return read


def whole(low: int, high: int) -> Reader[int]:
    """A whole number within limits."""

    def read(value: object, where: str) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            fail(where, f"must be a whole number from {low} to {high}")
        return value

    return read


def number(low: float, high: float) -> Reader[float]:
    """A finite number within limits."""

    def read(value: object, where: str) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            fail(where, f"must be a number from {low:g} to {high:g}")
        return float(value)

    return read


def flag(value: object, where: str) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        fail(where, "must be true or false")
    return value


def free_object(value: object, where: str) -> Mapping[str, object]:
    """An object with any keys."""
    if not isinstance(value, dict):
        fail(where, "must be an object")
    return value


def list_of(item: Reader[T], low: int, high: int) -> Reader[tuple[T, ...]]:
    """A list of a length within limits, as a tuple."""

    def read(value: object, where: str) -> tuple[T, ...]:
        if not isinstance(value, list) or not low <= len(value) <= high:
            fail(where, f"must be a list of {low} to {high} values")
        return tuple(item(one, f"{where}[{index}]") for index, one in enumerate(value))

    return read


def mapping_of(keys: tuple[str, ...], item: Reader[T]) -> Reader[Mapping[str, T]]:
    """An object with some of the known keys and values of one kind."""

    def read(value: object, where: str) -> Mapping[str, T]:
        result = {}
        for key, one in free_object(value, where).items():
            if key not in keys:
                fail(where, f"unknown key {_shown(key)}; known are {', '.join(keys)}")
            result[key] = item(one, below(where, key))
        return result

    return read


def record(cls: Callable[..., T], table: Mapping[str, Reader[Any]]) -> Reader[T]:
    """Reader of a dataclass; the fields without a default must be there, others may not."""
    needed = {f.name for f in fields(cast(Any, cls)) if f.default is f.default_factory}

    def read(value: object, where: str) -> T:
        data = free_object(value, where)
        if unknown := sorted(set(data) - set(table)):
            fail(where, f"unknown key {_shown(unknown[0])}; known are {', '.join(table)}")
        if missing := sorted(needed - set(data)):
            fail(where, f"key {missing[0]} is missing")
        return cls(**{key: table[key](one, below(where, key)) for key, one in data.items()})

    return read


def below(where: str, key: str) -> str:
    """The place of a key inside a place."""
    return f"{where}.{key}" if ": " in where else f"{where}: {key}"


def _shown(key: str) -> str:
    return repr(key if len(key) <= 40 else key[:40] + "…")
