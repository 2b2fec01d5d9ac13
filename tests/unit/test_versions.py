"""Versions of installed distributions, asked by name."""

from __future__ import annotations

import numpy as np
import pytest

from edgeharfer.runtime import versions
from edgeharfer.runtime.versions import all_installed, installed, product_version


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
