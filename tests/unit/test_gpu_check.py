"""What `make gpu-check` does with each step; the steps are stand-ins, and nothing here measures a GPU."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture
def check(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("gpu_check", PROJECT / ".ci" / "gpu_check.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "gpu_check", module)
    spec.loader.exec_module(module)
    return module


def test_without_a_gpu_it_says_so_and_exits_with_3(
    check: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "gpu.json"
    assert check.main(["--json", str(file)], find_gpu=lambda: None) == 3
    assert "no NVIDIA GPU was found" in capsys.readouterr().err
    assert not file.exists()


def test_every_step_is_in_the_file_with_its_state_or_its_reason(
    check: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, written = tmp_path / "gpu.json", tmp_path / "figures.json"
    planned = [
        check.Step("prints figures", 60, ("-c", "print('{\"a\": 1}')")),
        check.Step(
            "writes figures", 60, ("-c", f"open({str(written)!r}, 'w').write('[2]')"), "cuda", written
        ),
        check.Step("fails", 60, ("-c", "import sys; sys.exit('broken')")),
        check.Step("does not end", 1.5, ("-c", "import time; time.sleep(600)")),
        check.Step("cannot run", 60, ("-c", ""), "tensorrt"),
        check.Step("unknown provider", 60, ("-c", ""), "tensorrt-rtx"),
    ]
    monkeypatch.setattr(check, "steps", lambda folder: planned)
    monkeypatch.setattr(check, "probe", lambda python, left_s: {"cuda": None, "tensorrt": "no libnvinfer"})
    assert check.main(["--json", str(file)], find_gpu=lambda: "a card") == 1
    content = json.loads(file.read_text(encoding="utf-8"))
    assert content["gpu"] == "a card" and content["providers"]["tensorrt"] == "no libnvinfer"
    entries = {entry["name"]: entry for entry in content["steps"]}
    assert [entry["state"] for entry in entries.values()] == [
        *("ok", "ok", "failed", "out of time", "not run", "not run")
    ]
    assert entries["prints figures"]["figures"] == {"a": 1} and entries["writes figures"]["figures"] == [2]
    assert entries["fails"]["reason"] == "broken"
    assert entries["cannot run"]["reason"] == "no libnvinfer"
    assert "tensorrt-rtx" in entries["unknown provider"]["reason"]


def test_a_step_for_which_no_time_is_left_is_not_run(check: ModuleType) -> None:
    step = check.Step("late", 60, ("-c", ""))
    entry = check.run_step(step, sys.executable, {}, 0.5)
    assert (entry["state"], entry["reason"]) == ("not run", "no time was left")


def test_what_it_runs_is_there(check: ModuleType, tmp_path: Path) -> None:
    planned = check.steps(tmp_path)
    assert {step.provider for step in planned} == {"", *check.PROVIDERS}
    assert all(path.is_file() for step in planned for path in step.arguments[:1] if isinstance(path, Path))
    compile(check.SWAP, "swap", "exec")
    compile(check.PROBE, "probe", "exec")
