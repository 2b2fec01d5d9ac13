"""Strict validation of JSON and TOML: typed values, or an error that names the file and the key.

A reader is a function that takes a value and its location ("folder/manifest.json: input.width"), and returns
the typed value or raises `ModelError`. `record` derives the reader of a dataclass from its fields:

    @dataclass(frozen=True)
    class Mqtt:
        host: str = ""
        port: Annotated[int, whole(1, 65535)] = 1883

    mqtt = read_as(ConfigError, record(Mqtt), tomllib.loads(text), "kiosk.toml: mqtt")
"""

from __future__ import annotations

import json
import math
import re
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from typing import Annotated, Any, NoReturn, TypeVar, cast

from edgeharfer.runtime.errors import EdgeharferError, ModelError

T = TypeVar("T")
Reader = Callable[[object, str], T]


def load_json(text: str | bytes, where: str) -> object:
    """Parse JSON, without duplicate keys, NaN and Infinity.

    Raises:
        ModelError: The text is not valid JSON.
    """
    try:
        return json.loads(text, object_pairs_hook=_unique_keys, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{where}: not valid JSON: {error}") from error


def _unique_keys(pairs: list[tuple[str, object]]) -> dict[str, object]:
    result: dict[str, object] = {}
    for key, value in pairs:
        if key in result:
            raise ValueError(f"duplicate key {_shortened(key)}")
        result[key] = value
    return result


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number")


def fail(where: str, what: str) -> NoReturn:
    """Raise a ModelError for a location."""
    raise ModelError(f"{where}: {what}")


def text(pattern: str, what: str) -> Reader[str]:
    """Return a reader of strings that match a regular expression in full; `what` describes it in errors."""

    def read(value: object, where: str) -> str:
        if not isinstance(value, str) or not re.fullmatch(pattern, value):
            fail(where, f"must be {what}")
        return value

    return read


def choice(*names: str) -> Reader[str]:
    """Return a reader of one of the given strings."""

    def read(value: object, where: str) -> str:
        if not isinstance(value, str) or value not in names:
            fail(where, f"must be one of {', '.join(names)}")
        return value

    return read


def integer(low: int | None = None, high: int | None = None) -> Reader[int]:
    """Return a reader of integers, within inclusive limits if there are any."""
    limits = "" if low is None else f" from {low} to {high}"

    def read(value: object, where: str) -> int:
        if not isinstance(value, int) or isinstance(value, bool):
            fail(where, f"must be an integer{limits}")
        if low is not None and high is not None and not low <= value <= high:
            fail(where, f"must be an integer{limits}")
        return value

    return read


def number(low: float = -math.inf, high: float = math.inf) -> Reader[float]:
    """Return a reader of finite numbers within inclusive limits."""
    limits = "a finite number" if math.isinf(high) else f"a number from {low:g} to {high:g}"

    def read(value: object, where: str) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            fail(where, f"must be {limits}")
        if math.isinf(value):
            fail(where, f"must be {limits}")
        return float(value)

    return read


def boolean(value: object, where: str) -> bool:
    """Read true or false."""
    if not isinstance(value, bool):
        fail(where, "must be true or false")
    return value


def any_object(value: object, where: str) -> Mapping[str, object]:
    """Read an object with any keys."""
    if not isinstance(value, dict):
        fail(where, "must be an object")
    return value


def list_of(item: Reader[T], low: int = 0, high: int | None = None) -> Reader[tuple[T, ...]]:
    """Return a reader of lists whose length is within limits; it returns a tuple."""

    def read(value: object, where: str) -> tuple[T, ...]:
        if not isinstance(value, list) or len(value) < low or (high is not None and len(value) > high):
            fail(where, "must be a list" if high is None else f"must be a list of {low} to {high} values")
        return tuple(item(one, f"{where}[{index}]") for index, one in enumerate(value))

    return read


def mapping_of(keys: tuple[str, ...], item: Reader[T]) -> Reader[Mapping[str, T]]:
    """Return a reader of objects with optional known keys, whose values all have the same type."""

    def read(value: object, where: str) -> Mapping[str, T]:
        result = {}
        for key, one in any_object(value, where).items():
            if key not in keys:
                fail(where, f"unknown key {_shortened(key)}; known keys: {', '.join(keys)}")
            result[key] = item(one, key_path(where, key))
        return result

    return read


def record(cls: Callable[..., T], table: Mapping[str, Reader[Any]] | None = None) -> Reader[T]:
    """Return a reader of a dataclass. Keys for fields with a default are optional.

    Args:
        cls: The dataclass. A ValueError that it raises becomes a ModelError.
        table: The readers of its fields; by default they are derived from the types (see `reader_of`).
    """
    if table is None:
        hints = typing.get_type_hints(cls, include_extras=True)
        table = {f.name: reader_of(hints[f.name]) for f in fields(cast(Any, cls))}
    readers = table
    needed = {f.name for f in fields(cast(Any, cls)) if f.default is f.default_factory}

    def read(value: object, where: str) -> T:
        data = any_object(value, where)
        if unknown := sorted(set(data) - set(readers)):
            fail(where, f"unknown key {_shortened(unknown[0])}; known keys: {', '.join(readers)}")
        if missing := sorted(needed - set(data)):
            fail(where, f"key {missing[0]} is missing")
        values = {key: readers[key](one, key_path(where, key)) for key, one in data.items()}
        try:
            return cls(**values)
        except ValueError as error:
            fail(where, str(error))

    return read


def reader_of(hint: Any) -> Reader[Any]:
    """Return the reader of a type: a scalar, a tuple of any length, a dataclass, `Annotated[type, reader]`.

    For an optional type it is the reader of the type itself, because None stands for a missing key.
    """
    if typing.get_origin(hint) is Annotated:
        return cast(Reader[Any], typing.get_args(hint)[1])
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        (hint,) = (one for one in typing.get_args(hint) if one is not types.NoneType)
    if typing.get_origin(hint) is tuple:
        return list_of(reader_of(typing.get_args(hint)[0]))
    if is_dataclass(hint):
        return record(cast(Callable[..., Any], hint))
    return _SCALARS[hint]


_SCALARS: dict[Any, Reader[Any]] = {
    bool: boolean,
    int: integer(),
    float: number(),
    str: text(r"(?s).*", "text"),
}


def read_as(kind: type[EdgeharferError], reader: Reader[T], value: object, where: str) -> T:
    """Read a value and raise errors as `kind` in place of ModelError."""
    try:
        return reader(value, where)
    except ModelError as error:
        raise kind(str(error)) from error


def key_path(where: str, key: str) -> str:
    """Return the location of a key inside a location."""
    return f"{where}.{key}" if ": " in where else f"{where}: {key}"


def _shortened(key: str) -> str:
    return repr(key if len(key) <= 40 else key[:40] + "…")


def compact_json(content: object) -> str:
    """Return JSON on one line without spaces.

    Raises:
        ValueError: The content has NaN or infinity, which JSON cannot represent.
    """
    return json.dumps(content, separators=(",", ":"), allow_nan=False)
