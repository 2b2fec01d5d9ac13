"""Analyse inputs as Ray tasks, one each. Ray schedules them and repeats a task whose worker is lost."""

from __future__ import annotations

import contextlib
import math
import os
import secrets
import shutil
import signal
import tempfile
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgeharfer.report.engine import ProgressCallback, windowed
from edgeharfer.report.outcome import Outcome
from edgeharfer.report.ray_worker import analyze_in_worker
from edgeharfer.report.settings import AnalysisSettings
from edgeharfer.report.task import ReportTask
from edgeharfer.runtime.errors import ConfigError, EdgeharferError

_STORE_BYTES = 80_000_000
"""Shared memory of a Ray that this command starts; the minimum is 75 MB, and tasks need almost none."""
_TASKS_PER_CPU = 2
"""Tasks that are submitted for each CPU of the cluster, so that none waits for the next one."""
_LEAST_TASKS = 16
"""Tasks that are submitted at least, so that a cluster that starts machines on demand sees them."""
_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",  # no telemetry
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # tasks without a GPU share do not change CUDA_VISIBLE_DEVICES
}
_LOCAL_ENVIRONMENT = {
    "RAY_worker_niceness": "0",  # that of the command, not 15
    # Ray listens on all interfaces and would run the code of everybody who connects.
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": secrets.token_hex(32),
}
"""For a Ray that this command starts."""


@dataclass(frozen=True)
class RayEngine:
    """The engine for `--engine ray`.

    Attributes:
        settings: Settings of the analysis.
        address: Address of a running cluster, or "auto"; None starts Ray on this machine.
        workers: Most inputs that are analysed at a time; None for as many as the resources allow.
        cpus: CPUs that one input occupies.
        gpus: GPUs, or a share of one, that one input occupies.
        work: Runs in Ray's workers with the settings and a task, both as JSON, and returns the outcome.
    """

    settings: AnalysisSettings
    address: str | None = None
    workers: int | None = None
    cpus: float = 1.0
    gpus: float = 0.0
    work: Callable[[str, dict[str, Any]], dict[str, Any]] = analyze_in_worker

    def run(
        self, tasks: Iterable[ReportTask], progress: ProgressCallback, stopping: Callable[[], bool]
    ) -> Generator[Outcome, None, None]:
        # Ray reads these when it is imported.
        os.environ.update(_ENVIRONMENT if self.address else {**_ENVIRONMENT, **_LOCAL_ENVIRONMENT})
        import ray

        with self._connected(ray), _translated_errors(ray):
            settings = self.settings.to_json()
            remote = ray.remote(self.work).options(
                max_retries=-1, retry_exceptions=False, num_cpus=self.cpus, num_gpus=self.gpus, name="analyze"
            )
            pending: dict[Future[dict[str, Any]], Any] = {}

            def submit(task: ReportTask) -> Future[dict[str, Any]]:
                reference = remote.remote(settings, _absolute(task).to_dict())
                future: Future[dict[str, Any]] = reference.future()
                pending[future] = reference
                future.add_done_callback(pending.pop)
                return future

            def poll() -> None:
                if stopping():
                    for reference in list(pending.values()):
                        ray.cancel(reference, force=True)

            for answer in windowed(tasks, submit, self._window(ray), poll, stopping):
                yield Outcome.from_dict(answer)

    def _window(self, ray: Any) -> int:
        if self.workers is not None:
            return self.workers
        cpus: float = ray.cluster_resources().get("CPU", 1)
        return max(_LEAST_TASKS, round(_TASKS_PER_CPU * cpus / self.cpus))

    @contextlib.contextmanager
    def _connected(self, ray: Any) -> Iterator[None]:
        """Connect to the cluster, or start one on this machine for the block.

        Raises:
            ConfigError: There is no cluster at the address.
        """
        handler = signal.getsignal(signal.SIGTERM)
        with _temporary_folder() as folder:
            options = {} if self.address else self._local_options(folder)
            try:
                ray.init(
                    address=self.address or "local", log_to_driver=False, logging_level="ERROR", **options
                )
            except (ConnectionError, ValueError, RuntimeError, OSError) as error:
                reason = str(error).splitlines()[0]
                if self.address is None:
                    raise ConfigError(f"Ray cannot be started: {reason}") from error
                raise ConfigError(f"--ray-address {self.address}: {reason}; start Ray there first") from error
            finally:
                # Ray replaces it with one that exits at once.
                signal.signal(signal.SIGTERM, handler or signal.SIG_DFL)
            try:
                yield
            finally:
                ray.shutdown()

    def _local_options(self, folder: str) -> dict[str, Any]:
        return {
            "num_cpus": None if self.workers is None else math.ceil(self.workers * self.cpus),
            "include_dashboard": False,
            "object_store_memory": _STORE_BYTES,
            "_temp_dir": folder,
        }


@contextlib.contextmanager
def _temporary_folder() -> Iterator[str]:
    """A folder for the logs and sockets of a Ray that this command starts, removed at the end."""
    # The default folder of macOS makes paths that are too long for sockets.
    place = "/tmp" if os.name == "posix" else None
    folder = tempfile.mkdtemp(prefix="edgeharfer-ray-", dir=place)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _translated_errors(ray: Any) -> Iterator[None]:
    """Raise an error that a task reported as it is, and an error of Ray in one line."""
    try:
        yield
    except ray.exceptions.RayError as error:
        cause = getattr(error, "cause", None)
        if isinstance(cause, EdgeharferError):
            raise cause from None
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise EdgeharferError(f"Ray: {reason}; run the same command again to continue") from error


def _absolute(task: ReportTask) -> ReportTask:
    """The task with absolute paths, because workers run in other folders."""
    spec = task.input.spec
    path = Path(spec).expanduser()
    if path.exists() or "://" not in spec:
        spec = str(path.absolute())
    return replace(task, input=replace(task.input, spec=spec), folder=task.folder.absolute())
