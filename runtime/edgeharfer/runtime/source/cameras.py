"""Camera discovery, without opening the cameras where the system lists them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2

from edgeharfer.runtime.source.camera import stable_path
from edgeharfer.runtime.source.opencv import VideoCapture, open_capture

PROBE_COUNT = 4
"""Number of indices to try on systems that list no cameras; each unused one takes up to a second."""

Probe = Callable[[int], VideoCapture]


@dataclass(frozen=True, slots=True)
class Camera:
    """An available camera.

    Attributes:
        path: Spec for `--camera` and `open_source`: on Linux a device path, if possible one that stays the
            same when device numbers change; elsewhere the index.
        index: Current number of the camera.
        name: Product name.
    """

    path: str
    index: int
    name: str


def find_cameras(
    root: Path = Path("/"), *, platform: str = sys.platform, probe: Probe | None = None
) -> list[Camera]:
    """Return the available cameras, ordered by index.

    On macOS and Windows cameras can only be found by opening them, which takes a moment and may turn on
    their light.

    Args:
        root: Root of the file system; a replacement for tests.
        platform: As `sys.platform`.
        probe: Opens an index on systems that list no cameras.
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
    """Return whether a node captures video: a webcam has another one for metadata, a codec has several.

    udev stores the capabilities that each driver reports (`v4l_id` of systemd). Without udev, as in a
    container, the first node of a camera is assumed to capture video, as with all USB cameras.
    """
    if not node.name.removeprefix("video").isdecimal():
        return False
    for line in _read(root / "run/udev/data" / f"c{_read(node / 'dev')}").splitlines():
        if line.startswith("E:ID_V4L_CAPABILITIES="):
            return ":capture:" in line
    return _read(node / "index") in ("0", "")


def _short(name: str) -> str:
    """Shorten names such as "Webcam: Web", which repeat themselves and are truncated by V4L2 to 31 bytes."""
    first, colon, again = name.partition(": ")
    return first if colon and first.startswith(again) else name


def _read(path: Path) -> str:
    """Return the text of a small file, "" if it does not exist: devices may disappear at any time."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _probed(probe: Probe) -> list[Camera]:
    found = []
    for index in range(PROBE_COUNT):
        capture = probe(index)
        try:
            if capture.isOpened():
                found.append(Camera(str(index), index, f"camera {index}"))
        finally:
            capture.release()
    return found


def _open(index: int) -> VideoCapture:
    return open_capture(index, cv2.CAP_ANY)
