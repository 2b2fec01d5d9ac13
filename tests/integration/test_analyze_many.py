"""`edgeharfer analyze --from`: lists of inputs, in worker processes without models."""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import sys
import threading
from collections.abc import Callable, Generator, Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("matplotlib", reason="analyze needs the report extra")

from edgeharfer.cli import run_command
from edgeharfer.report import inputs
from edgeharfer.report.engine import Engine, LocalWorkers, ProgressCallback
from edgeharfer.report.manifest import read_manifest
from edgeharfer.report.outcome import Outcome
from edgeharfer.report.task import ReportInput, ReportTask
from edgeharfer.report.workers import WorkerProcess
from edgeharfer.runtime.errors import EdgeharferError

needs_posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no named pipes in folders")


def use(monkeypatch: pytest.MonkeyPatch, engine: Engine) -> None:
    command = importlib.import_module("edgeharfer.cli.analyze")
    monkeypatch.setattr(command, "_worker_engine", lambda *_: contextlib.nullcontext(engine))


def stub_workers() -> Engine:
    return LocalWorkers(1, lambda: WorkerProcess("{}", "analysis_stub"))


def analyze(out: Path, *arguments: object) -> int:
    off = ["--emotion", "off", "--action", "off", "--detector", "blazeface"]
    return run_command(["analyze", "--out", str(out), "--workers", "2", *map(str, arguments), *off])


def write_inputs(folder: Path, **contents: str) -> None:
    for name, words in contents.items():
        (folder / f"{name}.mp4").write_text(words)


def reports_in(out: Path) -> set[str]:
    return {path.name for path in out.iterdir() if path.is_dir()}


def last_entry(out: Path) -> dict[str, Any]:
    *_, last = read_manifest(out)
    return last


def list_of(folder: Path, lines: Sequence[str]) -> Path:
    path = folder / "list.txt"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8-sig")
    return path


def test_a_line_that_cannot_be_used_is_named_and_the_others_are_analysed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_inputs(tmp_path, a="fine", b1="fine", b2="fine", c="bad", d="fine")
    first = str(tmp_path / "a.mp4")
    camera = "rtsp://user:secret@192.0.2.1/stream"
    lines = [first, "", first, str(tmp_path / "b*.mp4"), str(tmp_path / "c.mp4"), camera, "demo"]
    use(monkeypatch, stub_workers())
    out = tmp_path / "out"
    assert analyze(out, "--from", list_of(tmp_path, lines), tmp_path / "d.mp4") == 2
    assert reports_in(out) == {"a", "b1", "b2", "d"}
    errors = capsys.readouterr().err
    assert "c.mp4: no video" in errors
    assert "demo: has no end; limit it with --duration SECONDS" in errors
    assert "3 of 7 inputs could not be read" in errors
    assert "stopped" not in errors
    assert "secret" not in errors + (out / "job.jsonl").read_text()
    assert last_entry(out)["left"] == 0
    assert len((out / "all_summary.csv").read_text().splitlines()) == 5


def test_a_list_comes_from_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_inputs(tmp_path, a="fine", b="fine")
    lines = "".join(f"{tmp_path / name}.mp4\n" for name in "ab")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(lines.encode())))
    use(monkeypatch, stub_workers())
    assert analyze(tmp_path / "out", "--from", "-") == 0
    assert reports_in(tmp_path / "out") == {"a", "b"}


@needs_posix
def test_a_list_comes_from_a_pipe_which_can_be_read_only_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_inputs(tmp_path, a="fine")
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_text(f"{tmp_path / 'a.mp4'}\n"))
    writer.start()
    use(monkeypatch, stub_workers())
    assert analyze(tmp_path / "out", "--from", pipe) == 0
    writer.join()
    assert reports_in(tmp_path / "out") == {"a"}


def test_a_list_without_inputs_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = list_of(tmp_path, ["", ""])
    assert analyze(tmp_path / "out", "--from", path) == 2
    assert f"{path}: lists no inputs; write one path per line" in capsys.readouterr().err


class FirstTask:
    """An engine that takes one task."""

    def __init__(self) -> None:
        self.taken: list[str] = []

    def run(
        self, tasks: Iterable[ReportTask], progress: ProgressCallback, stopping: Callable[[], bool]
    ) -> Generator[Outcome, None, None]:
        self.taken.append(next(iter(tasks)).input.name)
        raise EdgeharferError("enough")
        yield


def test_a_list_of_100_000_inputs_starts_with_the_first_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    real = inputs.make_input

    def recorded(spec: str) -> ReportInput:
        made.append(spec)
        return real(spec)

    monkeypatch.setattr(inputs, "make_input", recorded)
    engine = FirstTask()
    use(monkeypatch, engine)
    path = list_of(tmp_path, [str(tmp_path / f"{number}.mp4") for number in range(100_000)])
    assert analyze(tmp_path / "out", "--from", path) == EdgeharferError.exit_code
    assert engine.taken == ["0.mp4"]
    assert len(made) <= 2


def test_options_of_ray_need_ray(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert analyze(tmp_path / "out", tmp_path / "a.mp4", "--gpus", "0.5") == 2
    assert "--gpus needs --engine ray" in capsys.readouterr().err
