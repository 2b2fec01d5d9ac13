"""The engine for `--engine ray`: a process that uses Ray, which is replaced if Ray is lost."""

from __future__ import annotations

import contextlib
import json
import math
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import replace
from itertools import chain, islice
from subprocess import DEVNULL, PIPE
from typing import Any

from edgeharfer.report.engine import ProgressCallback
from edgeharfer.report.outcome import Outcome
from edgeharfer.report.ray_driver import RayOptions
from edgeharfer.report.task import ReportTask
from edgeharfer.report.workers import STOP_TIMEOUT_S, close_input, reported_error, send_line
from edgeharfer.runtime.child import Child, child_command
from edgeharfer.runtime.clock import SystemClock
from edgeharfer.runtime.errors import EdgeharferError

MAX_LOSSES = 5
"""Times in a row that Ray is started again without an outcome in between."""
_MODULE = "edgeharfer.report.ray_driver"
_POLL_S = 0.2
_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",  # no telemetry
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # tasks without a GPU share do not change CUDA_VISIBLE_DEVICES
}
_LOCAL_ENVIRONMENT = {
    "RAY_worker_niceness": "0",  # that of the command, not 15
    # Ray listens on all interfaces and would run the code of everybody who connects.
    "RAY_AUTH_MODE": "token",
    # A server (GCS) that was killed does not come back; by default, the other processes wait for a minute.
    "RAY_gcs_rpc_server_reconnect_timeout_s": "10",
    "RAY_enable_autoscaler_v2": "1",  # the process of version 1 is idle here, and takes a second to end
}
"""For a Ray that the process starts."""


class RayEngine:
    """Analyses tasks with Ray.

    The process that uses Ray imports it from now on, and starts it with the first task.

    Args:
        options: How Ray is used.
    """

    def __init__(self, options: RayOptions) -> None:
        self._options = options
        self._next_driver: Child | None = self._start_driver()
        self._given: dict[str, ReportTask] = {}  # tasks without an outcome, by the place of the input
        self._ended, self._reason = False, ""

    def run(
        self, tasks: Iterable[ReportTask], progress: ProgressCallback, stopping: Callable[[], bool]
    ) -> Generator[Outcome, None, None]:
        self._given.clear()
        coming, losses = iter(tasks), 0
        again = list(islice(coming, 1))
        if not again:
            self.close()
            return
        with ThreadPoolExecutor(1, "ray") as reader:
            while True:
                self._ended, self._reason = False, "Ray ended unexpectedly"
                with _temporary_folder() as folder, self._driver() as driver:
                    options = replace(self._options, folder=folder)
                    for outcome in self._outcomes(driver, options, chain(again, coming), reader, stopping):
                        losses = 0
                        yield outcome
                if self._ended or stopping():
                    return
                again = list(self._given.values())
                losses += 1
                if losses > MAX_LOSSES:
                    raise EdgeharferError(
                        f"{self._reason} ({losses} times in a row); run the same command again to continue"
                    )

    def close(self) -> None:
        """End the process if no task was ever run; repeated calls have no effect."""
        if self._next_driver is not None:
            self._next_driver.close()
            self._next_driver = None

    def _driver(self) -> Child:
        """The process that was started beforehand, or another one."""
        driver, self._next_driver = self._next_driver or self._start_driver(), None
        return driver

    def _start_driver(self) -> Child:
        environment = dict(_ENVIRONMENT)
        if self._options.address is None:
            environment |= {**_LOCAL_ENVIRONMENT, "RAY_AUTH_TOKEN": secrets.token_hex(32)}
        return Child(
            child_command(_MODULE),
            stdin=PIPE,
            stdout=PIPE,
            stderr=DEVNULL,
            grace_s=STOP_TIMEOUT_S,
            environment=environment,
        )

    def _outcomes(
        self,
        driver: Child,
        options: RayOptions,
        tasks: Iterable[ReportTask],
        reader: ThreadPoolExecutor,
        stopping: Callable[[], bool],
    ) -> Generator[Outcome, None, None]:
        """Yield the outcomes of one process until it ends."""
        coming = iter(tasks)
        try:
            send_line(driver, options.to_json())
            while message := _next_message(driver, reader, stopping):
                if "next" in message:
                    task = None if stopping() else next(coming, None)
                    if task is not None:
                        self._given[task.input.place] = task
                    send_line(driver, json.dumps(task and task.to_dict()))
                elif "error" in message:
                    raise reported_error(*message["error"])
                elif "lost" in message:
                    self._reason = message["lost"]
                elif "end" in message:
                    self._ended = True
                else:
                    outcome = Outcome.from_dict(message["outcome"])
                    self._given.pop(outcome.place, None)
                    yield outcome
        except (BrokenPipeError, ValueError):  # it ended while writing or being written to
            return


def _next_message(
    driver: Child, reader: ThreadPoolExecutor, stopping: Callable[[], bool]
) -> dict[str, Any] | None:
    """Wait for a message; None if the process has ended.

    A stop closes its standard input, and ends it if it has not ended STOP_TIMEOUT_S later.
    """
    assert driver.process.stdout is not None
    line = reader.submit(driver.process.stdout.readline)
    clock, end_s = SystemClock(), math.inf
    try:
        while not wait([line], _POLL_S).done:
            if stopping():
                close_input(driver)
                end_s = min(end_s, clock.monotonic() + STOP_TIMEOUT_S)
            if clock.monotonic() > end_s:
                driver.process.kill()
    except BaseException:  # its output, from which a thread reads, can be closed only once it has ended
        driver.process.kill()
        raise
    found = line.result()
    message: dict[str, Any] | None = json.loads(found) if found else None
    return message


@contextlib.contextmanager
def _temporary_folder() -> Iterator[str]:
    """A folder for a Ray on this machine, removed also if the process that uses it was killed."""
    # The default folder of macOS makes paths that are too long for sockets.
    place = "/tmp" if os.name == "posix" else None
    folder = tempfile.mkdtemp(prefix="edgeharfer-ray-", dir=place)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
