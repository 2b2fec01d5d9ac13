"""A process that analyses inputs as Ray tasks, one each; `RayEngine` starts it.

Ray schedules the tasks and repeats one whose worker is lost. Ray ends the process that uses it, without an
error that could be caught, if a part of it is lost at the start; so it has a process of its own, which
imports neither models nor decoders. Ray starts once the options are known.

The first line on standard input holds the options. For each {"next": true} on standard output there is one
more line, a task or null. Further messages are {"outcome": {…}}, {"error": [class, message]}, {"end": true}
after the last task, and {"lost": reason} if Ray ended or did not start on this machine. The process stops
when standard input is closed.
"""

from __future__ import annotations

import contextlib
import json
import math
import signal
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import asdict, dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

from edgeharfer.report.task import ReportTask
from edgeharfer.report.windowed import windowed
from edgeharfer.report.worker_io import MessageWriter, input_ended, read_lines, serve_parent
from edgeharfer.runtime.clock import SystemClock
from edgeharfer.runtime.errors import ConfigError, EdgeharferError, first_line

NODE_CHECK_S = 2.0
_STORE_BYTES = 80_000_000
"""Shared memory of a Ray that this command starts; the minimum is 75 MB, and tasks need almost none."""
_TASKS_PER_CPU = 2
"""Tasks that are submitted for each CPU of the cluster, so that none waits for the next one."""
_LEAST_TASKS = 16
"""Tasks that are submitted at least, so that a cluster that starts machines on demand sees them."""


class RayLostError(Exception):
    """The Ray that this process started is lost; another process can start another one."""


@dataclass(frozen=True)
class RayOptions:
    """How Ray is used.

    Attributes:
        settings: Settings of the analysis, as `AnalysisSettings.to_json` writes them.
        address: Address of a running cluster, or "auto"; None starts Ray on this machine.
        workers: Most inputs that are analysed at a time; None for as many as the resources allow.
        cpus: CPUs that one input occupies.
        gpus: GPUs, or a share of one, that one input occupies.
        folder: Folder for the logs and sockets of a Ray that is started on this machine.
        work: Module and name of the function that runs in Ray's workers with the settings and the values of a
            task, and returns those of the outcome.
    """

    settings: str
    address: str | None = None
    workers: int | None = None
    cpus: float = 1.0
    gpus: float = 0.0
    folder: str = ""
    work: str = "edgeharfer.report.ray_worker:analyze_in_worker"

    def to_json(self) -> str:
        """The options as one line of JSON."""
        return json.dumps(asdict(self))


