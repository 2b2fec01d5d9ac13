"""The outcome of one input, which worker processes return to the command."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

from edgeharfer.report.inputs import ReportTask
from edgeharfer.report.job import ReportJob
from edgeharfer.report.report import Report
from edgeharfer.report.words import NO_BREAK, counted, label_name, percent
from edgeharfer.runtime.errors import SourceError


@dataclass(frozen=True)
class Outcome:
    """How the analysis of an input ended. All values can be written as JSON.

    Attributes:
        place: `ReportInput.place` of the input.
        name: Its display name.
        folder: Folder of its report; "" if there is none.
        text: One line on the report.
        video_s: Duration of the video in seconds.
        warnings: Warnings about the input.
        unreadable: Number of pictures or frames that could not be read.
        error: Why there is no report. Without a report and an error, the analysis was stopped.
        attempts: Number of worker processes that began the analysis.
    """

    place: str
    name: str
    folder: str = ""
    text: str = ""
    video_s: float = 0.0
    warnings: tuple[str, ...] = ()
    unreadable: int = 0
    error: str = ""
    attempts: int = 1

    @property
    def stopped(self) -> bool:
        """Whether the analysis was stopped before its end."""
        return not (self.folder or self.error)

    def to_dict(self) -> dict[str, Any]:
        """The outcome as JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Outcome:
        """The outcome from its JSON values."""
        outcome = cls(**values)
        return replace(outcome, warnings=tuple(outcome.warnings))


def stopped(task: ReportTask) -> Outcome:
    """The outcome of a task that was stopped."""
    return Outcome(task.input.place, task.input.name)


def failed(task: ReportTask, error: str, attempts: int = 1) -> Outcome:
    """The outcome of a task without a report."""
    return Outcome(task.input.place, task.input.name, error=error, attempts=attempts)


def analyze_task(
    job: ReportJob, task: ReportTask, progress: Callable[[float], None], stopping: Callable[[], bool]
) -> Outcome:
    """Analyse an input and write its report.

    Args:
        job: Settings and models.
        task: The input and its folder.
        progress: Called with the share of the input that has been analysed, 0 to 1.
        stopping: Called before each frame; True stops the analysis.

    Raises:
        SinkError: The report cannot be written.
    """
    try:
        written = job.analyze(task, progress, stopping)
    except SourceError as error:
        return failed(task, str(error))
    if written is None:
        return stopped(task)
    report = written.report
    return Outcome(
        task.input.place,
        task.input.name,
        str(written.folder),
        describe(report),
        report.recording.duration_s,
        tuple(report.source.warnings),
        report.source.unreadable,
    )


def describe(report: Report) -> str:
    """A one-line summary of a report."""
    stills = report.stills
    who = counted(len(report.rows), "face") if stills else counted(len(report.shown), "person", "people")
    where = counted(len(report.recording.samples), "picture" if stills else "sample")
    leader = report.group.leader
    mostly = f", mostly {label_name(leader[0]).lower()} ({percent(leader[1])})" if leader else ""
    return f"{who}, a face in {percent(report.group.coverage)} of {where}{mostly}".replace(NO_BREAK, " ")
