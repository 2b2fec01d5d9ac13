"""Motion JPEG in the forms in which cameras send it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from edgeharfer.runtime.source.multipart import MAX_PART_BYTES, MultipartReader

PICTURES = [b"\xff\xd8one\n--x\n\xff\xd9", b"\xff\xd8two\r\n\xff\xd9", b"", b"\xff\xd8four\xff\xd9"]
TYPE = b"Content-Type: image/jpeg\r\n"


def reader(data: bytes, step: int) -> Callable[[int], bytes]:
    left = [data]

    def read(size: int) -> bytes:
        taken, left[0] = left[0][: min(size, step)], left[0][min(size, step) :]
        return taken

    return read


def pictures(data: bytes, boundary: str = "frame", step: int = 7) -> list[bytes]:
    parts = MultipartReader(reader(data, step), boundary)
    return list(iter(parts.next, None))


def sized(line: bytes = b"--frame\r\n", end: bytes = b"\r\n", fields: bytes = TYPE) -> bytes:
    return b"".join(line + fields + b"Content-Length: %d\r\n\r\n" % len(one) + one + end for one in PICTURES)


@pytest.mark.parametrize("step", [1, 7, 1 << 16])
@pytest.mark.parametrize(
    ("data", "boundary"),
    [
        (sized(), "frame"),
        (sized() + b"--frame--\r\n", "frame"),
        (sized(b"--frame\r\n"), "--frame"),
        (sized(), '"frame"'),
        (sized(b"--other\r\n"), "frame"),
        (sized(), ""),
        (sized().replace(b"image/jpeg", b"image/jpg"), "frame"),
        (sized().replace(b"Content-Length", b"CONTENT-length"), "frame"),
        (sized().replace(b"\r\n\r\n", b"\n\n").replace(b"jpeg\r\n", b"jpeg\n"), "frame"),
        (b"\r\n\r\n" + sized(), "frame"),
        (sized(b"", b"\r\n--frame\r\n"), "frame"),
        (sized(fields=b"X-Time: 1:2\r\n" + TYPE), "frame"),
        (sized(fields=b""), "frame"),
        (b"--frame\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello\r\n" + sized(), "frame"),
    ],
)
def test_parts_with_a_length(data: bytes, boundary: str, step: int) -> None:
    assert pictures(data, boundary, step) == PICTURES


@pytest.mark.parametrize("step", [1, 7, 1 << 16])
@pytest.mark.parametrize("boundary", ["frame", "--frame", "else"])
def test_parts_without_a_length_end_at_the_boundary(boundary: str, step: int) -> None:
    data = b"".join(b"--frame\r\n" + TYPE + b"\r\n" + one + b"\r\n" for one in PICTURES) + b"--frame--\r\n"
    assert pictures(data, boundary, step) == PICTURES
    bare = b"".join(b"--frame\r\n\r\n" + one + b"\r\n" for one in PICTURES) + b"--frame--\r\n"
    assert pictures(bare, boundary, step) == PICTURES


def test_a_wrong_length_costs_one_picture() -> None:
    data = sized().replace(b"Content-Length: %d" % len(PICTURES[1]), b"Content-Length: 2")
    assert pictures(data) == [PICTURES[0], PICTURES[1][:2], *PICTURES[2:]]


@pytest.mark.parametrize(
    "data",
    [
        b"", b"hello", bytes(100_000), b"--frame\r\n", sized()[:20], b"a: b\r\n" * 1000,
        b"--frame\r\nContent-Length: 99999999999999\r\n\r\nabc", b"--frame\r\nContent-Length: -1\r\n\r\nabc",
    ],
)  # fmt: skip
def test_what_holds_no_whole_picture_is_the_end(data: bytes) -> None:
    assert pictures(data, step=4096) == []


def test_a_picture_without_an_end_is_given_up() -> None:
    asked: list[int] = []

    def endless(size: int) -> bytes:
        asked.append(size)
        return bytes(1 << 20) if len(asked) > 1 else b"--frame\r\n\r\n"

    assert MultipartReader(endless, "frame").next() is None
    assert len(asked) < MAX_PART_BYTES // (1 << 20) + 4
