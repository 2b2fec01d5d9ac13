"""`run --pick` in a window, on a real X server as small as a kiosk's panel, by keys and by pointer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edgeharfer.runtime.types import Image
from mjpeg_server import MjpegServer
from x_server import PATIENCE_S, Screen, x_server

pytestmark = [
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Xvfb is a Linux X server"),
    pytest.mark.needs("Tk", "Xvfb", "xdotool"),
]

GREEN, RED = (40, 160, 90), (50, 60, 200)
TITLE = "edgeharfer: Choose a source"
DIALOG = "Open a video or an image"
VIEW, START = (200, 550), (438, 720)  # row and column in the middle of the picture, and of the button

# Cameras stand in a file, path, a bar, and name a line, and are opened as what their path names.
CHILD = """
import gc, json, sys
from pathlib import Path
from edgeharfer.cli.picker import pick_source
from edgeharfer.runtime.source.cameras import Camera

def find():
    lines = Path(sys.argv[1]).read_text().splitlines()
    return [Camera(line.split("|")[0], at, line.split("|")[1]) for at, line in enumerate(lines)]

gc.disable()
chosen = pick_source(lambda: False, find=find)
left = sum(type(one).__module__ == "tkinter" and hasattr(one, "tk") for one in gc.get_objects())
print(json.dumps({"chosen": chosen, "left": left}), flush=True)
"""


@pytest.fixture(scope="module")
def screen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Screen]:
    with x_server(tmp_path_factory.mktemp("screen"), "800x480") as running:
        yield running


@pytest.fixture
def cameras(tmp_path: Path) -> list[Path]:
    """Two cameras, in fact photographs: a green and a red one."""
    paths = [tmp_path / name for name in ("green.png", "red.png")]
    for path, color in zip(paths, (GREEN, RED), strict=True):
        cv2.imwrite(str(path), np.full((480, 640, 3), color, np.uint8))
    return paths


class Picking:
    """A process that shows the picker."""

    def __init__(self, screen: Screen, *command: str) -> None:
        self.screen = screen
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        self.process = subprocess.Popen(
            [sys.executable, *command], env=screen.environment(environment), text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def press(self, *keys: str) -> None:
        window = self.screen.xdotool("search", "--sync", "--onlyvisible", "--name", TITLE).split()[-1]
        self.screen.xdotool("windowfocus", "--sync", window, "key", *keys)

    def end(self) -> tuple[str, str]:
        """Standard output and error, after a good end."""
        out, complaints = self.process.communicate(timeout=PATIENCE_S)
        assert self.process.returncode == 0, complaints
        return out, complaints

    def chosen(self) -> Any:
        out, complaints = self.end()
        assert complaints == ""
        answer = json.loads(out)
        assert answer["left"] == 0, "Tk aborts where another thread's garbage collection frees its objects"
        return answer["chosen"]


Pick = Callable[..., Picking]


@pytest.fixture
def pick(screen: Screen, tmp_path: Path) -> Iterator[Pick]:
    started: list[Picking] = []
    listing = tmp_path / "cameras.txt"

    def start(*cameras: Path | str) -> Picking:
        listing.write_text("".join(f"{camera}|Camera {at}\n" for at, camera in enumerate(cameras)))
        started.append(Picking(screen, "-c", CHILD, str(listing)))
        return started[-1]

    yield start
    for child in started:
        if child.process.poll() is None:
            child.process.kill()
        child.process.communicate()


def shows(color: tuple[int, int, int]) -> Callable[[Image], bool]:
    return lambda image: bool(np.abs(image[VIEW].astype(int) - color).max() <= 3)


def test_a_camera_is_seen_and_chosen_by_keys(pick: Pick, screen: Screen, cameras: list[Path]) -> None:
    picking = pick(*cameras)
    screen.wait_for(shows(GREEN))
    picking.press("Down")
    screen.wait_for(shows(RED))
    assert screen.picture()[START[0], START[1] - 45].max() > 180, "the button stands on a small screen, too"
    picking.press("Return")
    assert picking.chosen() == str(cameras[1])


@pytest.mark.parametrize("key", ["q", "Escape"])
def test_a_key_leaves(pick: Pick, cameras: list[Path], key: str) -> None:
    picking = pick(*cameras)
    picking.press(key)
    assert picking.chosen() is None


def test_a_pointer_does_it_too(pick: Pick, screen: Screen, cameras: list[Path]) -> None:
    picking = pick(*cameras)
    screen.wait_for(shows(GREEN))
    screen.xdotool("mousemove", "150", "175", "click", "1")
    screen.wait_for(shows(RED))
    screen.xdotool("mousemove", str(START[1]), str(START[0]), "click", "1")
    assert picking.chosen() == str(cameras[1])


def test_a_camera_that_hangs_holds_nothing_up(pick: Pick, screen: Screen, cameras: list[Path]) -> None:
    with MjpegServer() as server:
        server.mute = True  # takes the connection and says nothing, as a camera behind a dead link
        picking = pick(server.url, cameras[1])
        picking.press("Down")
        screen.wait_for(shows(RED))
        picking.press("Up", "Escape")
        assert picking.chosen() is None


def test_a_camera_that_is_plugged_in_is_found_and_selected(
    pick: Pick, screen: Screen, cameras: list[Path], tmp_path: Path
) -> None:
    picking = pick(cameras[0])
    screen.wait_for(shows(GREEN))
    with (tmp_path / "cameras.txt").open("a") as listing:
        listing.write(f"{cameras[1]}|New\n")
    picking.press("r")
    screen.wait_for(shows(RED))
    picking.press("Return")
    assert picking.chosen() == str(cameras[1])


def test_a_file_is_named_in_a_dialog(pick: Pick, screen: Screen, cameras: list[Path]) -> None:
    picking = pick()
    picking.press("o")
    screen.wait_for_focus(DIALOG)
    screen.xdotool("type", str(cameras[1]))
    screen.xdotool("key", "Return")
    screen.wait_for(shows(RED))
    picking.press("Return")
    assert picking.chosen() == str(cameras[1])


LIGHT = ("--action", "off", "--emotion", "off", "--duration", "0.2")


def test_what_was_chosen_is_run_in_the_next_window(screen: Screen, tmp_path: Path) -> None:
    events = tmp_path / "events.jsonl"
    run = ("-c", "from edgeharfer.cli import main; main()", "run", "--pick", "--view", "window")
    picking = Picking(screen, *run, "--events", str(events), *LIGHT)
    picking.press("End", "Up", "Return")  # the demo stands above "A file…", the last one
    picking.end()
    kinds = [json.loads(line)["kind"] for line in events.read_text().splitlines()]
    assert kinds.count("result") > 1 and kinds[-1] == "summary"


def test_who_leaves_runs_nothing(screen: Screen, tmp_path: Path) -> None:
    events = tmp_path / "events.jsonl"
    run = ("-c", "from edgeharfer.cli import main; main()", "run", "--pick", "--view", "none")
    picking = Picking(screen, *run, "--events", str(events), *LIGHT)
    picking.press("Escape")
    assert picking.end() == ("", "")
    assert not events.exists()
