"""What the picker offers, how it previews that, and when `run` asks at all."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from edgeharfer.cli import run_command
from edgeharfer.cli.picker import menu as module
from edgeharfer.cli.picker.menu import Menu, MenuItem
from edgeharfer.cli.picker.preview import Preview, PreviewState
from edgeharfer.runtime.clock import SystemClock
from edgeharfer.runtime.errors import CameraError
from edgeharfer.runtime.source.cameras import Camera
from edgeharfer.runtime.source.demo import DemoSource
from mjpeg_server import wait_until

FIRST, SECOND = Camera("/dev/v4l/by-id/first", 0, "First"), Camera("/dev/v4l/by-id/second", 2, "Second")


class Bench:
    """Opens demos in place of all sources, and remembers what is open; "bad" cannot be opened."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.most_open = 0
        self._open = 0
        self._lock = threading.Lock()

    def __call__(self, spec: str, *, stopping: Callable[[], bool]) -> DemoSource:
        self.asked.append(spec)
        if spec == "bad":
            raise CameraError("camera bad: another program may use it")
        if spec == "defect":
            raise ZeroDivisionError("a defect")
        if spec == "hangs":
            wait_until(stopping)
            raise KeyboardInterrupt
        bench = self

        class Counted(DemoSource):
            def _release(self) -> None:
                bench.count(-1)

        self.count(1)
        return Counted(SystemClock())

    def count(self, by: int) -> None:
        with self._lock:
            self._open += by
            self.most_open = max(self.most_open, self._open)


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.fixture
def cameras() -> list[Camera]:
    return [FIRST, SECOND]


@pytest.fixture
def menu(bench: Bench, cameras: list[Camera]) -> Iterator[Menu]:
    with closing(Menu(lambda: list(cameras), bench)) as made:
        yield made


def test_cameras_stand_first_then_the_demo_and_a_file(menu: Menu) -> None:
    assert [choice.title for choice in menu.choices] == ["First", "Second", "Demo", "A file…"]
    assert (menu.selected.source, menu.selected.detail) == ("/dev/v4l/by-id/first", "/dev/video0")
    assert menu.summary == "2 cameras found"


def test_the_ends_of_the_menu_are_ends(menu: Menu) -> None:
    menu.move(-1)
    assert menu.index == 0
    menu.move(99)
    assert menu.selected == module.FILE
    assert menu.preview.message == "Press Enter to open a video or an image."


def test_one_camera_is_open_at_a_time(menu: Menu, bench: Bench) -> None:
    wait_until(lambda: menu.preview.state is PreviewState.LIVE)
    menu.move(1)
    wait_until(lambda: menu.preview.state is PreviewState.LIVE)
    menu.move(2)
    menu.select(0)
    wait_until(lambda: menu.preview.image is not None)
    assert menu.preview.message == "drawn 640x480 at 30 fps"
    assert bench.asked == [FIRST.path, SECOND.path, FIRST.path]
    assert bench.most_open == 1


def test_closing_waits_until_all_is_let_go(bench: Bench) -> None:
    made = Menu(lambda: [FIRST, Camera("hangs", 1, "Hangs")], bench)
    made.move(1)
    made.move(1)
    made.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("preview")]


def test_a_new_camera_is_selected_and_one_that_is_gone_is_not(menu: Menu, cameras: list[Camera]) -> None:
    menu.select(1)
    cameras.append(Camera("/dev/video4", 4, "Third"))
    menu.refresh_cameras()
    assert menu.selected.title == "Third"
    cameras.pop()
    menu.refresh_cameras()
    assert (menu.selected.title, menu.cameras) == ("First", 2)
    menu.select(1)
    menu.refresh_cameras()
    assert menu.selected.title == "Second", "as it was"


def test_without_cameras_it_says_what_to_do(bench: Bench) -> None:
    with closing(Menu(list, bench)) as made:
        assert made.selected.source == "demo"
        assert made.summary == "No camera found: plug one in and press R"


def test_a_file_is_listed_once_and_stays(menu: Menu, tmp_path: Path) -> None:
    for _ in range(2):
        menu.add_file(str(tmp_path / "walk.mp4"))
    assert menu.selected == MenuItem(str(tmp_path / "walk.mp4"), "walk.mp4", str(tmp_path))
    menu.refresh_cameras()
    assert [choice.title for choice in menu.choices] == ["First", "Second", "walk.mp4", "Demo", "A file…"]
    assert menu.selected.title == "walk.mp4"


def test_what_cannot_be_opened_says_why(bench: Bench) -> None:
    with closing(Preview("bad", bench)) as preview:
        wait_until(lambda: preview.frame.state is PreviewState.FAILED)
        assert preview.frame.message == "camera bad: another program may use it"


def test_a_defect_is_raised_where_the_picture_is_asked_for(bench: Bench) -> None:
    def raised() -> bool:
        try:
            return preview.frame is None
        except ZeroDivisionError:
            return True

    with closing(Preview("defect", bench)) as preview:
        wait_until(raised)


@pytest.mark.parametrize("arguments", [["--source", "demo"], ["--camera", "1"], ["--replay", __file__]])
def test_asking_for_what_was_said_is_a_mistake(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["run", "--pick", *arguments]) == 2
    assert "--pick cannot be combined with" in capsys.readouterr().err


def test_the_command_line_wins_over_a_pick_in_the_configuration(tmp_path: Path) -> None:
    config = tmp_path / "run.toml"
    config.write_text('pick = true\naction = "off"\nemotion = "off"\nview = "none"\n')
    options: list[Any] = ["--source", "demo", "--max-frames", "2", "--events", str(tmp_path / "e")]
    assert run_command(["run", "--config", str(config), *options]) == 0
    assert (tmp_path / "e").read_text().count('"result"') == 2
