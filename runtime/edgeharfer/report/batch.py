"""Analyse many inputs; one that cannot be read does not end the run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import Protocol

from edgeharfer.report.engine import Engine
from edgeharfer.report.inputs import MANIFEST
from edgeharfer.report.manifest import JobManifest
from edgeharfer.report.outcome import Outcome, failed
from edgeharfer.report.task import ReportTask
from edgeharfer.report.words import NO_BREAK, counted
from edgeharfer.runtime.clock import Clock
from edgeharfer.runtime.errors import SourceError
from edgeharfer.runtime.overlay.style import printable

REPORT_BYTES = 1 << 20
"""Cost of writing a report, as the bytes of video that take as long to analyse; for progress estimates."""
_MAX_NAMED = 5


class Progress(Protocol):
    """Output of a batch: a progress bar and lines of text."""

    def begin(self, total: int) -> None:
        """Start the bar. `total` is the work; its unit is that of `advance`."""

    def advance(self, more: float, label: str) -> None:
        """Advance the bar by `more`; `label` names the current input."""

    def close(self) -> None:
        """Close the bar. Lines may still be printed."""

    def print_result(self, line: str) -> None:
        """Print a result."""

    def print_error(self, line: str) -> None:
        """Print an error or a warning."""


@dataclass(frozen=True)
class Workload:
    """The tasks of a batch.

    Attributes:
        tasks: The tasks, also those that are done. They may be planned while others are analysed.
        count: Their number, or an estimate of it; None if it is not known beforehand.
        weigh: The work of a task, for progress estimates.
        total: The work of all tasks that are not done; 0 if it is not known.
    """

    tasks: Iterable[ReportTask]
    count: int | None
    weigh: Callable[[ReportTask], int]
    total: int

    @classmethod
    def of(cls, tasks: list[ReportTask]) -> Workload:
        """A workload whose tasks are all known; their work is measured in bytes."""
        return cls(tasks, len(tasks), weigh_bytes, sum(weigh_bytes(task) for task in tasks if not task.done))

    @classmethod
    def stream(cls, tasks: Iterable[ReportTask], count: int | None) -> Workload:
        """A workload whose tasks are planned one at a time; their work is measured in inputs.

        Args:
            tasks: The tasks.
            count: Their number if each line of a list is one input; folders, globs and duplicates change it.
        """
        return cls(tasks, count, lambda task: 1, count or 0)


def weigh_bytes(task: ReportTask) -> int:
    """The size of a task's input and its report."""
    return task.input.size + REPORT_BYTES


@dataclass
class _Tally:
    """Names of inputs that could not be read: the first few, and their number."""

    names: list[str] = field(default_factory=list)
    count: int = 0

    def add(self, name: str) -> None:
        self.count += 1
        if len(self.names) < _MAX_NAMED:
            self.names.append(name)

    def __str__(self) -> str:
        more = " and others" if self.count > len(self.names) else ""
        return ", ".join(map(printable, self.names)) + more


