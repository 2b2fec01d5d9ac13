"""Analyse several inputs in sequence; an input that cannot be read does not end the run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from edgeharfer.report.inputs import ReportTask
from edgeharfer.report.job import ReportJob
from edgeharfer.report.report import Report
from edgeharfer.report.words import NO_BREAK, counted, label_name, percent
from edgeharfer.runtime.errors import SourceError
from edgeharfer.runtime.overlay.style import printable

REPORT_BYTES = 1 << 20
"""Cost of writing a report, as the bytes of video that take as long to analyse; for progress estimates."""
_MAX_NAMED = 5


class Progress(Protocol):
    """Output of a batch: a progress bar and lines of text."""

    def begin(self, total: int) -> None:
        """Start the bar. `total` is the work in bytes."""

    def advance(self, more: float, label: str) -> None:
        """Advance the bar by `more` bytes; `label` names the current input."""

    def close(self) -> None:
        """Close the bar. Lines may still be printed."""

    def print_result(self, line: str) -> None:
        """Print a result."""

    def print_error(self, line: str) -> None:
        """Print an error or a warning."""


class Batch:
    """One run over a list of tasks."""

    def __init__(
        self, job: ReportJob, tasks: Sequence[ReportTask], progress: Progress, stopping: Callable[[], bool]
    ) -> None:
        self._job, self._tasks, self._progress, self._stopping = job, tasks, progress, stopping
        self._failed: list[str] = []
        self._partial: list[str] = []
        self._written, self._video_s = 0, 0.0

    def run(self) -> int:
        """Analyse the tasks that are not done.

        Returns:
            The number of inputs that are left because the run was stopped.

        Raises:
            SourceError: At the end, if an input could not be read completely.
        """
        started_s = self._job.clock.monotonic()
        pending = [task for task in self._tasks if not task.done]
        for task in self._tasks:
            if task.done:
                self._progress.print_result(f"{printable(task.input.name)}: already done -> {task.folder}")
                if task.unreadable:
                    self._partial.append(task.input.name)
        if pending:
            self._job.analyzer.warm_up()
        self._progress.begin(sum(_weight(task) for task in pending))
        for number, task in enumerate(pending, 1):
            if self._stopping():
                break
            self._run_task(task, f"{number}/{len(pending)} {printable(task.input.name)}")
        self._progress.close()
        return self._finish(len(pending), self._job.clock.monotonic() - started_s)

    def _run_task(self, task: ReportTask, label: str) -> None:
        reported = 0.0

        def report_share(share: float) -> None:
            nonlocal reported
            self._progress.advance(share * task.input.size - reported, label)
            reported = share * task.input.size

        report_share(0.0)
        try:
            written = self._job.analyze(task, report_share, self._stopping)
        except SourceError as error:
            self._failed.append(task.input.name)
            self._progress.print_error(str(error))
        else:
            if written is None:
                return
            self._written += 1
            report = written.report
            self._video_s += report.recording.duration_s
            for line in report.source.warnings:
                self._progress.print_error(printable(line))
            if report.source.unreadable:
                self._partial.append(task.input.name)
            self._progress.print_result(
                f"{printable(task.input.name)}: {outcome_text(report)} -> {written.folder}"
            )
        self._progress.advance(_weight(task) - reported, label)

    def _finish(self, pending: int, elapsed_s: float) -> int:
        if self._written:
            self._progress.print_result(timing_text(self._written, self._video_s, elapsed_s))
        left = pending - self._written - len(self._failed)
        if left:
            self._progress.print_error(
                f"stopped with {left} of {pending} inputs left; run the same command again to continue"
            )
        if error := self._error():
            raise SourceError(error)
        return left

    def _error(self) -> str:
        """A message on the inputs that could not be read completely; "" if there are none."""
        lines = []
        if self._failed:
            lines.append(
                f"{len(self._failed)} of {len(self._tasks)} inputs could not be read ({_names(self._failed)})"
            )
        if self._partial:
            lines.append(
                f"{len(self._partial)} of {len(self._tasks)} inputs could only be read in part "
                f"({_names(self._partial)})"
            )
        return f"{'; '.join(lines)}; the other reports are complete" if lines else ""


def _names(names: Sequence[str]) -> str:
    more = " and others" if len(names) > _MAX_NAMED else ""
    return ", ".join(map(printable, names[:_MAX_NAMED])) + more


def outcome_text(report: Report) -> str:
    """A one-line summary of a report."""
    stills = report.stills
    who = counted(len(report.rows), "face") if stills else counted(len(report.shown), "person", "people")
    where = counted(len(report.recording.samples), "picture" if stills else "sample")
    leader = report.group.leader
    mostly = f", mostly {label_name(leader[0]).lower()} ({percent(leader[1])})" if leader else ""
    return f"{who}, a face in {percent(report.group.coverage)} of {where}{mostly}".replace(NO_BREAK, " ")


def timing_text(reports: int, video_s: float, elapsed_s: float) -> str:
    """How long the reports took, also per minute of video."""
    text = f"{counted(reports, 'report')} in {elapsed_s:.1f} s".replace(NO_BREAK, " ")
    if video_s <= 0:
        return text
    return f"{text}; {video_s:.1f} s of video, {60 * elapsed_s / video_s:.1f} s per minute of it"


def _weight(task: ReportTask) -> int:
    return task.input.size + REPORT_BYTES