@dataclass(frozen=True)
class RayDriver:
    """Analyses tasks with Ray.

    Attributes:
        options: How Ray is used.
    """

    options: RayOptions

    def run(
        self, tasks: Iterable[ReportTask], stopping: Callable[[], bool]
    ) -> Generator[dict[str, Any], None, None]:
        """Analyse tasks, and yield the values of each outcome as soon as it is known, in any order.

        Args:
            tasks: Consumed as workers become free.
            stopping: Polled; True stops the analysis.

        Raises:
            ConfigError: There is no cluster at the address.
            EdgeharferError: A model cannot be loaded, a report cannot be written, or the cluster is lost.
            RayLostError: Ray cannot be started on this machine, or ended unexpectedly.
        """
        import ray

        options = self.options
        module, _, name = options.work.partition(":")
        with self._connected(ray), _translated_errors(ray, options.address):
            remote = ray.remote(getattr(import_module(module), name)).options(
                max_retries=-1,
                retry_exceptions=False,
                num_cpus=options.cpus,
                num_gpus=options.gpus,
                name="analyze",
            )
            pending: dict[Future[dict[str, Any]], Any] = {}

            def submit(task: ReportTask) -> Future[dict[str, Any]]:
                reference = remote.remote(options.settings, _absolute(task).to_dict())
                future: Future[dict[str, Any]] = reference.future()
                pending[future] = reference
                future.add_done_callback(pending.pop)
                return future

            watch = _NodeWatch(ray)

            def poll() -> None:
                if options.address is None:
                    watch.check()
                if stopping():
                    for reference in list(pending.values()):
                        ray.cancel(reference, force=True)

            yield from windowed(tasks, submit, self._window(ray), poll, stopping)

    def _window(self, ray: Any) -> int:
        if self.options.workers is not None:
            return self.options.workers
        cpus: float = ray.cluster_resources().get("CPU", 1)
        return max(_LEAST_TASKS, round(_TASKS_PER_CPU * cpus / self.options.cpus))

    @contextlib.contextmanager
    def _connected(self, ray: Any) -> Iterator[None]:
        """Connect to the cluster, or start one on this machine for the block.

        Raises:
            ConfigError: There is no cluster at the address.
            RayLostError: It cannot be started.
        """
        handler, address = signal.getsignal(signal.SIGTERM), self.options.address
        options = {} if address else self._local_options()
        try:
            ray.init(address=address or "local", log_to_driver=False, logging_level="ERROR", **options)
        except (ConnectionError, ValueError, RuntimeError, OSError) as error:
            reason = first_line(error)
            if address is None:
                raise RayLostError(f"Ray cannot be started: {reason}") from error
            raise ConfigError(f"--ray-address {address}: {reason}; start Ray there first") from error
        finally:
            # Ray replaces it with one that exits at once.
            signal.signal(signal.SIGTERM, handler or signal.SIG_DFL)
        try:
            yield
        finally:
            ray.shutdown()

    def _local_options(self) -> dict[str, Any]:
        workers = self.options.workers
        return {
            "num_cpus": None if workers is None else math.ceil(workers * self.options.cpus),
            "include_dashboard": False,
            "object_store_memory": _STORE_BYTES,
            "_temp_dir": self.options.folder,
        }


class _NodeWatch:
    """Watches the node of a Ray on this machine: tasks that are repeated without end wait for a lost one."""

    def __init__(self, ray: Any) -> None:
        self._ray, self._clock = ray, SystemClock()
        self._checked_s = self._clock.monotonic()

    def check(self) -> None:
        """Look at the node, every NODE_CHECK_S.

        Raises:
            RayLostError: The node is lost.
        """
        now_s = self._clock.monotonic()
        if now_s - self._checked_s < NODE_CHECK_S:
            return
        self._checked_s = now_s
        if not any(node["Alive"] for node in self._ray.nodes()):
            raise RayLostError("Ray: the node on this machine ended")


@contextlib.contextmanager
def _translated_errors(ray: Any, address: str | None) -> Iterator[None]:
    """Raise an error that a task reported as it is, and an error of a cluster in one line."""
    try:
        yield
    except ray.exceptions.RayError as error:
        cause = getattr(error, "cause", None)
        if isinstance(cause, EdgeharferError):
            raise cause from None
        reason = first_line(error)
        if address is None:
            raise RayLostError(f"Ray: {reason}") from error
        raise EdgeharferError(f"Ray: {reason}; run the same command again to continue") from error


def _absolute(task: ReportTask) -> ReportTask:
    """The task with absolute paths, because workers run in other folders."""
    spec = task.input.spec
    path = Path(spec).expanduser()
    if path.exists() or "://" not in spec:
        spec = str(path.absolute())
    return replace(task, input=replace(task.input, spec=spec), folder=task.folder.absolute())


def serve(descriptor: int, writer: MessageWriter) -> None:
    """Process tasks until there are no more."""
    import ray  # noqa: F401 - while the command loads its models

    lines = read_lines(descriptor)
    first = next(lines, b"")
    if not first:
        return

    def tasks() -> Iterator[ReportTask]:
        while True:
            writer.send({"next": True})
            values = json.loads(next(lines, b"null"))
            if values is None:
                return
            yield ReportTask.from_dict(values)

    try:
        for outcome in RayDriver(RayOptions(**json.loads(first))).run(tasks(), input_ended):
            writer.send({"outcome": outcome})
        writer.send({"end": True})
    except RayLostError as error:
        writer.send({"lost": str(error)})
    except EdgeharferError as error:
        writer.send({"error": [type(error).__name__, str(error)]})


if __name__ == "__main__":
    serve_parent(serve)
