"""`models check --for tensorrt`, with a stand-in for TensorRT-RTX; CI runs the real one on all packages."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import tiny_models
import tiny_patterns
from edgeharfer.cli import run_command
from edgeharfer.evaluate.parser_check import check_package

Shapes = dict[str, tuple[list[int], ...]]


def tensorrt_rtx(*, refuses: str = "", fails: str = "") -> tuple[Any, list[Shapes]]:
    """A module with the parts that are used: refuses to parse, or fails to build, with a message."""
    profiles: list[Shapes] = []

    class Logger:
        ERROR, INTERNAL_ERROR, INFO = 1, 0, 3

        def log(self, severity: int, message: str) -> None:
            raise NotImplementedError

    class Profile:
        def __init__(self) -> None:
            self.shapes: Shapes = {}
            profiles.append(self.shapes)

        def set_shape(self, name: str, *shapes: list[int]) -> None:
            self.shapes[name] = shapes

    class Builder:
        def __init__(self, logger: Logger) -> None:
            self.logger = logger

        def create_network(self, flags: int) -> Any:
            assert flags == 1 << 7
            return SimpleNamespace(num_inputs=1, num_layers=3, get_input=lambda _: SimpleNamespace(name="in"))

        def create_builder_config(self) -> Any:
            return SimpleNamespace(add_optimization_profile=lambda profile: None)

        def create_optimization_profile(self) -> Profile:
            return Profile()

        def build_serialized_network(self, network: Any, config: Any) -> bytes | None:
            if not fails:
                return b"engine"
            self.logger.log(Logger.INFO, "not an error")
            self.logger.log(Logger.ERROR, "no driver (cudaError 35)")
            self.logger.log(Logger.ERROR, fails)
            return None

    class Parser:
        num_errors = 1

        def __init__(self, network: Any, logger: Logger) -> None:
            pass

        def parse(self, data: bytes) -> bool:
            return not refuses

        def get_error(self, number: int) -> Any:
            return SimpleNamespace(desc=lambda: refuses)

    flags = SimpleNamespace(STRONGLY_TYPED=7)
    module = SimpleNamespace(
        ILogger=Logger, Builder=Builder, OnnxParser=Parser, NetworkDefinitionCreationFlag=flags
    )
    return module, profiles


def test_every_graph_is_built_in_every_precision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module, profiles = tensorrt_rtx()
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", module)
    package = tiny_patterns.clip_package(tmp_path / "package")
    found = list(check_package(package))
    assert [(one.role, one.precision, one.reason) for one in found] == [
        ("encoder", "fp32", None),
        ("head", "fp32", None),
        ("encoder", "fp16", None),
        ("head", "fp16", None),
    ]
    assert profiles[0] == {"in": ([1, 24, 24, 3], [1, 24, 24, 3], [8, 24, 24, 3])}


@pytest.mark.parametrize("how", ["refuses", "fails"])
def test_a_refused_graph_is_named_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], how: str
) -> None:
    monkeypatch.setitem(
        sys.modules, "tensorrt_rtx", tensorrt_rtx(**{how: "zero points are\nnot supported"})[0]
    )
    package = tiny_models.emotion_package(tmp_path / "package")
    assert run_command(["models", "check", str(package.path), "--for", "tensorrt"]) == 2
    written = capsys.readouterr()
    assert "tiny-emotion model fp32: rejected: zero points are\n" in written.out
    assert "tensorrt rejects tiny-emotion model fp32, tiny-emotion model fp16" in written.err


def test_accepted_graphs_end_with_0(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", tensorrt_rtx()[0])
    package = tiny_models.emotion_package(tmp_path / "package")
    assert run_command(["models", "check", str(package.path), "--for", "tensorrt"]) == 0
    assert "tiny-emotion model fp16: accepted by tensorrt, 3 layers" in capsys.readouterr().out


def test_without_the_extra_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)
    package = tiny_models.emotion_package(tmp_path / "package")
    assert run_command(["models", "check", str(package.path), "--for", "tensorrt"]) == 2
    assert "[tensorrt-check]" in capsys.readouterr().err
