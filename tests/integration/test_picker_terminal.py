"""`run --pick` in a terminal: a pseudo terminal that is typed on, and what stands on it afterwards."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

if sys.platform == "win32":
    pytest.skip("Windows has no pseudo terminals of this kind", allow_module_level=True)

import fcntl
import pty
import struct
import termios

PATIENCE_S = 60.0
TITLE = "Choose a source"
RUN = ("-c", "from edgeharfer.cli import main; main()", "run", "--pick", "--view", "none")
LIGHT = ("--action", "off", "--emotion", "off", "--duration", "0.2")
UP, END, ESCAPE, ENTER = "\x1b[A", "\x1b[F", "\x1b", "\r"


class Terminal:
    """A process on a pseudo terminal of 100 columns and 30 rows; results go elsewhere, as in a pipe."""

    def __init__(self, *command: str) -> None:
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
        self.slave, self.before = slave, termios.tcgetattr(slave)
        environment = {
            **os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "TERM": "xterm-256color", "COLORTERM": "",
        }  # fmt: skip
        environment.pop("DISPLAY", None)
        self.process = subprocess.Popen(
            [sys.executable, *command], env=environment, stdin=slave, stdout=subprocess.PIPE, stderr=slave
        )
        self.text = ""

    def type(self, keys: str) -> None:
        os.write(self.master, keys.encode())

    def wait_for(self, words: str) -> None:
        """Until the words came, anywhere since the start."""
        end = time.monotonic() + PATIENCE_S
        while words not in self.text:
            assert time.monotonic() < end, self.text[-2000:]
            self.take_in()

    def take_in(self) -> None:
        if select.select([self.master], [], [], 0.05)[0]:
            self.text += os.read(self.master, 1 << 16).decode("utf-8", "replace")

    def end(self) -> int:
        """Its exit code; the terminal must be as it was."""
        end = time.monotonic() + PATIENCE_S
        while self.process.poll() is None:
            assert time.monotonic() < end, self.text[-2000:]
            self.take_in()
        self.take_in()
        assert self.process.stdout is not None
        self.process.stdout.close()
        assert termios.tcgetattr(self.slave) == self.before
        return self.process.returncode

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.end()
        os.close(self.master)
        os.close(self.slave)


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Callable[..., Terminal]]:
    started: list[Terminal] = []

    def start(*options: str) -> Terminal:
        started.append(Terminal(*RUN, "--events", str(tmp_path / "events.jsonl"), *LIGHT, *options))
        started[-1].wait_for(TITLE)
        return started[-1]

    yield start
    for one in started:
        one.close()


def kinds(tmp_path: Path) -> list[str]:
    events = tmp_path / "events.jsonl"
    return [json.loads(line)["kind"] for line in events.read_text().splitlines()] if events.exists() else []


def test_the_demo_is_seen_chosen_and_run(terminal: Callable[..., Terminal], tmp_path: Path) -> None:
    one = terminal()
    one.type(END + UP)  # the demo stands above "A file…", the last one
    one.wait_for("▀")
    one.type(ENTER)
    assert one.end() == 0
    assert kinds(tmp_path).count("result") > 1
    assert "\x1b[?1049h" in one.text and "\x1b[?1049l" in one.text, "what stood there before is there again"


@pytest.mark.parametrize("key", ["q", ESCAPE])
def test_a_key_leaves_and_nothing_is_run(terminal: Callable[..., Terminal], tmp_path: Path, key: str) -> None:
    one = terminal()
    one.type(key)
    assert one.end() == 0
    assert kinds(tmp_path) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves(terminal: Callable[..., Terminal], tmp_path: Path, number: int) -> None:
    one = terminal()
    one.process.send_signal(number)
    assert one.end() == 0
    assert kinds(tmp_path) == []


def test_a_file_is_typed_with_some_help(terminal: Callable[..., Terminal], tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    cv2.imwrite(str(tmp_path / "pictures" / "street.png"), np.full((48, 64, 3), 90, np.uint8))
    one = terminal()
    one.type("o")
    one.wait_for("File:")
    one.type(f"{tmp_path}/pic\tst\t")
    one.wait_for("street.png")
    one.type(ENTER)
    one.wait_for("64x48")
    one.type(ENTER)
    assert one.end() == 0
    assert kinds(tmp_path) == ["result", "summary"]


def test_where_nobody_can_be_asked_it_is_one_line_and_exit_code_2() -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    environment.pop("DISPLAY", None)
    done = subprocess.run(
        [sys.executable, *RUN], env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=PATIENCE_S, check=False,
    )  # fmt: skip
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.splitlines() == [
        "edgeharfer: --pick needs a display or a terminal (no display is available); use --source instead"
    ]
