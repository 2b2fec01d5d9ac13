"""What is told about the machine."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from edgeharfer.benchmark.machine import is_busy, machine_facts, memory_gb, source_revision
from edgeharfer.runtime.clock import ManualClock
from edgeharfer.runtime.inference.device_record import cpu_model


def test_facts_are_json_and_name_versions() -> None:
    facts = machine_facts(ManualClock(86_400.0 * 365))
    assert json.loads(json.dumps(facts)) == facts
    assert facts["date"] == "1971-01-01 00:00 UTC"
    assert {"cpu", "cores", "memory_gb", "load_average", "python", "system"} <= set(facts)
    assert {"versions", "revision"} <= set(facts)
    versions = facts["versions"]
    assert isinstance(versions, dict) and {"numpy", "onnxruntime"} <= set(versions)


@pytest.mark.parametrize(
    ("load", "cores", "wanted"), [(9.0, 2, True), (1.4, 2, False), (None, 2, False), (1.0, None, False)]
)
def test_a_busy_machine_is_known(load: float | None, cores: int | None, wanted: bool) -> None:
    assert is_busy({"load_average": load, "cores": cores}) is wanted


def test_proc_files(tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nmodel name\t: Example 3000 @ 2 GHz\n")
    (tmp_path / "meminfo").write_text("MemTotal:       2097152 kB\nMemFree: 1 kB\n")
    assert cpu_model(tmp_path / "cpuinfo") == "Example 3000 @ 2 GHz"
    assert memory_gb(tmp_path / "meminfo") == 2.0
    assert memory_gb(tmp_path / "none") is None


def git(folder: Path, *arguments: str) -> None:
    identity = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


def test_the_revision_is_that_of_the_tree_that_the_code_is_part_of(tmp_path: Path) -> None:
    code, stranger = tmp_path / "code", tmp_path / "installed"
    code.mkdir()
    stranger.mkdir()
    assert source_revision(code) is None
    git(tmp_path, "init")
    (code / "a.py").write_text("1\n")
    (tmp_path / ".gitignore").write_text("installed/\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "first")
    clean = source_revision(code)
    assert clean is not None and not clean.endswith("+")
    (stranger / "b.py").write_text("2\n")
    assert source_revision(stranger) is None
    (code / "a.py").write_text("2\n")
    assert source_revision(code) == f"{clean}+"
