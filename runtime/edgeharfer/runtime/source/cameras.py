"""Which cameras this machine has, without opening them where the system can be asked."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2

from edgeharfer.runtime.source.camera import stable_path
from edgeharfer.runtime.source.opencv import VideoCapture, open_capture

PROBED = 4
"""How many numbers are tried on systems that list no cameras; each that is none costs up to a second."""

Probe = Callable[[int], VideoCapture]


@dataclass(frozen=True, slots=True)
class Camera:
    """One camera, as a person would choose it.

    path: what `--camera` and `open_source` take; on Linux a device path that stays the camera's own when
    numbers change, where udev made one; elsewhere the number. index: the number of today.
    """

    path: str
    index: int
    name: str


def find_cameras(
    root: Path = Path("/"), *, platform: str = sys.platform, probe: Probe | None = None
) -> list[Camera]:
    """The cameras that there are now, by number.

    root: the folder that stands for /. probe: opens a number where the system lists no cameras (macOS,
    Windows); there, looking is opening, which takes a moment and may light a camera up.
    """
    if platform.startswith("linux"):
        return _listed(root)
    return _probed(probe or _open)


def _listed(root: Path) -> list[Camera]:
    nodes = (node for node in (root / "sys/class/video4linux").glob("video*") if _captures(root, node))
    found = [_camera(root, node) for node in nodes if (root / "dev" / node.name).exists()]
    return sorted(found, key=lambda camera: camera.index)


def _camera(root: Path, node: Path) -> Camera:
    device = root / "dev" / node.name
    path = Path(stable_path(str(device), root / "dev/v4l") or device)
    number = int(node.name.removeprefix("video"))
    return Camera(f"/{path.relative_to(root).as_posix()}", number, _short(_read(node / "name")) or node.name)


def _captures(root: Path, node: Path) -> bool:
    """Whether pictures come from a node: a webcam has another one for metadata, a codec has several.

    udev has asked each driver (`v4l_id` of systemd). Where it does not run, as in a container, a camera's
    first node is taken for the one with the pictures, as with all USB cameras.
    """
    if not node.name.removeprefix("video").isdecimal():
        return False
    for line in _read(root / "run/udev/data" / f"c{_read(node / 'dev')}").splitlines():
        if line.startswith("E:ID_V4L_CAPABILITIES="):
            return ":capture:" in line
    return _read(node / "index") in ("0", "")


def _short(name: str) -> str:
    """ "Webcam: Web" is one name, said twice and cut at the 31 letters of V4L2."""
    first, colon, again = name.partition(": ")
    return first if colon and first.startswith(again) else name


def _read(path: Path) -> str:
    """The text of a small file, "" where there is none: devices may vanish at any time."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _probed(probe: Probe) -> list[Camera]:
    found = []
    for index in range(PROBED):
        capture = probe(index)
        try:
            if capture.isOpened():
                found.append(Camera(str(index), index, f"camera {index}"))
        finally:
            capture.release()
    return found


def _open(index: int) -> VideoCapture:
    return open_capture(index, cv2.CAP_ANY)
