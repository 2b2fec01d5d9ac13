"""A worker process without models: `WorkerProcess(settings, "analysis_stub")` runs this module.

What it does with an input is in the input's file, as words:

    crash          end by SIGSEGV
    crash_once     the same, but only while there is no file "crashed" next to the input
    wait           write the process id to "at_work" next to the input, then wait until standard input ends
    bad            report an input that cannot be read
    model          report a model that cannot be loaded
    many           write the report as one of many, without looking for what others left

For any other input it writes a report of two lines.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
from pathlib import Path
from typing import Any

from edgeharfer.report.worker_io import MessageWriter, read_lines, redirected_output
from edgeharfer.runtime.staging import replace_folder, temporary_folder

GROUP = {"sightings": 1, "coverage": 0.5, "confidence": 0.9}
SUMMARY: dict[str, Any] = {
    "input": {"kind": "video", "duration_s": 2.0, "frames": 60, "samples": 2, "unreadable": 0},
    "group": {**GROUP, "shares": {"happy": 1.0}, "mean_raw": {"happy": 0.8}},
    "persons": [{"track": 1, "seen_s": 1.0, **GROUP, "strength": 0.75, "shares": {"happy": 1.0}}],
}
FRAMES = "time_s,frame,picture,track,raw_happy,label,score\n0.0,0,,1,0.8,happy,0.8\n0.5,15,,,,,\n"


def write_stub(
    folder: Path,
    name: str,
    extra: dict[str, Any] | None = None,
    frames: str = FRAMES,
    *,
    sweep: bool = True,
) -> None:
    """Write a report."""
    summary = {**SUMMARY, "input": {**SUMMARY["input"], "name": name}, **(extra or {})}
    with temporary_folder(folder, sweep=sweep) as stage:
        (stage / "frames.csv").write_text(frames)
        (stage / "summary.json").write_text(json.dumps(summary))
        replace_folder(stage, folder)


def analyze(task: dict[str, Any], writer: MessageWriter) -> dict[str, Any]:
    """Do what the input says, and return the message for the parent."""
    path, folder, place = Path(task["input"]["spec"]), Path(task["folder"]), task["input"]["place"]
    outcome = {"place": place, "name": path.name}
    words, crashed = path.read_text().split(), path.with_name("crashed")
    if "crash" in words or ("crash_once" in words and not crashed.exists()):
        crashed.touch()
        os.kill(os.getpid(), signal.SIGSEGV)
    if "wait" in words:
        mark = path.with_name("at_work.new")
        mark.write_text(str(os.getpid()))
        with temporary_folder(folder):
            mark.rename(path.with_name("at_work"))
            select.select([0], [], [])
        return {"outcome": outcome}
    if "bad" in words:
        return {"outcome": {**outcome, "error": f"{path}: no video"}}
    if "model" in words:
        return {"error": ["ProviderError", "no such device"]}
    writer.report(0.5)
    resume = {"resume": {"place": place, "key": task["key"]}}
    write_stub(folder, path.name, resume, sweep="many" not in words)
    return {"outcome": {**outcome, "folder": str(folder), "text": "1 person", "video_s": 2.0}}


def main() -> None:
    """Serve the parent process."""
    with redirected_output() as out:
        writer, lines = MessageWriter(out), read_lines(sys.stdin.fileno())
        next(lines, b"")
        for line in lines:
            writer.begin()
            writer.send(analyze(json.loads(line), writer))


if __name__ == "__main__":
    main()
