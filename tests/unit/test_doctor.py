"""`edgeharfer doctor` on machines that a test makes: their cameras, and the GPU by its driver's files."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edgeharfer.runtime import doctor, versions
from edgeharfer.runtime.doctor import Finding, libraries, run_checks
from edgeharfer.runtime.doctor.imports import try_imports
from edgeharfer.runtime.doctor.libraries import (
    INTERNAL_EXTRAS,
    OPENCV_LIBRARIES,
    check_extras,
    check_libraries,
    import_name,
)
from edgeharfer.runtime.doctor.nvidia import DRIVERS, JETPACKS, UNKNOWN_JETPACK, gpu_advice
from edgeharfer.runtime.doctor.trials import run_trials, try_detectors, try_opencv, try_video
from edgeharfer.runtime.faces.detector import Detector
from edgeharfer.runtime.faces.detectors import DEFAULT_DETECTOR, DETECTORS, make_detector
from edgeharfer.runtime.inference import providers
from edgeharfer.runtime.inference.providers import PROVIDERS
from edgeharfer.runtime.installation import install_command, pip, quote
from edgeharfer.runtime.sinks.encoders import Encoder
from tiny_faces import NoFaces

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
    return next(finding for finding in run_checks(machine.root) if finding.topic == topic)


@pytest.mark.parametrize(
    ("release", "revision", "major"), [(35, "6.0", 35), (36, "4.3", 36), (38, "2.0", 38)]
)
def test_a_jetson_is_known_by_its_board_and_release(
    machine: Machine, release: int, revision: str, major: int
) -> None:
    machine.write("proc/device-tree/model", ORIN)
    machine.write("etc/nv_tegra_release", RELEASE.format(release, revision))
    advice = gpu_advice(machine.root)
    assert advice is not None
    known = JETPACKS[major]
    board = ORIN.rstrip("\0")
    assert advice.name == f"{board}, Jetson Linux {release}.{revision}, {known.name}"
    assert (advice.includes, advice.instructions) == (known.includes, known.instructions)


@pytest.mark.parametrize("release", [None, RELEASE.format(32, "7.1"), RELEASE.format(99, "1.0")])
def test_a_jetson_of_another_time_is_told_as_such(machine: Machine, release: str | None) -> None:
    machine.write("proc/device-tree/model", ORIN)
    if release is not None:
        machine.write("etc/nv_tegra_release", release)
    advice = gpu_advice(machine.root)
    assert advice is not None and advice.instructions == UNKNOWN_JETPACK


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
    advice = gpu_advice(machine.root)
    assert advice is not None
    assert (advice.name, advice.instructions) == (f"NVIDIA driver {version}", DRIVERS[least].instructions)


@pytest.mark.parametrize("model", [None, "Raspberry Pi 5 Model B Rev 1.0\0"])
def test_other_machines_have_none(machine: Machine, model: str | None) -> None:
    if model is not None:
        machine.write("proc/device-tree/model", model)
    assert gpu_advice(machine.root) is None


def test_the_line_stands_where_cuda_does_not_load(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.write("proc/driver/nvidia/version", OPEN.format("580.65.06"))
    command = install_command("gpu")
    assert DRIVERS[580].instructions == "pip install 'edgeharfer[gpu]'"
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
    assert found(machine, "camera") == Finding("camera", True, "HD Webcam (/dev/video0)", verified=False)


@linux
def test_a_camera_that_this_user_may_not_open_is_told(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.camera("HD Webcam")
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    finding = found(machine, "camera")
    assert (finding.ok, finding.message) == (False, "no access to HD Webcam")
    assert "usermod -aG video" in finding.fix


# Libraries and extras ----------------------------------------------------------------------------


class Environment:
    """Made-up requirements and installed versions of edgeharfer; the modules are files."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._folder = folder
        self._requires: list[str] = []
        self._found = {"edgeharfer": "1.0"}
        monkeypatch.setattr(versions, "requires", lambda name: self._requires)
        monkeypatch.setattr(versions, "installed", self._found.get)
        monkeypatch.setattr(libraries, "installed", self._found.get)
        monkeypatch.setattr(libraries, "extras", lambda: ["extra"])
        monkeypatch.syspath_prepend(folder)

    def needs(self, requirement: str, version: str | None, code: str = "", extra: str = "extra") -> None:
        """A requirement of an extra, or of the product where the extra is "", and the module it brings."""
        name = requirement.partition(">")[0]
        self._requires.append(f"{requirement}; extra == '{extra}'" if extra else requirement)
        if version is not None:
            self._found[name] = version
            (self._folder / f"{name}.py").write_text(code)


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Environment:
    return Environment(tmp_path, monkeypatch)


