"""Versions of installed distributions, asked by name."""

from __future__ import annotations

import numpy as np
import pytest

from edgeharfer.runtime import versions
from edgeharfer.runtime.versions import (
    Dependency,
    all_installed,
    dependencies,
    installed,
    product_version,
    requirement_lines,
)


def test_what_is_installed_has_its_version() -> None:
    assert installed("numpy") == np.__version__


def test_what_is_not_installed_has_none_and_is_left_out() -> None:
    assert installed("no-such-distribution") is None
    assert all_installed(["no-such-distribution", "numpy"]) == {"numpy": np.__version__}


def test_our_own_is_empty_where_it_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions, "installed", {"edgeharfer": "1.2.3"}.get)
    assert product_version() == "1.2.3"
    monkeypatch.setattr(versions, "installed", lambda name: None)
    assert product_version() == ""


class Metadata:
    """The requirements of a product, and the distributions that are installed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, requires: list[str], found: dict[str, str]) -> None:
        monkeypatch.setattr(versions, "requires", lambda name: requires)
        monkeypatch.setattr(versions, "installed", {"edgeharfer": "1.0", **found}.get)


def test_dependencies_are_held_against_their_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    Metadata(monkeypatch, ["old>=2.10", "new>=2.9", "none>=1", "pinned==1.2.3; extra == 'x'"],
             {"old": "2.9", "new": "2.10rc1", "pinned": "1.2.3"})  # fmt: skip
    assert dependencies() == [
        Dependency("old", ">=2.10", "2.9", fits=False),
        Dependency("new", ">=2.9", "2.10rc1", fits=True),
        Dependency("none", ">=1", None, fits=False),
    ]
    assert dependencies("x") == [Dependency("pinned", "==1.2.3", "1.2.3", fits=True)]
    assert dependencies("y") == []


def test_a_twin_counts_where_the_required_one_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    Metadata(monkeypatch, ["opencv-python>=4.10"], {"opencv-python-headless": "4.9"})
    assert dependencies() == [Dependency("opencv-python-headless", ">=4.10", "4.9", fits=False)]


def test_requirements_of_other_systems_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    Metadata(monkeypatch, ["a>=1; sys_platform == 'none' and extra == 'x'", "b[c]>=1; extra == 'x'"], {})
    assert requirement_lines("x") == ["b[c]>=1"]


def test_a_source_tree_that_is_not_installed_needs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions, "installed", lambda name: None)
    assert (dependencies(), dependencies("app"), versions.extras()) == ([], [], [])
