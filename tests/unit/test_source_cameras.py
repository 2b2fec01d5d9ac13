"""Finding cameras, in a tree that looks as Linux's /sys, /dev and /run do, and by trying numbers."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from edgeharfer.runtime.source.cameras import PROBE_COUNT, Camera, find_cameras
from edgeharfer.runtime.types import Image

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the tree is Linux's")


class Machine:
    """A folder that stands for /, into which video nodes are put."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "dev/v4l/by-id").mkdir(parents=True)
        (root / "run/udev/data").mkdir(parents=True)

    def node(
        self, number: int, name: str, *, index: int = 0, can: str | None = None, link: str | None = None
    ) -> None:
        """can: what udev noted of it, such as ":capture:"; None where udev does not run."""
        sysfs = self.root / f"sys/class/video4linux/video{number}"
        sysfs.mkdir(parents=True)
        for file, text in (("name", name), ("index", str(index)), ("dev", f"81:{number}")):
            (sysfs / file).write_text(f"{text}\n")
        (self.root / f"dev/video{number}").touch()
        if can is not None:
            note = f"S:v4l/x\nE:ID_V4L_VERSION=2\nE:ID_V4L_CAPABILITIES={can}\nG:uaccess\n"
            (self.root / f"run/udev/data/c81:{number}").write_text(note)
        if link is not None:
            (self.root / "dev/v4l/by-id" / link).symlink_to(f"../../video{number}")


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@linux
def test_a_camera_goes_by_its_serial_number_and_its_metadata_node_is_none(machine: Machine) -> None:
    machine.node(0, "HD Webcam: HD Web", can=":capture:", link="usb-HD_Webcam_7-video-index0")
    machine.node(1, "HD Webcam: HD Web", index=1, can=":", link="usb-HD_Webcam_7-video-index1")
    path = "/dev/v4l/by-id/usb-HD_Webcam_7-video-index0"
    assert find_cameras(machine.root) == [Camera(path, 0, "HD Webcam")]


@linux
def test_they_come_by_number_and_codecs_are_none(machine: Machine) -> None:
    machine.node(10, "bcm2835-codec-decode", can=":video_output:")
    machine.node(12, "Second", can=":capture:")
    machine.node(4, "Depth", index=2, can=":capture:tuner:")
    machine.node(2, "First", can=":capture:")
    found = find_cameras(machine.root)
    assert [(camera.index, camera.name) for camera in found] == [(2, "First"), (4, "Depth"), (12, "Second")]
    assert found[0].path == "/dev/video2"


@linux
def test_without_udev_the_first_node_of_each_camera_counts(machine: Machine) -> None:
    machine.node(0, "Webcam")
    machine.node(1, "Webcam", index=1)
    assert [camera.index for camera in find_cameras(machine.root)] == [0]


@linux
def test_what_was_not_handed_into_the_container_is_no_camera(machine: Machine) -> None:
    machine.node(0, "Webcam")
    (machine.root / "dev/video0").unlink()
    assert find_cameras(machine.root) == []


@linux
@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("Integrated Camera: Integrated C", "Integrated Camera"),
        ("Integrated Camera: Integrated I", "Integrated Camera: Integrated I"),
        ("USB 2.0 Camera", "USB 2.0 Camera"),
        ("", "video0"),
    ],
)
def test_a_name_is_said_once(machine: Machine, name: str, shown: str) -> None:
    machine.node(0, name)
    assert find_cameras(machine.root)[0].name == shown


@linux
def test_a_machine_without_cameras_has_none(tmp_path: Path) -> None:
    assert find_cameras(tmp_path) == []


class Number:
    """What OpenCV gives for a number."""

    def __init__(self, there: bool) -> None:
        self.there, self.released = there, 0

    def isOpened(self) -> bool:  # noqa: N802 - OpenCV's name
        return self.there

    def grab(self) -> bool:
        return False

    def retrieve(self) -> tuple[bool, Image | None]:
        return False, None

    def read(self) -> tuple[bool, Image | None]:
        return False, None

    def get(self, prop: int) -> float:
        return 0.0

    def set(self, prop: int, value: float) -> bool:
        return False

    def release(self) -> None:
        self.released += 1


def test_elsewhere_few_numbers_are_tried_and_let_go() -> None:
    tried: list[Number] = []

    def probe(index: int) -> Number:
        tried.append(Number(index in (0, 2)))
        return tried[-1]

    found = find_cameras(platform="darwin", probe=probe)
    assert found == [Camera("0", 0, "camera 0"), Camera("2", 2, "camera 2")]
    assert [number.released for number in tried] == [1] * PROBE_COUNT
