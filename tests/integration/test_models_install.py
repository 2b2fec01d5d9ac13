"""`edgeharfer models install`: a package goes into a kiosk's state folder, or nothing changes."""

from __future__ import annotations

from pathlib import Path

import pytest

import tiny_patterns
from edgeharfer.cli import run_command


def install(package: Path, tmp_path: Path) -> int:
    config, state = tmp_path / "none.toml", tmp_path / "state"
    arguments = ["--config", str(config), "--state", str(state)]
    return run_command(["models", "install", str(package), *arguments])


def test_a_sound_package_is_installed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "state").mkdir()
    package = tiny_patterns.picture_package(tmp_path / "package").path
    assert install(package, tmp_path) == 0
    assert "ms per inference" in capsys.readouterr().out


def test_a_damaged_package_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "state").mkdir()
    package = tiny_patterns.picture_package(tmp_path / "package").path
    graph = next(package.glob("*.onnx"))
    graph.write_bytes(graph.read_bytes()[:-1] + b"x")
    assert install(package, tmp_path) == 2
    assert graph.name in capsys.readouterr().err
    assert not any((tmp_path / "state").rglob("*.onnx"))
