"""Programs and libraries outside Python that some tests need, and the Debian packages that hold them.

`dev.py test` installs what is missing where it may. Otherwise the tests that need a missing part are skipped
by name, and with CI=true they fail. It needs only the standard library: `dev.py` imports it first of all.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache

NEEDS = "needs "
"""How the reason of every skip for a missing part begins, those for missing extras included."""


@dataclass(frozen=True)
class Part:
    """Something outside Python. packages: Debian's, empty where no package provides it."""

    name: str
    packages: tuple[str, ...]
    present: Callable[[], bool]


def _programs(*names: str) -> Callable[[], bool]:
    return lambda: all(find_program(name) for name in names)


def _libraries(*names: str) -> Callable[[], bool]:
    return lambda: all(map(_loads, names))


def find_program(*names: str) -> str | None:
    """The path of the first of these programs that is there; servers may stand in sbin."""
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
    return next((found for name in names if (found := shutil.which(name, path=path))), None)


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def _runs(*command: str) -> Callable[[], bool]:
    def attempt() -> bool:
        program = find_program(command[0])
        if program is None:
            return False
        return subprocess.run([program, *command[1:]], capture_output=True, check=False).returncode == 0

    return attempt


def _opencv_libraries() -> bool:
    """Whether opencv-python loads; elsewhere than on Linux its wheels hold all that they need."""
    return not sys.platform.startswith("linux") or all(map(_loads, OPENCV_LIBRARIES))


def _tk() -> bool:
    if importlib.util.find_spec("_tkinter") is None:
        return False
    return subprocess.run([sys.executable, "-c", "import tkinter"], capture_output=True).returncode == 0


def _tk_package() -> str:
    """Debian's own Python gets Tk as a module, one built from source only as a library."""
    return "libtk8.6" if importlib.util.find_spec("_tkinter") else "python3-tk"


OPENCV_LIBRARIES = ("libGL.so.1", "libgthread-2.0.so.0", "libxcb.so.1")
"""Loaded with `import cv2` by opencv-python, and not by opencv-python-headless."""

PARTS = {
    part.name: part
    for part in (
        Part(
            "OpenCV's libraries",
            ("libgl1", "libglib2.0-0", "libsm6", "libxcb1", "libxext6"),
            _opencv_libraries,
        ),
        Part("Xvfb", ("xvfb",), _programs("Xvfb")),
        Part("xdotool", ("xdotool",), _programs("xdotool")),
        Part("libXfixes", ("libxfixes3",), _libraries("libX11.so.6", "libXfixes.so.3")),
        Part("Tk", (_tk_package(),), _tk),
        Part("Chromium", ("chromium",), lambda: find_program("chromium", "chromium-browser") is not None),
        Part("mosquitto", ("mosquitto",), _programs("mosquitto", "mosquitto_passwd")),
        Part("a C compiler", ("gcc", "libc6-dev"), _programs("cc")),
        Part("OpenSSL", ("openssl",), _programs("openssl")),
        Part("systemd-analyze", ("systemd",), _programs("systemd-analyze")),
        Part("strace", ("strace",), _runs("strace", "-qq", "true")),
        Part(
            "leave to mount a file system",
            (),
            _runs("unshare", "--user", "--map-root-user", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"),
        ),
    )
}
"""By name. What a test needs it names with `pytest.mark.needs`, a fixture with `system_parts.require`."""


@cache
def present(name: str) -> bool:
    """Whether this part is here. KeyError for a name that is not in PARTS."""
    return PARTS[name].present()


def missing(names: Iterable[str] = PARTS) -> list[Part]:
    """Those of the parts that are not here."""
    return [PARTS[name] for name in names if not present(name)]


def require(*names: str) -> None:
    """Skip the running test where one of these parts is missing."""
    import pytest

    if parts := missing(names):
        pytest.skip(reason(parts))


def reason(parts: Sequence[Part]) -> str:
    """Why a test is skipped without these parts."""
    packages = " ".join(package for part in parts for package in part.packages)
    install = f" (apt-get install {packages})" if packages else ""
    return NEEDS + ", ".join(part.name for part in parts) + install
