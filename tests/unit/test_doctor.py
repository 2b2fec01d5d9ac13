"""`edgeharfer doctor` on machines that a test makes: their cameras, and the GPU by its driver's files."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from edgeharfer.runtime import doctor
from edgeharfer.runtime.doctor import Finding, examine
from edgeharfer.runtime.doctor.nvidia import DRIVERS, JETPACKS, UNKNOWN_JETPACK, advice
from edgeharfer.runtime.installation import install_command

ORIN = "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super\0"
RELEASE = "# R{} (release), REVISION: {}, GCID: 38968081, BOARD: generic, EABI: aarch64, DATE: Wed Jan 8\n"
CLOSED = (
    "NVRM version: NVIDIA UNIX x86_64 Kernel Module  {}  Thu Feb 22 01:44:30 UTC 2024\nGCC version:  12\n"
)
OPEN = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  {}  Release Build  (dvs-builder@U22-I3)\n"


class Machine:
    """A folder that stands for /."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def write(self, path: str, text: str) -> None:
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)

    def camera(self, name: str) -> None:
        for file, text in (("name", name), ("index", "0"), ("dev", "81:0")):
            self.write(f"sys/class/video4linux/video0/{file}", f"{text}\n")
        self.write("dev/video0", "")


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def found(machine: Machine, topic: str) -> Finding:
    return next(finding for finding in examine(machine.root) if finding.topic == topic)


@pytest.mark.parametrize(
    ("release", "revision", "major"), [(35, "6.0", 35), (36, "4.3", 36), (38, "2.0", 38)]
)
def test_a_jetson_is_known_by_its_board_and_release(
    machine: Machine, release: int, revision: str, major: int
) -> None:
    machine.write("proc/device-tree/model", ORIN)
    machine.write("etc/nv_tegra_release", RELEASE.format(release, revision))
    told = advice(machine.root)
    assert told is not None
    known = JETPACKS[major]
    board = ORIN.rstrip("\0")
    assert told.name == f"{board}, Jetson Linux {release}.{revision}, {known.name}"
    assert (told.comes_with, told.line) == (known.comes_with, known.line)


@pytest.mark.parametrize("release", [None, RELEASE.format(32, "7.1"), RELEASE.format(99, "1.0")])
def test_a_jetson_of_another_time_is_told_as_such(machine: Machine, release: str | None) -> None:
    machine.write("proc/device-tree/model", ORIN)
    if release is not None:
        machine.write("etc/nv_tegra_release", release)
    told = advice(machine.root)
    assert told is not None and told.line == UNKNOWN_JETPACK


@pytest.mark.parametrize(
    ("text", "version", "least"),
    [
        (OPEN, "580.65.06", 580),
        (OPEN, "595.10", 580),
        (CLOSED, "550.54.14", 525),
        (CLOSED, "525.147.05", 525),
        (CLOSED, "470.223.02", 0),
    ],
)
def test_a_graphics_card_is_known_by_its_driver(
    machine: Machine, text: str, version: str, least: int
) -> None:
    machine.write("proc/driver/nvidia/version", text.format(version))
    told = advice(machine.root)
    assert told is not None
    assert (told.name, told.line) == (f"NVIDIA driver {version}", DRIVERS[least].line)


@pytest.mark.parametrize("model", [None, "Raspberry Pi 5 Model B Rev 1.0\0"])
def test_other_machines_have_none(machine: Machine, model: str | None) -> None:
    if model is not None:
        machine.write("proc/device-tree/model", model)
    assert advice(machine.root) is None


def test_the_line_stands_where_cuda_does_not_load(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.write("proc/driver/nvidia/version", OPEN.format("580.65.06"))
    command = install_command("gpu")
    assert DRIVERS[580].line == "pip install 'edgeharfer[gpu]'"
    for reason, fix in (("no library", command), (None, "")):
        monkeypatch.setattr(doctor, "probe_providers", lambda reason=reason: {"cuda": reason, "cpu": None})
        finding = found(machine, "gpu")
        assert finding == Finding("gpu", True if reason is None else None,
                                  "NVIDIA driver 580.65.06: up to CUDA 13", fix)  # fmt: skip


linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the tree is Linux's")


@linux
def test_cameras_are_named(machine: Machine) -> None:
    assert found(machine, "camera").ok is None
    machine.camera("HD Webcam: HD Web")
    assert found(machine, "camera") == Finding("camera", True, "HD Webcam (/dev/video0)", tried=False)


@linux
def test_a_camera_that_this_user_may_not_open_is_told(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.camera("HD Webcam")
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    finding = found(machine, "camera")
    assert (finding.ok, finding.what) == (False, "no access to HD Webcam")
    assert "usermod -aG video" in finding.fix
