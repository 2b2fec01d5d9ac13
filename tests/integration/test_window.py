"""The window on a real X server: it opens, shows the overlay, takes keys, and closes."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np
import pytest

from edgeharfer.runtime.clock import SystemClock
from edgeharfer.runtime.source.demo import DemoSource
from edgeharfer.runtime.types import Image
from x_server import x_server

pytestmark = [
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Xvfb is a Linux X server"),
    pytest.mark.needs("Xvfb", "xdotool", "OpenCV's libraries"),
]

TITLE = "edgeharfer test"
PATIENCE_S = 60.0
COMMAND = [sys.executable, "-c", "from edgeharfer.cli import main; main()"]

# Shows frames until the window closes or the time is over; a line of JSON tells each change.
CHILD = f"""
import json, sys, time
import cv2, numpy as np
from edgeharfer.runtime.sinks.window import WindowSink
from edgeharfer.runtime.stats import Status
from edgeharfer.runtime.result import Result
from edgeharfer.runtime.types import Action, Frame
frame = Frame(0, 0.0, 0.0, np.full((240, 320, 3), (40, 160, 90), np.uint8))
result = Result(0, 0.0, 1.0, readings={{"action": Action("Biking", 0.7, ready=True)}})
told = None
with WindowSink({TITLE!r}, fullscreen="--fullscreen" in sys.argv) as sink:
    end = time.monotonic() + {PATIENCE_S}
    while not sink.closed and time.monotonic() < end:
        if told is None:
            sink.write(frame, result, Status())
        else:
            sink.refresh(Status())
        if sink.closed:
            break
        now = bool(cv2.getWindowProperty({TITLE!r}, cv2.WND_PROP_FULLSCREEN))
        if now != told:
            told = now
            print(json.dumps({{"fullscreen": now}}), flush=True)
        time.sleep(0.01)
print(json.dumps({{"closed": sink.closed}}), flush=True)
"""


@pytest.fixture(scope="module")
def screen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which the X server keeps what is on its screen."""
    return tmp_path_factory.mktemp("screen")


@pytest.fixture(scope="module")
def display(screen: Path) -> Iterator[str]:
    """An X server of its own, on a display number that it chooses."""
    with x_server(screen, "1280x800") as server:
        yield server.name


