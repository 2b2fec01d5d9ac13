"""A process that analyses one input after the other; `WorkerProcess` starts it.

The first line on standard input holds the settings, each further line a task. For each task, messages go to
standard output: {"share": 0.4} for progress, then {"outcome": {…}} or {"error": [class, message]}. It exits
when standard input is closed, also in the middle of an analysis. A file that makes a decoder crash affects
only this process.
"""

from __future__ import annotations

import json

from edgeharfer.report.job import analyze_task
from edgeharfer.report.settings import AnalysisSettings
from edgeharfer.report.task import ReportTask
from edgeharfer.report.worker_io import MessageWriter, input_ended, read_lines, serve_parent
from edgeharfer.runtime.errors import EdgeharferError


def serve(descriptor: int, writer: MessageWriter) -> None:
    """Load the models, then process tasks until the input ends."""
    lines = read_lines(descriptor)
    settings = next(lines, b"")
    if not settings:
        return
    try:
        with AnalysisSettings.from_json(settings.decode("utf-8")).open_job() as job:
            for line in lines:
                writer.begin()
                task = ReportTask.from_dict(json.loads(line))
                outcome = analyze_task(job, task, writer.report, input_ended)
                writer.send({"outcome": outcome.to_dict()})
    except EdgeharferError as error:
        writer.send({"error": [type(error).__name__, str(error)]})


if __name__ == "__main__":
    serve_parent(serve)