class Batch:
    """One run over a workload.

    Args:
        engine: Where the inputs are analysed.
        workload: The inputs.
        progress: Output.
        stopping: Polled; True stops the run.
        manifest: Where the outcomes are recorded; None for nowhere.
        clock: Measures the duration.
    """

    def __init__(
        self,
        engine: Engine,
        workload: Workload,
        progress: Progress,
        stopping: Callable[[], bool],
        manifest: JobManifest | None,
        clock: Clock,
    ) -> None:
        self._engine, self._workload, self._progress = engine, workload, progress
        self._stopping, self._manifest, self._clock = stopping, manifest, clock
        self._failed, self._partial = _Tally(), _Tally()
        self._seen, self._done, self._written, self._video_s = 0, 0, 0, 0.0
        self._planned_all = False
        self._open: dict[str, _OpenTask] = {}

    def run(self) -> int:
        """Analyse the tasks that are not done.

        Returns:
            The number of inputs that are left because the run was stopped; -1 if it is not known.

        Raises:
            SourceError: At the end, if an input could not be read completely.
        """
        started_s = self._clock.monotonic()
        self._progress.begin(self._workload.total)
        with closing(self._engine.run(self._pending(), self._advance_to, self._stopping)) as outcomes:
            for outcome in outcomes:
                self._end(outcome)
        self._progress.close()
        return self._finish(self._clock.monotonic() - started_s)

    def _pending(self) -> Iterator[ReportTask]:
        """The tasks that are not done. Those that are done are reported."""
        for task in self._workload.tasks:
            if self._stopping():
                return
            self._seen += 1
            if task.done:
                self._skip(task)
                continue
            if task.input.problem:
                self._fail(task, failed(task, task.input.problem, attempts=0))
                continue
            if self._manifest:
                self._manifest.started(task)
            of = "" if self._workload.count is None else f"/{self._workload.count}"
            self._open[task.input.place] = _OpenTask(
                task, f"{self._seen}{of} {printable(task.input.name)}", self._workload.weigh(task)
            )
            yield task
        self._planned_all = True

    def _skip(self, task: ReportTask) -> None:
        self._done += 1
        self._progress.print_result(f"{printable(task.input.name)}: already done -> {task.folder}")
        if task.unreadable:
            self._partial.add(task.input.name)
        if self._manifest:
            outcome = Outcome(task.input.place, task.input.name, str(task.folder), attempts=0)
            self._manifest.ended(task, outcome)

    def _fail(self, task: ReportTask, outcome: Outcome) -> None:
        if self._manifest:
            self._manifest.ended(task, outcome)
        self._failed.add(outcome.name)
        self._progress.print_error(printable(outcome.error))

    def _advance_to(self, task: ReportTask, share: float) -> None:
        if (current := self._open.get(task.input.place)) is not None:  # else it ended in the meantime
            current.advance_to(share, self._progress)

    def _end(self, outcome: Outcome) -> None:
        current = self._open.pop(outcome.place)
        if outcome.stopped:
            return
        for line in outcome.warnings:
            self._progress.print_error(printable(line))
        if outcome.error:
            self._fail(current.task, outcome)
        else:
            if self._manifest:
                self._manifest.ended(current.task, outcome)
            self._written += 1
            self._video_s += outcome.video_s
            if outcome.unreadable:
                self._partial.add(outcome.name)
            self._progress.print_result(f"{printable(outcome.name)}: {outcome.text} -> {outcome.folder}")
        current.advance_to(1.0, self._progress)

    def _finish(self, elapsed_s: float) -> int:
        if self._written:
            self._progress.print_result(timing_text(self._written, self._video_s, elapsed_s))
        left = self._left()
        if left:
            pending = "" if left < 0 else f"{left} of {left + self._written + self._failed.count} "
            self._progress.print_error(
                f"stopped with {pending}inputs left; run the same command again to continue"
            )
        if self._manifest:
            self._manifest.end(left)
        if error := self._error():
            raise SourceError(error)
        return left

    def _left(self) -> int:
        ended = self._done + self._written + self._failed.count
        if self._planned_all:
            return self._seen - ended
        more = (self._workload.count or 0) - ended
        return more if more > 0 else -1

    def _error(self) -> str:
        """A message on the inputs that could not be read completely; "" if there are none."""
        total = self._seen if self._planned_all else self._workload.count or self._seen
        lines = []
        if self._failed.count:
            lines.append(f"{self._failed.count} of {total} inputs could not be read ({self._failed})")
        if self._partial.count:
            lines.append(
                f"{self._partial.count} of {total} inputs could only be read in part ({self._partial})"
            )
        if not lines:
            return ""
        where = f"; {MANIFEST} lists them all" if self._manifest and self._has_unnamed() else ""
        return f"{'; '.join(lines)}; the other reports are complete{where}"

    def _has_unnamed(self) -> bool:
        """Whether an input could not be read at all and the message does not name it."""
        return self._failed.count > len(self._failed.names)


@dataclass
class _OpenTask:
    """A task that has been submitted.

    Attributes:
        task: The task.
        label: Its text in the progress bar.
        weight: Its work.
        reported: The part of its work that the progress bar shows.
    """

    task: ReportTask
    label: str
    weight: int
    reported: float = 0.0

    def advance_to(self, share: float, progress: Progress) -> None:
        """Move the progress bar to a share of this task."""
        progress.advance(share * self.weight - self.reported, self.label)
        self.reported = share * self.weight


def timing_text(reports: int, video_s: float, elapsed_s: float) -> str:
    """How long the reports took, also per minute of video."""
    text = f"{counted(reports, 'report')} in {elapsed_s:.1f} s".replace(NO_BREAK, " ")
    if video_s <= 0:
        return text
    return f"{text}; {video_s:.1f} s of video, {60 * elapsed_s / video_s:.1f} s per minute of it"