def extra(*, full: bool = False) -> Finding:
    (finding,) = check_extras(full=full)
    return finding


def test_an_extra_is_ok_when_all_of_it_imports(environment: Environment) -> None:
    environment.needs("lib_a>=1.0", "1.2")
    environment.needs("lib_b>=2", "2.0", "print('noise'); import sys; print('noise', file=sys.stderr)")
    assert extra() == Finding("extra", True, "extra: lib_a 1.2, lib_b 2.0")


def test_an_extra_that_lacks_a_part_is_absent(environment: Environment) -> None:
    environment.needs("lib_a>=1.0", "0.1")
    environment.needs("lib_b>=2", None)
    assert extra() == Finding("extra", None, "extra: missing lib_b", install_command("extra"))


def test_a_version_out_of_bounds_is_named(environment: Environment) -> None:
    environment.needs("lib_a>=1.10", "1.9")
    finding = extra()
    assert (finding.ok, finding.fix) == (False, install_command("extra"))
    assert finding.message == "extra: lib_a 1.9 is installed, >=1.10 is required"


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import no_such_module_of_it", "ModuleNotFoundError: No module named 'no_such_module_of_it'"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("import os; os._exit(7)", "the import terminated the process with exit code 7"),
    ],
)
def test_what_is_installed_but_does_not_import_is_broken(
    code: str, reason: str, environment: Environment
) -> None:
    environment.needs("lib_a>=1", "1.0", code)
    environment.needs("lib_b>=1", "1.0")
    assert extra() == Finding("extra", False, f"extra: lib_a 1.0: {reason}", install_command("extra"))


