"""The record of a job of several inputs, and the tables over all of them."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("matplotlib", reason="needs the report extra")

from analysis_stub import write_stub
from edgeharfer.report.combined import Table, write_combined
from edgeharfer.report.inputs import MANIFEST, find_inputs, plan_tasks
from edgeharfer.report.manifest import JobManifest, read_manifest
from edgeharfer.report.outcome import Outcome
from edgeharfer.runtime.child import child_environment
from edgeharfer.runtime.clock import ManualClock

OTHER = "time_s,frame,picture,track,raw_bored,label,score\n1.0,30,'=p.png,2,0.7,bored,0.7\n"


def job_of_two(out: Path) -> None:
    """Two finished reports, of different models."""
    (out / "v").mkdir()
    for name in ("-2.mp4", "b.mp4"):
        (out / "v" / name).write_bytes(b"x")
    first, second = plan_tasks(find_inputs([str(out / "v")]), out, {})
    write_stub(first.folder, first.input.name)
    write_stub(second.folder, "=b.mp4", frames=OTHER)
    with JobManifest(out, ManualClock()) as manifest:
        manifest.begin("local", 1)
        for task in (first, second):
            manifest.started(task)
            manifest.ended(task, Outcome(task.input.place, task.input.name, str(task.folder)))
        manifest.end(0)


def lines_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("table", ["csv", "parquet"])
def test_tables_hold_the_lines_of_all_reports(tmp_path: Path, table: Table) -> None:
    if table == "parquet":
        if sys.version_info < (3, 11):
            pytest.skip("the environment for Python 3.10 has no pyarrow")
        pytest.importorskip("pyarrow", reason="needs the scale extra")
    job_of_two(tmp_path)
    write_combined(tmp_path, table)
    summary = lines_of(tmp_path / "all_summary.csv")
    assert [(line["report"], line["input"], line["share_happy"]) for line in summary] == [
        ("'-2", "'-2.mp4", "1.0"),
        ("b", "'=b.mp4", "1.0"),
    ]
    persons = lines_of(tmp_path / "all_persons.csv")
    wanted = ("report", "track", "label", "seen_s", "coverage", "share_happy", "strength")
    assert [[line[column] for column in wanted] for line in persons] == [
        ["'-2", "1", "happy", "1.0", "0.5", "1.0", "0.75"],
        ["b", "1", "happy", "1.0", "0.5", "1.0", "0.75"],
    ]
    if table == "csv":
        frames = lines_of(tmp_path / "all_frames.csv")
        assert [
            (line["report"], line["picture"], line["raw_happy"], line["raw_bored"]) for line in frames
        ] == [
            ("'-2", "", "0.8", ""),
            ("'-2", "", "", ""),
            ("b", "'=p.png", "", "0.7"),
        ]
        return
    import pyarrow.parquet

    read = pyarrow.parquet.read_table(tmp_path / "all_frames.parquet")
    assert read.column("report").to_pylist() == ["-2", "-2", "b"]
    assert read.column("raw_happy").to_pylist() == [0.8, None, None]
    assert read.column("track").to_pylist() == [1, None, 2]


def test_without_tables_none_is_written(tmp_path: Path) -> None:
    job_of_two(tmp_path)
    write_combined(tmp_path, "none")
    assert not list(tmp_path.glob("all_*"))


def test_no_report_takes_the_name_of_a_table(tmp_path: Path) -> None:
    for name in ("job.jsonl.mp4", "all_frames.csv.mp4", "ALL_SUMMARY.csv.mp4"):
        (tmp_path / name).write_bytes(b"x")
    folders = [task.folder.name for task in plan_tasks(find_inputs([str(tmp_path)]), tmp_path / "out", {})]
    assert sorted(folders) == ["ALL_SUMMARY.csv-2", "all_frames.csv-2", "job.jsonl-2"]


def test_the_record_is_whole_to_its_last_line_when_the_process_is_killed(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"x")
    script = (
        "import os, signal, sys; from pathlib import Path;"
        "from edgeharfer.report.inputs import find_inputs, plan_tasks;"
        "from edgeharfer.report.manifest import JobManifest;"
        "from edgeharfer.runtime.clock import ManualClock;"
        "out = Path(sys.argv[1]); (task,) = plan_tasks(find_inputs([str(out / 'a.mp4')]), out, {});"
        "job = JobManifest(out, ManualClock()); job.begin('local', 2); job.started(task);"
        "os.kill(os.getpid(), getattr(signal, 'SIGKILL', signal.SIGTERM))"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], env=child_environment(), check=False)
    assert [entry["kind"] for entry in read_manifest(tmp_path)] == ["begin", "started"]
    os.truncate(tmp_path / MANIFEST, (tmp_path / MANIFEST).stat().st_size - 5)
    with JobManifest(tmp_path, ManualClock()) as manifest:
        manifest.end(1)
    assert [entry["kind"] for entry in read_manifest(tmp_path)] == ["begin", "end"]
