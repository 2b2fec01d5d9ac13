"""What click 8.1 and OpenCV 4.12 lack is not needed; `.ci/lowest` runs the main job with the real ones."""

from __future__ import annotations

import importlib
import tomllib
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path

import click
import cv2
import pytest
from packaging.requirements import Requirement

from edgeharfer.cli import run, run_command
from edgeharfer.cli.options import picture_size
from edgeharfer.runtime.source import opencv

PROJECT = Path(__file__).resolve().parents[2]


class PlainParamType(click.types.ParamType):  # type: ignore[type-arg]
    """As before click 8.4: not generic."""

    def __class_getitem__(cls, item: object) -> object:
        raise TypeError("type 'ParamType' is not subscriptable")


def test_help_without_a_generic_parameter_type(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(click, "ParamType", PlainParamType)
    importlib.reload(run)
    assert run_command(["run", "--help"]) == 0
    assert "--size WIDTHxHEIGHT" in capsys.readouterr().out


@pytest.mark.parametrize("size", ["640", "0x1", "axb"])
def test_a_size_is_two_numbers(size: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert picture_size("640x480") == (640, 480)
    assert run_command(["run", "--source", "demo", "--size", size]) == 2
    assert f"'--size': '{size}' is not WIDTHxHEIGHT, such as 640x480" in capsys.readouterr().err


def test_opencv_before_4_13_is_silenced_too(monkeypatch: pytest.MonkeyPatch) -> None:
    levels: list[int] = []
    monkeypatch.delenv("OPENCV_LOG_LEVEL", raising=False)
    monkeypatch.delattr(cv2.utils, "logging")
    monkeypatch.setattr(cv2, "setLogLevel", levels.append, raising=False)
    opencv.silence_opencv()
    assert levels == [0]


def test_the_check_of_the_lowest_versions_knows_all_bounds() -> None:
    loader = SourceFileLoader("lowest", str(PROJECT / ".ci" / "lowest"))
    spec = spec_from_loader("lowest", loader)
    assert spec is not None
    lowest = module_from_spec(spec)
    loader.exec_module(lowest)
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*map(Requirement, [*project["dependencies"], *project["optional-dependencies"]["cpu"]])]
    for python in ("3.10", "3.11"):
        here = [
            one for one in wanted if one.marker is None or one.marker.evaluate({"python_version": python})
        ]
        bounds = lowest.bounds(old=python == "3.10").items()
        assert [name for name, _ in bounds] == [one.name for one in here]
        assert all(f">={bound}" in str(one.specifier) for (_, bound), one in zip(bounds, here, strict=True))
