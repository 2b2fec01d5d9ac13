"""A bounded number of tasks that are submitted at a time.

The process that uses Ray imports this, so it imports little.
"""

from __future__ import annotations

import queue
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future
from typing import TypeVar

from edgeharfer.report.task import ReportTask

_POLL_S = 0.2
T = TypeVar("T")


def windowed(
    tasks: Iterable[ReportTask],
    submit: Callable[[ReportTask], Future[T]],
    window: int,
    poll: Callable[[], None],
    stopping: Callable[[], bool],
) -> Generator[T, None, None]:
    """Keep at most `window` tasks submitted, and yield their results as they end.

    Args:
        tasks: Taken one at a time.
        submit: Starts a task.
        window: Most tasks that are submitted at a time.
        poll: Called several times a second while waiting.
        stopping: True ends the submission; submitted tasks are still awaited.

    Raises:
        EdgeharferError: Raised by a task.
    """
    ended: queue.SimpleQueue[Future[T]] = queue.SimpleQueue()
    open_tasks, coming = 0, iter(tasks)
    more = True
    while True:
        while more and open_tasks < window and not stopping():
            task = next(coming, None)
            if task is None:
                more = False
            else:
                submit(task).add_done_callback(ended.put)
                open_tasks += 1
        if not open_tasks:
            return
        poll()
        try:
            future = ended.get(timeout=_POLL_S)
        except queue.Empty:
            continue
        open_tasks -= 1
        try:
            yield future.result()
        except Exception:
            if not stopping():
                raise
