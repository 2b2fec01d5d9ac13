"""Reader of the protobuf wire format (https://protobuf.dev/programming-guides/encoding)."""

from __future__ import annotations

from collections.abc import Iterator

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
Field = tuple[int, int, int, memoryview]
"""Field number, wire type, value of a varint, content of a length-delimited or fixed-size field."""


class MalformedModelError(Exception):
    """The bytes are refused. The caller adds the name of the file."""


class FieldBudget:
    """The number of fields that may still be read, over all messages. Each takes about a microsecond."""

    def __init__(self, fields: int) -> None:
        self._fields = self._left = fields

    def spend(self) -> None:
        """Count one field. Raises MalformedModelError if the limit is exceeded."""
        self._left -= 1
        if self._left < 0:
            raise MalformedModelError(f"has more than {self._fields} protobuf fields, too many for a model")


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while shift < 70 and at < len(data):
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFF_FFFF_FFFF_FFFF, at
        shift += 7
    raise MalformedModelError("damaged: a varint is not terminated")


def read_fields(data: memoryview, budget: FieldBudget) -> Iterator[Field]:
    """Yield the fields of a message in order. Raises MalformedModelError for invalid bytes."""
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
            raise MalformedModelError("not an ONNX model, or truncated")
        yield number, wire, value, data[at : at + length] if length else empty
        at += length


def expect_wire_type(field: Field, *wires: int) -> None:
    """Check the wire type of a known field, since another reader could see another model otherwise."""
    if field[1] not in wires:
        raise MalformedModelError(f"damaged: field {field[0]} has wire type {field[1]}")


def signed(value: int) -> int:
    """Convert a varint to int64 (two's complement)."""
    return value - (1 << 64) if value >= 1 << 63 else value


def _text(content: memoryview) -> str:
    try:
        return str(content, "utf-8")
    except UnicodeDecodeError as error:
        raise MalformedModelError("damaged: a name is not valid UTF-8") from error


def as_string(field: Field) -> str:
    """Return the value of a string field."""
    expect_wire_type(field, BYTES)
    return _text(field[3])


def as_integers(field: Field) -> list[int]:
    """Return the values of a repeated integer field, packed or not."""
    expect_wire_type(field, VARINT, BYTES)
    if field[1] == VARINT:
        return [signed(field[2])]
    values, at = [], 0
    while at < len(field[3]):
        value, at = _varint(field[3], at)
        values.append(signed(value))
    return values


def submessages(data: memoryview, number: int, budget: FieldBudget) -> list[memoryview]:
    """Return the content of each message field with that number."""
    found = [field for field in read_fields(data, budget) if field[0] == number]
    for field in found:
        expect_wire_type(field, BYTES)
    return [field[3] for field in found]


def last_submessage(data: memoryview, number: int, budget: FieldBudget) -> memoryview:
    """Return the content of the last message field with that number, empty if there is none."""
    found = submessages(data, number, budget)
    return found[-1] if found else data[:0]


def write_field(
    number: int, value: int | str | bytes, wire: int | None = None, fixed: bytes | memoryview = b""
) -> bytes:
    """Write one field: an integer as a varint, a text or bytes with their length, or a fixed-size value.

    Args:
        number: Field number.
        value: The value.
        wire: Wire type, if it is that of a fixed-size value.
        fixed: Content of a fixed-size value.
    """
    if wire in (FIXED32, FIXED64):
        return _write_varint(number << 3 | wire) + bytes(fixed)
    if isinstance(value, int):
        return _write_varint(number << 3 | VARINT) + _write_varint(value)
    content = value.encode() if isinstance(value, str) else value
    return _write_varint(number << 3 | BYTES) + _write_varint(len(content)) + content


def _write_varint(value: int) -> bytes:
    value &= 0xFFFF_FFFF_FFFF_FFFF
    written = bytearray()
    while value > 0x7F:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    written.append(value)
    return bytes(written)
