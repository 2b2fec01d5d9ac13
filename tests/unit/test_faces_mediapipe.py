"""What the mediapipe detector is given, and how it is told apart from one that cannot run."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path

import pytest

from edgeharfer.runtime.errors import MissingExtra, ModelError
from edgeharfer.runtime.faces import make_detector
from edgeharfer.runtime.faces.detectors.blazeface import FULL_RANGE, SHORT_RANGE
from edgeharfer.runtime.faces.detectors.mediapipe import read_tflite
from edgeharfer.runtime.inference.package import MANIFEST, Package, load_package
from edgeharfer.runtime.installation import install_command


@pytest.fixture
def package(tmp_path: Path) -> Package:
    """A copy of the shipped short-range package."""
    folder = tmp_path / "copy"
    shutil.copytree(load_package(SHORT_RANGE).path, folder)
    return load_package(folder)


def tflite(package: Package) -> Path:
    return next(package.path.glob("*.tflite"))


def test_the_shipped_file_is_the_one_in_googles_wheel() -> None:
    data = read_tflite(load_package(SHORT_RANGE))
    assert len(data) == 229_714 and data[4:8] == b"TFL3"


def test_without_the_library_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mediapipe", None)
    with pytest.raises(
        MissingExtra, match=re.escape(f"mediapipe is not installed: {install_command('mediapipe')}")
    ):
        make_detector("mediapipe")


def test_a_changed_byte_is_refused(package: Package) -> None:
    data = bytearray(tflite(package).read_bytes())
    data[100_000] ^= 1
    tflite(package).write_bytes(data)
    with pytest.raises(ModelError, match=r"tflite: damaged, its SHA-256"):
        read_tflite(package)


def test_a_cut_file_is_refused(package: Package) -> None:
    tflite(package).write_bytes(tflite(package).read_bytes()[:-1])
    with pytest.raises(ModelError, match="229713 bytes, expected 229714"):
        read_tflite(package)


def test_a_link_is_refused(package: Package, tmp_path: Path) -> None:
    elsewhere = tflite(package).rename(tmp_path / "elsewhere")
    (package.path / "face_detection_short_range.tflite").symlink_to(elsewhere)
    with pytest.raises(ModelError, match="tflite"):
        read_tflite(package)


def test_a_package_without_the_file_is_refused() -> None:
    with pytest.raises(ModelError, match=r"no tflite file in options.tflite"):
        read_tflite(load_package(FULL_RANGE))


@pytest.mark.parametrize("name", ["../copy/face_detection_short_range.tflite", "/etc/hostname", "", 7])
def test_a_file_outside_the_package_is_refused(package: Package, name: object) -> None:
    manifest = json.loads((package.path / MANIFEST).read_text())
    manifest["options"]["tflite"]["file"] = name
    (package.path / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(ModelError):
        read_tflite(load_package(package.path))
