"""What holds for every test: no network beyond this machine, no screen for charts, quiet TensorFlow.

A test that needs a part outside the project (see `system_parts`) is skipped where it is missing; the last
lines of a run list those parts. With CI=true such a test fails.
"""

from __future__ import annotations

import ipaddress
import logging
import os
import socket
import sys
from collections import Counter
from collections.abc import Generator, Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Any, TypeVar

import pytest

import system_parts

NEW = (
    "architecture",
    "benchmark",
    "calib",
    "deploy_docs",
    "dev",
    "docs",
    "export",
    "label_orders",
    "lowest",
    "metrics",
    "training",
)
"""How the names of the files go on that need Python 3.11: export, training, and checks of the project."""
collect_ignore_glob = [f"unit/test_{name}*" for name in NEW] if sys.version_info < (3, 11) else []
COMPUTING = ("test_training", "test_export", "test_calib", "test_benchmark", "test_analyze")
"""How the names of those files begin."""
R = TypeVar("R", pytest.TestReport, pytest.CollectReport)

os.environ.setdefault("MPLBACKEND", "Agg")
# Hundreds of child processes import the product: only the first of them shall have to compile it.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# Python's webbrowser opens this instead of a window, should a test start the app without --no-browser.
os.environ["BROWSER"] = f'"{sys.executable}" -c pass %s'


def _is_local(family: int, address: Any) -> bool:
    if family not in (socket.AF_INET, socket.AF_INET6):
        return True
    host = str(address[0])
    if host in ("", "localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@pytest.fixture(autouse=True)
def own_record(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Packages that this process compares with their golden outputs are remembered for the tests alone."""
    path = tmp_path_factory.getbasetemp() / "compared.json"
    monkeypatch.setattr("edgeharfer.runtime.golden.record_path", lambda: path)


@pytest.fixture(autouse=True)
def default_log_level() -> Iterator[None]:
    """A command that runs in this process may set the level of the product's log for good."""
    yield
    logging.getLogger("edgeharfer").setLevel(logging.NOTSET)


@pytest.fixture(autouse=True)
def only_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python code that would leave this machine fails at once instead of passing only where a network is."""
    connect, connect_ex = socket.socket.connect, socket.socket.connect_ex

    def guard(this: socket.socket, address: Any) -> None:
        if not _is_local(this.family, address):
            pytest.fail(f"a test tried to connect to {address}")

    def guarded_connect(this: socket.socket, address: Any) -> None:
        guard(this, address)
        connect(this, address)

    def guarded_connect_ex(this: socket.socket, address: Any) -> int:
        guard(this, address)
        return connect_ex(this, address)

    monkeypatch.setattr(socket.socket, "connect", guarded_connect)
    monkeypatch.setattr(socket.socket, "connect_ex", guarded_connect_ex)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files whose tests wait (faults) alternate with files whose tests compute, to share the cores."""
    files: dict[Path, list[pytest.Item]] = {}
    for item in items:
        files.setdefault(item.path, []).append(item)
    waiting = [path for path in files if path.parent.name == "faults"]
    computing = [path for path in files if path.name.startswith(COMPUTING)]
    pairs = [path for pair in zip_longest(computing, waiting) for path in pair if path is not None]
    items[:] = [item for path in dict.fromkeys([*pairs, *files]) for item in files[path]]


def pytest_runtest_setup(item: pytest.Item) -> None:
    for mark in item.iter_markers("needs"):
        system_parts.require(*mark.args)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    return _fail_in_ci((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    return _fail_in_ci((yield))


def _fail_in_ci(report: R) -> R:
    """With CI=true nothing may be missing."""
    reason = _missing_part(report)
    if reason is not None and os.environ.get("CI") == "true":
        report.outcome = "failed"
        report.longrepr = f"with CI=true a missing part fails: {reason}"
    return report


def _missing_part(report: pytest.TestReport | pytest.CollectReport) -> str | None:
    """What the skipped test or module needs, in the words of its reason."""
    if not report.skipped or not isinstance(report.longrepr, tuple):
        return None
    reason = report.longrepr[2].removeprefix("Skipped: ")
    return reason if reason.startswith((system_parts.NEEDS, "could not import")) else None


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    skipped = terminalreporter.stats.get("skipped", [])
    waiting = Counter(reason for report in skipped if (reason := _missing_part(report)) is not None)
    if waiting:
        terminalreporter.section("skipped for want of a part")
    for reason, count in sorted(waiting.items()):
        terminalreporter.line(f"{count:4} skipped: {reason}")
