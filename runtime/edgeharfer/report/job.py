"""Analyse one input and write its report."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any

from edgeharfer.report.analyzer import Analyzer
from edgeharfer.report.content.edition import ReportEdition
from edgeharfer.report.gallery import Gallery
from edgeharfer.report.inputs import available_folder, expected_frames
from edgeharfer.report.outcome import Outcome, failed, stopped
from edgeharfer.report.report import Report, make_report, source_facts
from edgeharfer.report.smoothing import Smoothing
from edgeharfer.report.summary import FORMAT
from edgeharfer.report.task import ReportTask
from edgeharfer.report.words import NO_BREAK, counted, label_name, percent
from edgeharfer.report.write import write_report
from edgeharfer.runtime.clock import Clock, SystemClock
from edgeharfer.runtime.errors import SourceError
from edgeharfer.runtime.source import open_source
from edgeharfer.runtime.source.decode_devices import AUTO


@dataclass(frozen=True)
class WrittenReport:
    """A report and its folder, which differs from the planned one if that was taken in the meantime."""

    report: Report
    folder: Path


@dataclass(frozen=True)
class ReportJob:
    """Settings that all inputs of a run share.

    Attributes:
        analyzer: The pipeline.
        smoothing: Smoothing of the emotion probabilities.
        thumbnails: Put pictures of the input into the PDF. Without it no picture is written to disk.
        duration_s: Analyse only this many seconds of each input; None for all of it.
        decode: Device that decodes videos, see `open_source`.
        clock: Source of the report's date.
    """

    analyzer: Analyzer
    smoothing: Smoothing = field(default_factory=Smoothing)
    thumbnails: bool = False
    duration_s: float | None = None
    decode: str = AUTO
    clock: Clock = field(default_factory=SystemClock)

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that a report depends on, as JSON-serialisable values."""
        return {
            "format": FORMAT,
            "method": self.analyzer.method.settings(),
            "smoothing": asdict(self.smoothing),
            "thumbnails": self.thumbnails,
            "duration_s": self.duration_s,
            **({"columns": columns} if (columns := self.analyzer.columns) else {}),
        }

    def analyze(
        self,
        task: ReportTask,
        progress: Callable[[float], None],
        stopping: Callable[[], bool] = lambda: False,
        *,
        sweep: bool = True,
    ) -> WrittenReport | None:
        """Analyse one input and write its report.

        Args:
            task: The input and its folder.
            progress: Called with the share of the input that has been analysed, 0 to 1.
            stopping: Called before each frame; True stops the analysis.
            sweep: Remove what ended processes left of this report.

        Returns:
            The report, or None if the analysis was stopped, in which case nothing is written.

        Raises:
            SourceError: The input cannot be read.
            SinkError: The report cannot be written.
        """
        gallery = Gallery() if self.thumbnails else None
        source = open_source(task.input.spec, decode=self.decode)
        expected = expected_frames(source, task.input.spec, self.duration_s)
        recording = self.analyzer.analyze(
            source,
            duration_s=self.duration_s,
            progress=lambda frames: progress(min(1.0, frames / expected) if expected else 0.0),
            stopping=stopping,
            on_sample=gallery.add if gallery else None,
        )
        if recording is None:
            return None
        report = make_report(source_facts(source), self.analyzer.method, self.smoothing, recording)
        edition = ReportEdition(self._today(), gallery)
        choose = partial(available_folder, task)
        folder = write_report(report, task.folder, edition, task.extra, choose=choose, sweep=sweep)
        return WrittenReport(report, folder)

    def _today(self) -> str:
        day = datetime.fromtimestamp(self.clock.wall(), timezone.utc).astimezone()
        return f"{day.day} {day:%B %Y}"


def analyze_task(
    job: ReportJob, task: ReportTask, progress: Callable[[float], None], stopping: Callable[[], bool]
) -> Outcome:
    """Analyse one of many inputs and write its report. The job removes what lost workers left, at its end.

    Args:
        job: Settings and models.
        task: The input and its folder.
        progress: Called with the share of the input that has been analysed, 0 to 1.
        stopping: Called before each frame; True stops the analysis.

    Raises:
        SinkError: The report cannot be written.
    """
    try:
        written = job.analyze(task, progress, stopping, sweep=False)
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
