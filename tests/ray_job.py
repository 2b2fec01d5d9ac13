"""Analyse inputs with `analysis_stub` on Ray: `python ray_job.py OUT INPUT…` prints one outcome a line.

The process id of the Ray worker that has an input is written to INPUT.worker.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from edgeharfer.report.inputs import find_inputs, plan_tasks
from edgeharfer.report.ray_driver import RayOptions
from edgeharfer.report.ray_engine import RayEngine
from edgeharfer.report.settings import AnalysisSettings
from edgeharfer.report.task import ReportTask
from edgeharfer.report.workers import WorkerProcess


def analyze(settings: str, task: dict[str, Any]) -> dict[str, Any]:
    """Analyse an input in a process that runs `analysis_stub`."""
    Path(task["input"]["spec"] + ".worker").write_text(str(os.getpid()))
    Path(task["input"]["spec"] + ".usage").write_text(os.environ["RAY_USAGE_STATS_ENABLED"])
    with WorkerProcess(settings, "analysis_stub") as worker:
        return worker.analyze(ReportTask.from_dict(task), lambda share: None).to_dict()


def main(out: str, *inputs: str) -> None:
    """Run the job."""
    stops: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: stops.append(number))
    tasks = plan_tasks(find_inputs(inputs), Path(out), {})
    options = RayOptions(AnalysisSettings().to_json(), workers=2, work="ray_job:analyze")
    engine = RayEngine(options)
    for outcome in engine.run(
        (task for task in tasks if not task.done), lambda *_: None, lambda: bool(stops)
    ):
        print(json.dumps(outcome.to_dict()), flush=True)
    print(json.dumps({"stops": stops}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
