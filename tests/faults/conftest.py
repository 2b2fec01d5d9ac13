"""What the fault tests share: proxies are passed by, and figures go to a file where one is asked for."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

Figures = Callable[..., None]


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def figures(request: pytest.FixtureRequest) -> Figures:
    """Keeps what a test has measured, one JSON object a line in the file that EDGEHARFER_FIGURES names."""

    def keep(**measured: float) -> None:
        if path := os.environ.get("EDGEHARFER_FIGURES"):
            rounded = {name: round(value, 4) for name, value in measured.items()}
            with Path(path).open("a", encoding="utf-8") as file:
                file.write(json.dumps({"test": request.node.nodeid, **rounded}) + "\n")

    return keep