def test_an_import_that_hangs_is_ended_and_the_others_are_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hangs.py").write_text("import threading; threading.Event().wait()")
    (tmp_path / "works.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    reasons = try_imports(["hangs", "works"], timeout_s=1.5)
    assert reasons == {"hangs": "the import did not finish within 1.5 s", "works": None}


def test_what_takes_long_to_import_is_found_and_not_ok(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(libraries, "HEAVY", ("lib_b",))
    environment.needs("lib_a>=1", "1.0")
    environment.needs("lib_b>=1", "1.0", "raise ImportError('no CPU for it')")
    what = "extra: lib_a 1.0, lib_b 1.0; not imported: lib_b (--full does)"
    assert extra() == Finding("extra", True, what, verified=False)
    assert extra(full=True).message == "extra: lib_b 1.0: ImportError: no CPU for it"


def test_an_extra_of_other_systems_is_told(environment: Environment) -> None:
    environment.needs("lib_a>=1; sys_platform == 'none' and extra == 'extra'", None, extra="")
    assert extra() == Finding("extra", None, "extra is not available for this system")


def test_without_onnx_runtime_both_builds_are_named(environment: Environment) -> None:
    environment.needs("lib_a>=1", "1.0", extra="")
    environment.needs("onnxruntime>=1", None, extra="cpu")
    broken, works = check_libraries()
    assert (broken.ok, broken.message) == (False, "ONNX Runtime is not installed")
    assert broken.fix == f"{install_command('cpu')}; for an NVIDIA GPU use [gpu] instead of [cpu]"
    assert works.message == "edgeharfer 1.0, lib_a 1.0"


def test_a_library_out_of_bounds_is_broken_and_the_command_names_the_bound(environment: Environment) -> None:
    environment.needs("lib_a>=2", "1.9", extra="")
    broken, _ = check_libraries()
    assert broken.message == "lib_a 1.9 is installed, >=2 is required"
    assert broken.fix == f"{pip('install')} {quote('lib_a>=2')}"


def test_a_gpu_build_before_the_bound_is_not_broken(environment: Environment) -> None:
    """The guide for older drivers installs one."""
    environment.needs("onnxruntime>=1.27", None, extra="cpu")
    environment.needs("onnxruntime-gpu>=1.23", "1.26", extra="gpu")
    (environment._folder / "onnxruntime.py").touch()
    finding, _ = check_libraries()
    assert (finding.ok, finding.fix) == (None, "see SECURITY.md")


def test_missing_shared_libraries_of_opencv_are_named(environment: Environment) -> None:
    environment.needs("opencv-python>=4", "4.10", extra="")
    (environment._folder / "cv2.py").write_text(
        "raise ImportError('libGL.so.1: cannot open shared object file: No such file or directory')"
    )
    broken, _ = check_libraries()
    assert "libGL.so.1" in broken.message
    assert broken.fix == f"sudo apt-get install {' '.join(OPENCV_LIBRARIES)}"


def test_two_builds_of_one_library_are_told(environment: Environment) -> None:
    environment.needs("opencv-python>=4", "4.10", extra="")
    environment.needs("opencv-python-headless>=4", "4.10", extra="other")
    (environment._folder / "cv2.py").touch()
    assert list(check_libraries())[-1].message == (
        "opencv-python and opencv-python-headless overwrite each other"
    )


def test_each_requirement_of_users_has_a_module_that_is_there() -> None:
    elsewhere = {"tensorrt-check", "tensorrt-rtx"}  # 150 MB each, so not in the environment for the tests
    if sys.version_info < (3, 11):
        elsewhere |= {"compare", "export", "mediapipe", "openvino", "scale", "train", "webgpu"}
    for name in (name for name in versions.extras() if name not in (*INTERNAL_EXTRAS, *elsewhere)):
        for one in versions.dependencies(name):
            assert find_spec(import_name(one.name).partition(".")[0]) is not None, one.name
    assert import_name("onnxruntime-ep-nv-tensorrt-rtx") == PROVIDERS["tensorrt-rtx"].plugin
    assert import_name("tensorrt-rtx") == "tensorrt_rtx"


# Trials ------------------------------------------------------------------------------------------


def test_the_demo_and_opencv_are_really_run() -> None:
    opencv, video, demo, detector = run_trials()
    assert opencv == Finding("opencv", True, "decodes JPEG")
    assert video == Finding("video", True, "written as H.264, and decoded")
    assert demo.ok and "2 faces" in demo.message
    assert detector.ok
    free = [name for name, entry in DETECTORS.items() if entry.extra is None]
    assert all(name in detector.message for name in free)


def test_what_a_library_raises_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(cv2, "imencode")
    monkeypatch.setattr(cv2, "warpAffine", None)
    opencv, _, demo, detector = run_trials()
    assert (opencv.ok, opencv.message) == (False, "AttributeError: module 'cv2' has no attribute 'imencode'")
    assert (demo.ok, demo.message) == (False, "TypeError: 'NoneType' object is not callable")
    assert (detector.ok, detector.message) == (demo.ok, demo.message)


def test_a_detector_that_finds_nothing_is_named_and_the_default_one_is_a_fault() -> None:
    def lacking(broken: str) -> Callable[..., Detector]:
        return lambda name: NoFaces() if name == broken else make_detector(name)

    finding = try_detectors(lacking("blazeface"))
    assert finding.ok and "blazeface failed: no face detected" in finding.message
    assert try_detectors(lacking(DEFAULT_DETECTOR)) == Finding("detector", False, "auto: no face detected")


def test_a_library_that_writes_no_video_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Encoder, "works", lambda encoder: False)
    finding = try_video()
    assert finding.ok is False
    assert finding.message.startswith("a video cannot be written and read back: probe.mp4: this PyAV")


def test_an_opencv_that_decodes_wrongly_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "imdecode", lambda data, flags: np.zeros((64, 64, 3), np.uint8))
    assert try_opencv().message == "a JPEG cannot be decoded"


def test_a_model_that_gives_wrong_answers_is_no_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    made = providers.open_provider_session

    class Wrong:
        def __init__(self, *arguments: Any, **options: Any) -> None:
            self._session = made(*arguments, **options)

        def get_inputs(self) -> Any:
            return self._session.get_inputs()

        def run(self, names: Any, feeds: Any) -> list[Any]:
            return [2 * answer for answer in self._session.run(names, feeds)]

    monkeypatch.setattr(providers, "open_provider_session", Wrong)
    assert providers.probe_providers()["cpu"] == "cpu loads but returns wrong results"
