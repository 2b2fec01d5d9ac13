"""What runs in a worker of Ray.

It keeps one `WorkerProcess` with the models loaded. A crash in a decoder therefore ends that process and not
the worker of Ray: only crashes count as attempts, and lost workers and machines do not. The worker of Ray
itself imports neither models nor decoders.
"""

from __future__ import annotations

import os
from typing import Any

from edgeharfer.report.task import ReportTask
from edgeharfer.report.workers import WorkerProcess

_worker: WorkerProcess | None = None
_worker_key: tuple[str, str | None] | None = None


def analyze_in_worker(settings: str, task: dict[str, Any]) -> dict[str, Any]:
    """Analyse an input in the process of this worker of Ray, which is started by its first task.

    It is replaced if the settings differ, or the GPU that Ray has assigned.
    """
    global _worker, _worker_key
    key = (settings, os.environ.get("CUDA_VISIBLE_DEVICES"))
    if _worker is None or _worker_key != key:
        if _worker is not None:
            _worker.close()
        _worker, _worker_key = WorkerProcess(settings), key
    return _worker.analyze(ReportTask.from_dict(task), lambda share: None).to_dict()
