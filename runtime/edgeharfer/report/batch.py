"""Many inputs, one after the other; one that cannot be read does not end the run."""

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
"""Writing a report takes about as long as watching so much video; for the time left."""
_MAX_NAMED = 5


class Progress(Protocol):
    """Where a batch tells how far it is."""

    def begin(self, total: int) -> None:
        """So much is to be done, in bytes."""

    def advance(self, more: float, label: str) -> None:
        """So much more is done; the label says what is in work."""

    def close(self) -> None:
        """Nothing more is in work; lines may still come."""

    def print_result(self, line: str) -> None:
        """A line for the person: a result, or how the run ended."""

    def print_error(self, line: str) -> None:
        """A line on what went wrong."""


class Batch:
    """One run over some tasks."""

    def __init__(
        self, job: ReportJob, tasks: Sequence[ReportTask], progress: Progress, stopping: Callable[[], bool]
    ) -> None:
        self._job, self._tasks, self._progress, self._stopping = job, tasks, progress, stopping
        self._failed: list[str] = []
        self._partial: list[str] = []
        self._made, self._video_s = 0, 0.0

    def run(self) -> int:
        """Do what is not done, and return how many inputs a stop left undone.

        Raises SourceError at the end where not all of an input could be read.
        """
        started_s = self._job.clock.monotonic()
        left = [task for task in self._tasks if not task.done]
        for task in self._tasks:
            if task.done:
                self._progress.print_result(f"{printable(task.input.name)}: done before -> {task.folder}")
                if task.unreadable:
                    self._partial.append(task.input.name)
        if left:
            self._job.analyzer.warm_up()
        self._progress.begin(sum(_weight(task) for task in left))
        for number, task in enumerate(left, 1):
            if self._stopping():
                break
            self._one(task, f"{number}/{len(left)} {printable(task.input.name)}")
        self._progress.close()
        return self._conclude(len(left), self._job.clock.monotonic() - started_s)

    def _one(self, task: ReportTask, label: str) -> None:
        told = 0.0

        def tell(share: float) -> None:
            nonlocal told
            self._progress.advance(share * task.input.size - told, label)
            told = share * task.input.size

        tell(0.0)
        try:
            written = self._job.analyze(task, tell, self._stopping)
        except SourceError as error:
            self._failed.append(task.input.name)
            self._progress.print_error(str(error))
        else:
            if written is None:
                return
            self._made += 1
            report = written.report
            self._video_s += report.recording.duration_s
            for line in report.source.warnings:
                self._progress.print_error(printable(line))
            if report.source.unreadable:
                self._partial.append(task.input.name)
            self._progress.print_result(
                f"{printable(task.input.name)}: {outcome_text(report)} -> {written.folder}"
            )
        self._progress.advance(_weight(task) - told, label)

    def _conclude(self, wanted: int, elapsed_s: float) -> int:
        if self._made:
            self._progress.print_result(timing_text(self._made, self._video_s, elapsed_s))
        left = wanted - self._made - len(self._failed)
        if left:
            self._progress.print_error(f"stopped with {left} of {wanted} left; the same command goes on")
        if error := self._error():
            raise SourceError(error)
        return left

    def _error(self) -> str:
        """What could not be read, "" where everything could be."""
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
        return f"{'; '.join(lines)}; the reports on the others are whole" if lines else ""


def _names(names: Sequence[str]) -> str:
    more = " and others" if len(names) > _MAX_NAMED else ""
    return ", ".join(map(printable, names[:_MAX_NAMED])) + more


def outcome_text(report: Report) -> str:
    """A report in half a line."""
    stills = report.stills
    who = counted(len(report.rows), "face") if stills else counted(len(report.shown), "person", "people")
    where = counted(len(report.recording.samples), "picture" if stills else "sample")
    leader = report.group.leader
    mostly = f", mostly {label_name(leader[0]).lower()} ({percent(leader[1])})" if leader else ""
    return f"{who}, a face in {percent(report.group.coverage)} of {where}{mostly}".replace(NO_BREAK, " ")


def timing_text(made: int, video_s: float, elapsed_s: float) -> str:
    """How long it took."""
    text = f"{counted(made, 'report')} in {elapsed_s:.1f} s".replace(NO_BREAK, " ")
    if video_s <= 0:
        return text
    return f"{text}; {video_s:.1f} s of video, {60 * elapsed_s / video_s:.1f} s per minute of it"


def _weight(task: ReportTask) -> int:
    return task.input.size + REPORT_BYTES
