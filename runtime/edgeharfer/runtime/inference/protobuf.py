"""The protobuf wire format, read by hand (https://protobuf.dev/programming-guides/encoding)."""

from __future__ import annotations

from collections.abc import Iterator

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
Field = tuple[int, int, int, memoryview]
"""Number, wire type, value of a number, content of a length-delimited field."""


class MalformedModelError(Exception):
    """Why bytes are refused, in words; the caller adds the name of the file."""


class FieldBudget:
    """How many fields may still be read, in all messages together: each costs about a microsecond."""

    def __init__(self, fields: int) -> None:
        self._fields = self._left = fields

    def spend(self) -> None:
        """One field. Raises DamagedError where there were too many."""
        self._left -= 1
        if self._left < 0:
            raise MalformedModelError(f"has more than {self._fields} parts, too many for a model")


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while shift < 70 and at < len(data):
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFF_FFFF_FFFF_FFFF, at
        shift += 7
    raise MalformedModelError("damaged: a number in the file does not end")


def read_fields(data: memoryview, budget: FieldBudget) -> Iterator[Field]:
    """The fields of one message, in order. Raises DamagedError where the bytes make no sense."""
    at, size, empty = 0, len(data), data[:0]
    while at < size:
        budget.spend()
        tag, at = _varint(data, at)
        number, wire = tag >> 3, tag & 7
        value, length = 0, 0
        if wire == VARINT:
            value, at = _varint(data, at)
        elif wire == BYTES:
            length, at = _varint(data, at)
        elif wire in (FIXED32, FIXED64):
            length = 4 if wire == FIXED32 else 8
        else:
            raise MalformedModelError("not an ONNX model, or damaged")
        if number == 0 or number >= 1 << 29 or length > size - at:
            raise MalformedModelError("not an ONNX model, or cut short")
        yield number, wire, value, data[at : at + length] if length else empty
        at += length


def expect_wire_type(field: Field, *wires: int) -> None:
    """Known fields must have their own wire type, or another reader could see another model."""
    if field[1] not in wires:
        raise MalformedModelError(f"damaged: field {field[0]} has wire type {field[1]}")


def signed(value: int) -> int:
    """A varint as int64, by two's complement."""
    return value - (1 << 64) if value >= 1 << 63 else value


def _text(content: memoryview) -> str:
    try:
        return str(content, "utf-8")
    except UnicodeDecodeError as error:
        raise MalformedModelError("damaged: a name is not text") from error


def as_string(field: Field) -> str:
    """A string field."""
    expect_wire_type(field, BYTES)
    return _text(field[3])


def as_integers(field: Field) -> list[int]:
    """A repeated integer, packed or not."""
    expect_wire_type(field, VARINT, BYTES)
    if field[1] == VARINT:
        return [signed(field[2])]
    values, at = [], 0
    while at < len(field[3]):
        value, at = _varint(field[3], at)
        values.append(signed(value))
    return values


def submessages(data: memoryview, number: int, budget: FieldBudget) -> list[memoryview]:
    """Contents of each message field of that number."""
    found = [field for field in read_fields(data, budget) if field[0] == number]
    for field in found:
        expect_wire_type(field, BYTES)
    return [field[3] for field in found]


def last_submessage(data: memoryview, number: int, budget: FieldBudget) -> memoryview:
    """Content of the last one, empty if there is none."""
    found = submessages(data, number, budget)
    return found[-1] if found else data[:0]
