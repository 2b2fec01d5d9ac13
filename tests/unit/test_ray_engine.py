"""The process that uses Ray is replaced if it ends, with the tasks that have no outcome."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("matplotlib", reason="needs the report extra")

from edgeharfer.report import ray_engine
from edgeharfer.report.inputs import find_inputs, plan_tasks
from edgeharfer.report.ray_driver import RayOptions
from edgeharfer.report.ray_engine import MAX_LOSSES, RayEngine
from edgeharfer.runtime.child import child_environment
from edgeharfer.runtime.errors import EdgeharferError


@pytest.fixture(autouse=True)
def stub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_engine, "_MODULE", "ray_driver_stub")


def analyse(folder: Path, *script: str, stopping: Callable[[], bool] = lambda: False) -> list[str]:
    """The names of the outcomes of a, b and c."""
    (folder / "script").write_text("\n".join(script))
    for name in "abc":
        (folder / f"{name}.mp4").write_text("")
    tasks = plan_tasks(find_inputs(str(folder / f"{name}.mp4") for name in "abc"), folder / "out", {})
    engine = RayEngine(RayOptions("{}", work=str(folder)))
    return [outcome.name for outcome in engine.run(tasks, lambda *_: None, stopping)]


def starts(folder: Path) -> list[str]:
    return [path.read_text() for path in sorted(folder.glob("start-*"))]


def test_tasks_without_an_outcome_are_given_to_the_next_process(tmp_path: Path) -> None:
    assert analyse(tmp_path, "done die", "done lost", "done done") == ["a.mp4", "b.mp4", "c.mp4"]
    assert starts(tmp_path) == ["a.mp4 b.mp4", "b.mp4 c.mp4", "c.mp4"]
    folders = [line.split(" ", 1) for line in (tmp_path / "folders").read_text().splitlines()]
    assert [existed for existed, _ in folders] == ["True"] * 3
    assert not any(Path(folder).exists() for _, folder in folders), "each is removed after its process"


@pytest.mark.parametrize(("word", "reason"), [("die", "Ray ended unexpectedly"), ("lost", "Ray: no room")])
def test_a_ray_that_never_gives_an_outcome_is_given_up(tmp_path: Path, word: str, reason: str) -> None:
    times = MAX_LOSSES + 1
    with pytest.raises(EdgeharferError, match=rf"{reason} \({times} times in a row\); run the same command"):
        analyse(tmp_path, word)
    assert starts(tmp_path) == ["a.mp4"] * times


def test_ray_is_not_started_without_tasks(tmp_path: Path) -> None:
    engine = RayEngine(RayOptions("{}", work=str(tmp_path / "a folder that the process would need")))
    driver = engine._next_driver
    assert list(engine.run([], lambda *_: None, lambda: False)) == []
    assert driver is not None and driver.process.returncode is not None, "it has ended"


def test_the_process_ends_with_an_engine_that_never_ran() -> None:
    with contextlib.closing(RayEngine(RayOptions("{}"))) as engine:
        driver = engine._next_driver
    assert driver is not None and driver.process.returncode is not None, "it has ended"


@pytest.mark.parametrize("module", ["ray_driver", "ray_worker"])
def test_processes_of_ray_import_neither_models_nor_decoders(module: str) -> None:
    heavy = {"av", "cv2", "matplotlib", "numpy", "onnxruntime"}
    code = f"import edgeharfer.report.{module}, sys; print({heavy} & set(sys.modules))"
    command = [sys.executable, "-c", code]
    ended = subprocess.run(command, capture_output=True, text=True, check=True, env=child_environment())
    assert ended.stdout.strip() == "set()"


def test_a_process_that_hangs_is_ended_by_a_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_engine, "STOP_TIMEOUT_S", 0.2)
    assert analyse(tmp_path, "hang", stopping=(tmp_path / "start-0").exists) == []


def test_a_process_that_hangs_is_ended_by_an_error(tmp_path: Path) -> None:
    def stopping() -> bool:
        if (tmp_path / "start-0").exists():
            raise KeyboardInterrupt
        return False

    with pytest.raises(KeyboardInterrupt):
        analyse(tmp_path, "hang", stopping=stopping)