class Shown:
    """The child process that shows the window."""

    def __init__(
        self, display: str, *options: str, command: Sequence[str] = (), title: str = TITLE, **more: str
    ) -> None:
        self.title = title
        self.env = {**os.environ, **more, "DISPLAY": display, "PYTHONPATH": os.pathsep.join(sys.path)}
        self.process = subprocess.Popen(
            command or [sys.executable, "-c", CHILD, *options],
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def told(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.process.communicate()[1]
        news: dict[str, Any] = json.loads(line)
        return news

    def xdotool(self, *words: str) -> str:
        command = ["xdotool", *words]
        return subprocess.run(
            command, env=self.env, check=True, capture_output=True, text=True, timeout=PATIENCE_S
        ).stdout

    def window(self) -> str:
        return self.xdotool("search", "--sync", "--onlyvisible", "--name", f"^{self.title}$").split()[-1]

    def press(self, key: str) -> None:
        self.xdotool("key", "--window", self.window(), key)

    def end(self) -> str:
        """Wait for a clean end; what stood on stderr."""
        _, complaints = self.process.communicate(timeout=PATIENCE_S)
        assert self.process.returncode == 0, complaints
        return complaints


@pytest.fixture
def show(display: str) -> Iterator[Callable[..., Shown]]:
    shown: list[Shown] = []

    def start(*options: str, **more: str) -> Shown:
        shown.append(Shown(display, *options, **more))
        return shown[-1]

    yield start
    for child in shown:
        if child.process.poll() is None:
            child.process.kill()
        child.process.communicate()


@pytest.mark.parametrize("key", ["q", "Escape"])
def test_a_key_closes_the_window_without_a_word(show: Callable[..., Shown], key: str) -> None:
    child = show()
    assert child.told() == {"fullscreen": False}
    child.press(key)
    assert child.told() == {"closed": True}
    assert child.end() == "", "Qt complains of nothing"


def test_other_keys_do_nothing_and_f_toggles_full_screen(show: Callable[..., Shown]) -> None:
    child = show()
    assert child.told() == {"fullscreen": False}
    child.press("a")
    child.press("f")
    assert child.told() == {"fullscreen": True}
    child.press("f")
    assert child.told() == {"fullscreen": False}
    child.press("q")
    assert child.told() == {"closed": True}


def test_it_can_open_in_full_screen(show: Callable[..., Shown]) -> None:
    child = show("--fullscreen")
    assert child.told() == {"fullscreen": True}


def test_the_button_of_the_window_closes_it(show: Callable[..., Shown]) -> None:
    child = show()
    assert child.told() == {"fullscreen": False}
    press_close_button(child.env["DISPLAY"], int(child.window()))
    assert child.told() == {"closed": True}
    child.end()


def test_the_picture_is_on_the_screen(show: Callable[..., Shown], screen: Path) -> None:
    child = show()
    assert child.told() == {"fullscreen": False}
    image = painted(screen)
    assert image[240, 320].tolist() == pytest.approx([40, 160, 90], abs=3)
    assert image[440:460, 60:120].max() > 240, "the action is written at the bottom"
    assert image[479, 639].any(), "a small picture is enlarged to 640x480"
    assert not image[480:].any()
    assert not image[:, 640:].any()


# Qt names the thread that reads the X server's events when that thread begins; here it begins late.
LATE_THREAD = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <string.h>
#include <unistd.h>
#define PR_SET_NAME 15

int prctl(int option, unsigned long a, unsigned long b, unsigned long c, unsigned long d) {
    int (*real)(int, ...) = dlsym(RTLD_NEXT, "prctl");
    if (option == PR_SET_NAME && strcmp((char *)a, "QXcbEventQueue") == 0) usleep(300000);
    return real(option, a, b, c, d);
}
"""


@pytest.mark.needs("a C compiler")
def test_the_picture_is_there_when_the_toolkit_is_slow_to_start(
    show: Callable[..., Shown], screen: Path, tmp_path: Path
) -> None:
    """As on a busy machine, where the window was mapped before Qt's thread listened, and never painted."""
    (tmp_path / "late.c").write_text(LATE_THREAD)
    library = tmp_path / "late.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, tmp_path / "late.c", "-ldl"], check=True)
    child = show(LD_PRELOAD=str(library))
    assert child.told() == {"fullscreen": False}
    assert painted(screen)[240, 320].tolist() == pytest.approx([40, 160, 90], abs=3)


def painted(screen: Path) -> Image:
    """The screen once there is something in the middle of the window: the toolkit paints when it likes."""
    end = time.monotonic() + PATIENCE_S
    while not (image := on_screen(screen))[240, 320].any() and time.monotonic() < end:
        time.sleep(0.05)
    return image


def on_screen(folder: Path) -> Image:
    """What Xvfb shows, from the file that it keeps in memory (XWD, X11/XWDFile.h; 32 bits a pixel)."""
    data = (folder / "Xvfb_screen0").read_bytes()
    header = np.frombuffer(data, ">u4", 20)
    start, width, height, stride, colors = (int(header[i]) for i in (0, 4, 5, 12, 19))
    rows = np.frombuffer(data, np.uint8, height * stride, start + 12 * colors)
    return rows.reshape(height, stride)[:, : 4 * width].reshape(height, width, 4)[:, :, :3]


@pytest.mark.parametrize("end", ["key", "SIGTERM"])
def test_a_photograph_stays_in_the_window_until_a_key_or_a_stop(
    end: str, display: str, screen: Path, tmp_path: Path
) -> None:
    photo, saved = tmp_path / "photo.png", tmp_path / "out.png"
    cv2.imwrite(str(photo), DemoSource(SystemClock()).picture(0))
    words = ["run", "--source", str(photo), "--save", str(saved), "--action", "off"]
    shown = Shown(display, command=[*COMMAND, *words], title="edgeharfer")
    try:
        assert shown.process.stderr is not None
        told = [shown.process.stderr.readline() for _ in range(3)]
        assert "press a key in the window or Ctrl-C" in told[0]
        assert "face 1: happy · face 2: happy\n" in told[1]
        assert told[2].startswith("1 frames, 0 dropped"), "the source is at its end"
        wait_until(lambda: bool(on_screen(screen)[:480, :640].any()))
        wait_until(lambda: bool((on_screen(screen)[:480, :640] == read(saved)).mean() > 0.99))
        assert shown.process.poll() is None
        if end == "key":
            shown.press("space")
        else:
            shown.process.terminate()
        shown.end()
    finally:
        shown.process.kill()
        shown.process.communicate()


def read(path: Path) -> Image:
    image = cv2.imread(str(path))
    assert image is not None
    return np.asarray(image, np.uint8)


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, "it did not come on the screen"
        time.sleep(0.02)


def test_without_a_display_it_is_one_clear_line_and_no_abort(display: str) -> None:
    child = Shown(":991")
    _, complaints = child.process.communicate(timeout=PATIENCE_S)
    assert child.process.returncode == 1, "an exception, no signal"
    assert "ProviderError: cannot open a window: no display is available (DISPLAY is :991)" in complaints


def press_close_button(display: str, window: int) -> None:
    """What a window manager sends when its close button is pressed (ICCCM 4.2.8.1)."""
    x11 = ctypes.CDLL("libX11.so.6")
    x11.XOpenDisplay.restype = ctypes.c_void_p
    x11.XInternAtom.restype = ctypes.c_ulong
    x11.XInternAtom.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int]
    x11.XSendEvent.argtypes = [
        ctypes.c_void_p,
        ctypes.c_ulong,
        ctypes.c_int,
        ctypes.c_long,
        ctypes.c_void_p,
    ]
    x11.XCloseDisplay.argtypes = [ctypes.c_void_p]
    link = x11.XOpenDisplay(display.encode())
    kind = x11.XInternAtom(link, b"WM_PROTOCOLS", 0)
    wish = x11.XInternAtom(link, b"WM_DELETE_WINDOW", 0)
    event = ClientMessage(33, 0, 1, link, window, kind, 32, (ctypes.c_long * 5)(wish, 0, 0, 0, 0))
    assert x11.XSendEvent(link, window, 0, 0, ctypes.byref(event))
    x11.XCloseDisplay(link)  # flushes


class ClientMessage(ctypes.Structure):
    """`XClientMessageEvent` of Xlib.h, padded to the size of an `XEvent`."""

    _fields_: ClassVar = [
        ("type", ctypes.c_int),
        ("serial", ctypes.c_ulong),
        ("send_event", ctypes.c_int),
        ("display", ctypes.c_void_p),
        ("window", ctypes.c_ulong),
        ("message_type", ctypes.c_ulong),
        ("format", ctypes.c_int),
        ("data", ctypes.c_long * 5),
        ("padding", ctypes.c_char * 128),
    ]
