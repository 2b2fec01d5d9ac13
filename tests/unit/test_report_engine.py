"""Many inputs in worker processes: crashes, stops and the number of tasks that are handed out at a time."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from pathlib import Path

import pytest

pytest.importorskip("matplotlib", reason="needs the report extra")

from analysis_processes import content_of, is_running
from edgeharfer.report.batch import Batch, Workload
from edgeharfer.report.engine import LocalWorkers, ProgressCallback
from edgeharfer.report.inputs import find_inputs, plan_tasks
from edgeharfer.report.manifest import JobManifest, read_manifest
from edgeharfer.report.outcome import Outcome, stopped
from edgeharfer.report.settings import AnalysisSettings
from edgeharfer.report.task import ReportTask
from edgeharfer.report.workers import MAX_ATTEMPTS, STOP_TIMEOUT_S, WorkerProcess
from edgeharfer.runtime.clock import ManualClock, SystemClock
from edgeharfer.runtime.errors import EdgeharferError, SourceError

STUB = "analysis_stub"
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the stub ends itself by a signal")


class Lines:
    """What a batch prints."""

    def __init__(self) -> None:
        self.results: list[str] = []
        self.errors: list[str] = []
        self.share = 0.0

    def begin(self, total: int) -> None:
        self.total = total

    def advance(self, more: float, label: str) -> None:
        self.share += more

    def close(self) -> None:
        pass

    def print_result(self, line: str) -> None:
        self.results.append(line)

    def print_error(self, line: str) -> None:
        self.errors.append(line)


def tasks_of(folder: Path, **contents: str) -> list[ReportTask]:
    """Inputs with these contents, and their tasks."""
    for name, words in contents.items():
        (folder / f"{name}.mp4").write_text(words)
    specs = [str(folder / f"{name}.mp4") for name in contents]
    return list(plan_tasks(find_inputs(specs), folder / "out", {}))


def workers(number: int = 1) -> LocalWorkers:
    return LocalWorkers(number, lambda: WorkerProcess(AnalysisSettings().to_json(), STUB))


def outcomes(engine: LocalWorkers, tasks: Iterable[ReportTask]) -> dict[str, Outcome]:
    return {one.name: one for one in engine.run(tasks, lambda *_: None, lambda: False)}


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_worker_that_crashes_is_replaced(tmp_path: Path) -> None:
    found = outcomes(workers(), tasks_of(tmp_path, a="crash_once", b="fine"))
    assert {name: (one.attempts, one.error) for name, one in found.items()} == {
        "a.mp4": (2, ""),
        "b.mp4": (1, ""),
    }
    assert names(tmp_path / "out") == {"a", "b"}


def test_a_worker_that_is_killed_at_work_is_replaced(tmp_path: Path) -> None:
    (task,) = tasks_of(tmp_path, a="wait")
    with WorkerProcess(AnalysisSettings().to_json(), STUB) as worker:
        found: list[Outcome] = []
        thread = threading.Thread(target=lambda: found.append(worker.analyze(task, lambda share: None)))
        thread.start()
        pid = int(content_of(tmp_path / "at_work"))
        (tmp_path / "a.mp4").write_text("fine")
        os.kill(pid, signal.SIGKILL)
        thread.join()
    assert [(one.attempts, one.error) for one in found] == [(2, "")]
    assert names(tmp_path / "out") == {"a"}, "the folder that the killed process had begun is removed"


def test_an_input_on_which_workers_crash_is_given_up_and_named(tmp_path: Path) -> None:
    tasks = tasks_of(tmp_path, a="fine", b="crash", c="bad", d="fine")
    lines = Lines()
    with JobManifest(tmp_path, SystemClock()) as manifest, pytest.raises(SourceError, match=r"2 of 4 inputs"):
        Batch(
            workers(2), Workload.of(tasks), lines, lambda: False, manifest, SystemClock()
        ).run()  # fmt: skip
    assert names(tmp_path / "out") == {"a", "d"}
    assert sorted(lines.errors) == [
        f"{tmp_path / 'b.mp4'}: {MAX_ATTEMPTS} worker processes crashed on it (SIGSEGV)",
        f"{tmp_path / 'c.mp4'}: no video",
    ]
    ends = {entry["place"]: entry for entry in read_manifest(tmp_path) if entry["kind"] in ("done", "failed")}
    assert [(ends[task.input.place]["kind"], ends[task.input.place]["attempts"]) for task in tasks] == [
        ("done", 1),
        ("failed", MAX_ATTEMPTS),
        ("failed", 1),
        ("done", 1),
    ]
    assert lines.share == pytest.approx(lines.total)


def test_a_model_that_cannot_be_loaded_ends_the_job(tmp_path: Path) -> None:
    with pytest.raises(EdgeharferError, match="no such device") as caught:
        outcomes(workers(2), tasks_of(tmp_path, a="model", b="fine", c="wait"))
    assert caught.value.exit_code == 3
    if (tmp_path / "at_work").exists():
        assert not is_running(int((tmp_path / "at_work").read_text()))


def test_a_stop_leaves_neither_processes_nor_files_and_the_job_goes_on(tmp_path: Path) -> None:
    tasks = tasks_of(tmp_path, a="fine", b="wait", c="fine", d="fine")
    at_work = tmp_path / "at_work"
    lines = Lines()
    batch = Batch(workers(1), Workload.of(tasks), lines, at_work.exists, None, SystemClock())
    assert batch.run() == 3
    assert not is_running(int(at_work.read_text()))
    assert names(tmp_path / "out") == {"a"}
    assert lines.errors == ["stopped with 3 of 4 inputs left; run the same command again to continue"]
    (tmp_path / "b.mp4").write_text("fine")
    again = Lines()
    tasks = tasks_of(tmp_path, a="fine", b="fine", c="fine", d="fine")
    assert Batch(workers(2), Workload.of(tasks), again, lambda: False, None, SystemClock()).run() == 0
    assert names(tmp_path / "out") == {"a", "b", "c", "d"}


def test_a_process_that_does_not_stop_is_killed(tmp_path: Path) -> None:
    (task,) = tasks_of(tmp_path, a="wait")
    clock = ManualClock()
    worker = WorkerProcess(AnalysisSettings().to_json(), STUB, clock)
    found: list[Outcome] = []
    thread = threading.Thread(target=lambda: found.append(worker.analyze(task, lambda share: None)))
    thread.start()
    pid = int(content_of(tmp_path / "at_work"))
    os.kill(pid, signal.SIGSTOP)
    worker.stop()
    assert thread.is_alive()
    clock.sleep(STOP_TIMEOUT_S + 1)
    worker.stop()
    thread.join()
    worker.close()
    assert found[0].stopped
    assert not is_running(pid)


class Counting:
    """An engine that keeps three tasks open, and counts those that were taken and have not ended."""

    def __init__(self) -> None:
        self.open = self.most = 0

    def run(
        self, tasks: Iterable[ReportTask], progress: ProgressCallback, stopping: Callable[[], bool]
    ) -> Generator[Outcome, None, None]:
        window: list[ReportTask] = []
        for task in tasks:
            window.append(task)
            self.most = max(self.most, len(window))
            if len(window) == 3:
                yield stopped(window.pop(0))
        while window:
            yield stopped(window.pop(0))


def test_a_long_list_starts_at_once_and_is_read_as_workers_become_free(tmp_path: Path) -> None:
    taken = 0

    def specs() -> Iterator[str]:
        nonlocal taken
        for number in range(100_000):
            taken += 1
            yield str(tmp_path / f"{number}.mp4")

    tasks = plan_tasks(find_inputs(specs()), tmp_path / "out", {})
    run = LocalWorkers(2, lambda: WorkerProcess(AnalysisSettings().to_json(), STUB)).run(
        tasks, lambda *_: None, lambda: False
    )
    (tmp_path / "0.mp4").write_text("bad")
    (tmp_path / "1.mp4").write_text("bad")
    (tmp_path / "2.mp4").write_text("bad")
    next(run)
    assert taken <= 3
    run.close()
    engine, lines = Counting(), Lines()
    small = plan_tasks(find_inputs(str(tmp_path / f"{number}.mp4") for number in range(500)), tmp_path, {})
    batch = Batch(engine, Workload.stream(small, None), lines, lambda: False, None, SystemClock())
    batch.run()
    assert engine.most == 3
    assert not batch._open


def test_two_workers_on_one_task_leave_one_whole_report(tmp_path: Path) -> None:
    (task,) = tasks_of(tmp_path, a="fine")
    found = list(workers(2).run([task, task], lambda *_: None, lambda: False))
    assert {one.folder for one in found} == {str(task.folder)}
    assert names(tmp_path / "out") == {"a"}
    assert names(task.folder) == {"frames.csv", "summary.json"}
