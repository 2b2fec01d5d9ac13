"""The picker's menu in a terminal: its keys, its lines, its picture."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

if sys.platform == "win32":
    pytest.skip("Windows has no terminals of this kind", allow_module_level=True)

import pty

from edgeharfer.cli.picker import terminal
from edgeharfer.cli.picker.keys import Keys
from edgeharfer.cli.picker.menu import Menu
from edgeharfer.runtime.clock import SystemClock
from edgeharfer.runtime.source.cameras import Camera
from edgeharfer.runtime.source.demo import DemoSource
from mjpeg_server import wait_until


@pytest.fixture
def menu() -> Iterator[Menu]:
    """One camera, which shows the demo."""
    camera = Camera("/dev/video0", 0, "A webcam with a name that is longer than most terminals are wide")
    with closing(Menu(lambda: [camera], lambda spec, stopping: DemoSource(SystemClock()))) as made:
        yield made


@pytest.mark.parametrize(
    ("typed", "keys"),
    [
        (b"\x1b[A\x1b[B", ["up", "down"]),
        (b"\x1bOA", ["up"]),
        (b"\x1b", ["escape"]),
        (b"aq\r", ["a", "q", "enter"]),
        ("é日".encode(), ["é", "日"]),
        (b"\x1b[15~\x1b[1;5Cx", ["x"]),
        (b"\x7f\t", ["backspace", "tab"]),
    ],
)
def test_keys_have_names(typed: bytes, keys: list[str]) -> None:
    master, slave = pty.openpty()
    try:
        with Keys(slave) as reader:
            os.write(master, typed)
            found = [reader.next(1.0)]
            while (key := reader.next(0.0)) is not None:
                found.append(key)
    finally:
        os.close(master)
        os.close(slave)
    assert found == keys


def test_the_keys_of_a_terminal_that_is_gone_end() -> None:
    reader, writer = os.pipe()
    os.close(writer)
    try:
        with pytest.raises(EOFError):
            Keys(reader).next(0.1)
    finally:
        os.close(reader)


@pytest.mark.parametrize("size", [(20, 8), (60, 20), (80, 24), (200, 60)])
def test_the_lines_fill_the_terminal_and_no_more(size: tuple[int, int], menu: Menu) -> None:
    wait_until(lambda: menu.preview.image is not None)
    for keys in ((), ("end",), ("o", *"/some/where")):
        shown = terminal.TerminalMenu(menu, sys.stderr, 256, "a note")
        for key in keys:
            shown.press(key)
        lines = shown.lines(*size)
        assert len(lines) == size[1]
        plain = [re.sub(r"\x1b\[\d+G.*|\x1b\[[0-9;]*m", "", line) for line in lines]
        assert max(map(len, plain)) <= size[0]


@pytest.mark.parametrize(
    ("environment", "colors"),
    [
        ({"TERM": "xterm"}, 0),
        ({"TERM": "xterm-256color"}, 256),
        ({"TERM": "xterm", "COLORTERM": "truecolor"}, 1 << 24),
        ({"TERM": "xterm-256color", "NO_COLOR": "1"}, 0),
    ],
)
def test_colors_are_those_of_the_terminal(environment: dict[str, str], colors: int) -> None:
    assert terminal.color_count(environment) == colors


def test_a_cell_is_two_pixels() -> None:
    picture = np.zeros((2, 1, 3), np.uint8)
    picture[0], picture[1] = (0, 0, 255), (255, 0, 0)  # red above blue, as BGR
    assert terminal.half_blocks(picture, 1, 9, 1 << 24) == ["\x1b[38;2;255;0;0;48;2;0;0;255m▀\x1b[0m"]
    assert terminal.half_blocks(picture, 1, 9, 256) == ["\x1b[38;5;196;48;5;21m▀\x1b[0m"]


@pytest.mark.parametrize(
    ("typed", "meant"), [(" 'a b.mp4' ", "a b.mp4"), ('"x"', "x"), ("it's", "it's"), ("'", "'")]
)
def test_quotes_of_a_dropped_file_are_not_part_of_it(typed: str, meant: str) -> None:
    assert terminal.strip_quotes(typed) == meant


def test_tab_completes_as_far_as_the_names_agree(tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    for name in ("walk-1.mp4", "walk-2.mp4", ".hidden"):
        (tmp_path / "clips" / name).touch()
    base = str(tmp_path)
    assert terminal.complete_path(f"{base}/cl") == f"{base}/clips/"
    assert terminal.complete_path(f"{base}/clips/") == f"{base}/clips/walk-"
    assert terminal.complete_path(f"{base}/clips/walk-2") == f"{base}/clips/walk-2.mp4"
    assert terminal.complete_path(f"{base}/none/x") == f"{base}/none/x"
    assert terminal.complete_path(f"{base}/x") == f"{base}/x"


def test_a_menu_takes_its_keys(menu: Menu, tmp_path: Path) -> None:
    shown = terminal.TerminalMenu(menu, sys.stderr, 0)
    for key in ("down", "o", "x", "escape", "o", *str(tmp_path), "/", "y", "backspace", "z", "enter"):
        shown.press(key)
    assert menu.selected.source == str(tmp_path / "z")
    shown.press("enter")
    assert (shown.done, shown.chosen) == (True, str(tmp_path / "z"))


def test_the_last_choice_asks_for_a_file(menu: Menu) -> None:
    shown = terminal.TerminalMenu(menu, sys.stderr, 0)
    for key in ("end", "enter"):
        shown.press(key)
    assert not shown.done
    assert any("File:" in line for line in shown.lines(80, 24))
