"""The outcome of one input, which worker processes return to the command."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from edgeharfer.report.task import ReportTask


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
