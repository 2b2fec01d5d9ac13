"""The command that installs an extra, for each way in which edgeharfer can have been installed."""

from __future__ import annotations

import json
import os
import platform
import shutil
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import pytest

from edgeharfer.runtime import installation
from edgeharfer.runtime.errors import MissingExtra
from edgeharfer.runtime.installation import adapt_install_commands, install_command, pip, quote
from edgeharfer.runtime.versions import requirement_lines

PROJECT = Path(__file__).resolve().parents[2]


class Installed:
    """A distribution with a direct_url.json (PEP 610), or without one."""

    def __init__(self, record: dict[str, Any] | str | None) -> None:
        self._record = record

    def read_text(self, name: str) -> str | None:
        assert name == "direct_url.json"
        return json.dumps(self._record) if isinstance(self._record, dict) else self._record
        return (
            self._record
            if self._record is None or isinstance(self._record, str)
            else json.dumps(self._record)
        )


@pytest.fixture(autouse=True)
def pip_of_this_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: str(Path(sys.executable).with_name(name)))


def install(monkeypatch: pytest.MonkeyPatch, record: dict[str, Any] | str | None) -> None:
    monkeypatch.setattr(installation, "distribution", lambda name: Installed(record))


def test_from_an_index(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, None)
    assert install_command("cpu", "app") == f"pip install {quote('edgeharfer[cpu,app]')}"


@pytest.mark.parametrize("editable", [True, False])
def test_from_a_checkout(editable: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "my checkout"
    folder.mkdir()
    install(monkeypatch, {"url": folder.as_uri(), "dir_info": {"editable": True} if editable else {}})
    option = "-e " if editable else ""
    assert install_command("app") == f"pip install {option}{quote(f'{folder}[app]')}"


def test_from_a_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = tmp_path / "edgeharfer-1.0-py3-none-any.whl"
    wheel.touch()
    install(monkeypatch, {"url": wheel.as_uri(), "archive_info": {"hashes": {}}})
    assert install_command("sign") == f"pip install {quote(f'{wheel}[sign]')}"


@pytest.mark.parametrize(
    ("record", "wanted"),
    [
        ({"url": "https://host/edgeharfer-1.0-py3-none-any.whl", "archive_info": {}},
         "edgeharfer[app] @ https://host/edgeharfer-1.0-py3-none-any.whl"),
        ({"url": "https://host/edgeharfer.git", "vcs_info": {"vcs": "git", "commit_id": "0a1b"}},
         "edgeharfer[app] @ git+https://host/edgeharfer.git@0a1b"),
    ],
)  # fmt: skip
def test_from_a_url(record: dict[str, Any], wanted: str, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, record)
    assert install_command("app") == f"pip install {quote(wanted)}"


def test_from_a_wheel_that_was_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its metadata still says what the extra needs."""
    install(monkeypatch, {"url": (tmp_path / "gone.whl").as_uri(), "archive_info": {}})
    needed = requirement_lines("sign")
    assert [line.startswith("cryptography>=") for line in needed] == [True]
    assert install_command("sign") == f"pip install {quote(needed[0])}"


def test_from_a_source_tree_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> Installed:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(installation, "distribution", absent)
    assert install_command("app") == f"pip install -e {quote(f'{PROJECT}[app]')}"


@pytest.mark.parametrize("record", ["no JSON", "[]"])
def test_a_damaged_record_counts_as_none(record: str, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, record)
    assert install_command("app") == f"pip install {quote('edgeharfer[app]')}"


@pytest.mark.parametrize("found", [None, "/somewhere/else/pip"])
def test_pip_of_another_environment_is_not_used(found: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: found)
    assert pip("uninstall") == f"{quote(sys.executable)} -m pip uninstall"


def test_without_pip_it_is_uv(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installation, "find_spec", lambda name: None)
    assert pip("install") == f"uv pip install --python {quote(sys.executable)}"


def test_words_with_a_command_in_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, {"url": tmp_path.as_uri(), "dir_info": {"editable": True}})
    text = "pip install 'edgeharfer[gpu]' for CUDA, or uv pip install 'edgeharfer[cpu]'"
    gpu, cpu = (f"-e {quote(f'{tmp_path}[{extra}]')}" for extra in ("gpu", "cpu"))
    assert adapt_install_commands(text) == f"pip install {gpu} for CUDA, or uv pip install {cpu}"
    assert adapt_install_commands("pip install edgeharfer 'a<2'") == "pip install 'a<2'"


def test_windows_has_other_quotes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "name", "nt")
    assert quote(r"C:\My Files\edgeharfer[app]") == r'"C:\My Files\edgeharfer[app]"'
    assert quote(r"C:\Python\python.exe") == r"C:\Python\python.exe"


def machine(monkeypatch: pytest.MonkeyPatch, system: str, processor: str, glibc: str, *version: int) -> None:
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(platform, "machine", lambda: processor)
    monkeypatch.setattr(platform, "libc_ver", lambda: ("glibc", glibc))
    monkeypatch.setattr(sys, "version_info", version)


@pytest.mark.parametrize(
    ("system", "processor", "glibc", "version", "reason"),
    [
        ("darwin", "arm64", "", (3, 12, 0), "there is no NVIDIA GPU on a Mac"),
        ("linux", "aarch64", "2.31", (3, 12, 0), "on a Jetson see edgeharfer doctor"),
        ("linux", "aarch64", "2.35", (3, 10, 12), "on a Jetson see edgeharfer doctor"),
        ("linux", "aarch64", "2.39", (3, 12, 0), ""),
        ("linux", "x86_64", "2.35", (3, 10, 12), ""),
        ("win32", "AMD64", "", (3, 11, 0), ""),
    ],
)
def test_where_gpu_installs_nothing_it_is_said_what_to_do(
    system: str,
    processor: str,
    glibc: str,
    version: tuple[int, ...],
    reason: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    machine(monkeypatch, system, processor, glibc, *version)
    answer, hint = installation.why_not_here("gpu"), installation.gpu_hint()
    monkeypatch.undo()
    assert (reason in answer and "[cpu]" in answer) if reason else answer == ""
    assert hint == (f"; {answer}" if reason else "; for an NVIDIA GPU use [gpu] instead of [cpu]")


@pytest.mark.parametrize("extra", ["export", "train"])
def test_export_and_training_need_a_newer_python(extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, "linux", "x86_64", "2.35", 3, 10, 12)
    error = MissingExtra("Keras", extra)
    monkeypatch.undo()
    assert str(error).startswith(
        f"Keras is not installed: [{extra}] needs Python 3.11 or newer, and this is "
    )
