"""Analyse inputs as Ray tasks, one each. Ray schedules them and repeats a task whose worker is lost.

Each Ray worker keeps one `WorkerProcess` with the models loaded. A crash in a decoder therefore ends that
process and not the Ray worker: only crashes count as attempts, and lost workers and machines do not.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgeharfer.report.engine import ProgressCallback, windowed
from edgeharfer.report.inputs import ReportTask
from edgeharfer.report.outcome import Outcome
from edgeharfer.report.settings import AnalysisSettings
from edgeharfer.report.worker import task_from_dict
from edgeharfer.report.workers import WorkerProcess, task_to_dict
from edgeharfer.runtime.errors import ConfigError

_TASKS_PER_CPU = 2
"""Tasks that are submitted for each CPU of the cluster, so that none waits for the next one."""
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",  # no telemetry
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # tasks without a GPU share do not change CUDA_VISIBLE_DEVICES
}


@dataclass(frozen=True)
class RayEngine:
    """The engine for `--engine ray`.

    Attributes:
        settings: Settings of the analysis.
        address: Address of a running cluster, or "auto"; None starts Ray on this machine.
        workers: Most inputs that are analysed at a time; None for as many as the resources allow.
        cpus: CPUs that one input occupies.
        gpus: GPUs, or a share of one, that one input occupies.
    """

    settings: AnalysisSettings
    address: str | None = None
    workers: int | None = None
    cpus: float = 1.0
    gpus: float = 0.0

    def run(
        self, tasks: Iterable[ReportTask], progress: ProgressCallback, stopping: Callable[[], bool]
    ) -> Iterator[Outcome]:
        import ray

        with self._connected(ray):
            settings = ray.put(self.settings.to_json())
            remote = ray.remote(analyze_in_worker).options(
                max_retries=-1, retry_exceptions=False, num_cpus=self.cpus, num_gpus=self.gpus, name="analyze"
            )
            pending: dict[Future[dict[str, Any]], Any] = {}

            def submit(task: ReportTask) -> Future[dict[str, Any]]:
                reference = remote.remote(settings, task_to_dict(_absolute(task)))
                future: Future[dict[str, Any]] = reference.future()
                pending[future] = reference
                future.add_done_callback(pending.pop)
                return future

            def poll() -> None:
                if stopping():
                    for reference in list(pending.values()):
                        ray.cancel(reference, force=True)

            for answer in windowed(tasks, submit, self._window(ray), poll, stopping):
                if answer is not None:
                    yield Outcome.from_dict(answer)

    def _window(self, ray: Any) -> int:
        if self.workers is not None:
            return self.workers + 1
        cpus: float = ray.cluster_resources().get("CPU", 1)
        return max(2, round(_TASKS_PER_CPU * cpus / self.cpus))

    @contextlib.contextmanager
    def _connected(self, ray: Any) -> Iterator[None]:
        """Connect to the cluster, or start one on this machine for the block.

        Raises:
            ConfigError: There is no cluster at the address.
        """
        os.environ.update(_QUIET)
        local = {} if self.address else {"num_cpus": self._local_cpus(), "include_dashboard": False}
        handler = signal.getsignal(signal.SIGTERM)
        try:
            ray.init(address=self.address or "local", log_to_driver=False, logging_level="ERROR", **local)
        except (ConnectionError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise ConfigError(f"--ray-address {self.address}: {reason}; start Ray there first") from error
        finally:
            signal.signal(signal.SIGTERM, handler)  # Ray replaces it with one that exits at once
        try:
            yield
        finally:
            ray.shutdown()

    def _local_cpus(self) -> int:
        return max(1, round((self.workers or os.cpu_count() or 1) * self.cpus))


_worker: WorkerProcess | None = None


def analyze_in_worker(settings: str, task: dict[str, Any]) -> dict[str, Any]:
    """Analyse an input in the process of this Ray worker, which is started by its first task."""
    global _worker
    parsed = AnalysisSettings.from_json(settings)
    if _worker is None or _worker.settings != parsed:
        if _worker is not None:
            _worker.close()
        _worker = WorkerProcess(parsed)
    return _worker.analyze(task_from_dict(task), lambda share: None).to_dict()


def _absolute(task: ReportTask) -> ReportTask:
    """The task with absolute paths, because workers run in other folders."""
    spec = task.input.spec
    path = Path(spec).expanduser()
    if path.exists() or "://" not in spec:
        spec = str(path.absolute())
    return replace(task, input=replace(task.input, spec=spec), folder=task.folder.absolute())
