"""Where inputs are analysed: in this process, or in several worker processes."""

from __future__ import annotations

import queue
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Protocol

from edgeharfer.report.job import ReportJob, analyze_task
from edgeharfer.report.outcome import Outcome
from edgeharfer.report.settings import AnalysisSettings
from edgeharfer.report.task import ReportTask
from edgeharfer.report.windowed import windowed
from edgeharfer.report.workers import WorkerProcess
from edgeharfer.runtime.clock import Clock, SystemClock

ProgressCallback = Callable[[ReportTask, float], None]
_POLL_S = 0.2


class Engine(Protocol):
    """Analyses tasks."""

    def run(
        self, tasks: Iterable[ReportTask], progress: ProgressCallback, stopping: Callable[[], bool]
    ) -> Generator[Outcome, None, None]:
        """Analyse tasks, and yield each outcome as soon as it is known, in any order.

        Closing the generator ends everything that was started.

        Args:
            tasks: Consumed as workers become free, so it may be long or slow.
            progress: Called in this thread with a task that is being analysed and the share that is done.
            stopping: Polled; True stops the analysis. Tasks that were stopped have no outcome, or one that
                is `stopped`.

        Raises:
            EdgeharferError: A model cannot be loaded, or a report cannot be written.
        """


class InProcess:
    """Analyses one task after the other in this process."""

    def __init__(self, job: ReportJob) -> None:
        self._job = job

    def run(
        self, tasks: Iterable[ReportTask], progress: ProgressCallback, stopping: Callable[[], bool]
    ) -> Generator[Outcome, None, None]:
        warm = False
        for task in tasks:
            if not warm:
                self._job.analyzer.warm_up()
                warm = True
            if stopping():
                return
            yield analyze_task(self._job, task, partial(progress, task), stopping)


class LocalWorkers:
    """Analyses tasks in worker processes on this machine.

    Args:
        workers: Number of processes, at least 1.
        make_worker: Creates a worker.
        clock: Measures the pauses while waiting for workers to stop.
    """

    def __init__(
        self, workers: int, make_worker: Callable[[], WorkerProcess], clock: Clock | None = None
    ) -> None:
        self._number, self._make_worker, self._clock = workers, make_worker, clock or SystemClock()

    def run(
        self, tasks: Iterable[ReportTask], progress: ProgressCallback, stopping: Callable[[], bool]
    ) -> Generator[Outcome, None, None]:
        workers = [self._make_worker() for _ in range(self._number)]
        shares: queue.SimpleQueue[tuple[ReportTask, float]] = queue.SimpleQueue()
        free: queue.SimpleQueue[WorkerProcess] = queue.SimpleQueue()
        for worker in workers:
            free.put(worker)

        def analyze(task: ReportTask) -> Outcome:
            worker = free.get()
            try:
                return worker.analyze(task, lambda share: shares.put((task, share)))
            finally:
                free.put(worker)

        def stop() -> None:
            for worker in workers:
                worker.stop()

        def poll() -> None:
            while not shares.empty():
                progress(*shares.get())
            if stopping():
                stop()

        threads = ThreadPoolExecutor(self._number, "analyze")
        try:
            yield from windowed(
                tasks, lambda task: threads.submit(analyze, task), self._number, poll, stopping
            )
        finally:
            stop()
            while free.qsize() < self._number:  # the others are still at work
                self._clock.sleep(_POLL_S)
                stop()
            threads.shutdown(cancel_futures=True)
            for worker in workers:
                worker.close()


def local_engine(settings: AnalysisSettings, workers: int) -> Engine:
    """The engine for `--engine local` with several workers."""
    return LocalWorkers(workers, partial(WorkerProcess, settings.to_json()))
