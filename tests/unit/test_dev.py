"""The script that sets up a checkout: environments, system packages, and tests whose parts are missing."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from system_parts import PARTS

PROJECT = Path(__file__).resolve().parents[2]
WINDOW_TEST = "tests/integration/test_picker_window.py"


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def dev() -> Iterator[ModuleType]:
    path = list(sys.path)
    yield load(PROJECT / "dev.py")
    sys.path[:] = path


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> tuple[ModuleType, list[str]]:
    """The module that makes environments, and the commands that it would run."""
    environment, ran = load(PROJECT / ".ci" / "environment.py"), list[str]()
    monkeypatch.setattr(environment, "run", lambda *words: ran.append(" ".join(map(str, words))))
    monkeypatch.setattr(environment, "make_python", lambda folder: folder / "python")
    return environment, ran


def test_without_a_command_it_says_what_there_is() -> None:
    done = subprocess.run([sys.executable, PROJECT / "dev.py"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "python3 dev.py demo" in done.stderr


def test_readme_opens_with_its_two_commands(dev: ModuleType) -> None:
    lines = (PROJECT / "README.md").read_text(encoding="utf-8").split("```sh\n")[1].splitlines()[:2]
    words = [line.split("#")[0].split() for line in lines]
    assert words == [["python3", "dev.py", "demo"], ["python3", "dev.py", "test"]]
    assert {"demo", "test"} <= set(dev.COMMANDS)


def test_both_builds_of_opencv_are_pinned_to_one_version() -> None:
    environment = load(PROJECT / ".ci" / "environment.py")
    first, second = (
        environment.pinned(name).split()[0].split("==")
        for name in (environment.WINDOWED, environment.HEADLESS)
    )
    assert first[1] == second[1]


def test_without_opencvs_libraries_the_headless_build_takes_its_place(
    commands: tuple[ModuleType, list[str]], tmp_path: Path
) -> None:
    environment, ran = commands
    environment.make(tmp_path, ["cpu"], headless=True)
    at = next(i for i, command in enumerate(ran) if "uninstall" in command)
    assert ran[at].endswith("uninstall --yes opencv-python opencv-python-headless")
    assert "install --no-deps -r" in ran[at + 1]
    assert ran[-1].endswith("import cv2")
    environment.make(tmp_path, ["cpu"], headless=False)
    assert not any(command.endswith("opencv-python opencv-python-headless") for command in ran[at + 1 :])


def test_an_environment_is_made_again_when_what_it_is_made_of_changes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    environment, made = load(PROJECT / ".ci" / "environment.py"), list[Any]()
    file = tmp_path / "constraints.txt"
    file.write_text("one", encoding="utf-8")
    monkeypatch.setattr(environment, "INPUTS", (file,))
    monkeypatch.setattr(environment, "make", lambda *what, **how: made.append((what, how)))
    for headless in (False, False, True):
        environment.ensure(tmp_path, ("cpu",), headless=headless)
    assert len(made) == 2
    file.write_text("two", encoding="utf-8")
    environment.ensure(tmp_path, ("cpu",), headless=True)
    assert len(made) == 3


@pytest.mark.skipif(os.name != "posix", reason="apt is Debian's")
def test_missing_packages_are_installed_where_no_password_is_needed(tmp_path: Path) -> None:
    log = tmp_path / "log"
    for name, text in {
        "apt-get": f'echo "apt-get $*" >> {log}',
        "sudo": 'test "$1" = -n && shift && exec "$@"',
        "env": 'shift; exec "$@"',
        "true": "exit 0",
    }.items():
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
        program.chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-c", "import dev; dev.install_system_packages()"],
        cwd=PROJECT, env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    update, install = log.read_text(encoding="utf-8").splitlines()
    assert update.endswith(" update")
    for name in ("Xvfb", "xdotool", "mosquitto", "Chromium"):
        assert PARTS[name].packages[0] in install.split(), done.stderr


def run_without_programs(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """A test of a window where the path has no program at all."""
    kept = {name: value for name, value in os.environ.items() if name not in ("CI", "PYTEST_ADDOPTS")}
    words = ["-q", "-p", "no:cacheprovider", "-p", "no:hypothesispytest", f"--basetemp={folder}/tests"]
    return subprocess.run(
        [sys.executable, "-m", "pytest", *words, WINDOW_TEST],
        cwd=PROJECT, env={**kept, "PATH": str(folder), **environment}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the windows are tested on Linux")
def test_a_test_whose_part_is_missing_is_skipped_by_name_and_fails_in_ci(tmp_path: Path) -> None:
    done = run_without_programs(tmp_path)
    assert done.returncode == 0, done.stdout
    assert re.search(r"skipped: needs .*Xvfb, xdotool \(apt-get install .*xvfb xdotool\)", done.stdout)
    done = run_without_programs(tmp_path, CI="true")
    assert done.returncode == 1
    assert "with CI=true a missing part fails: needs " in done.stdout
    assert " skipped" not in done.stdout.splitlines()[-1]
