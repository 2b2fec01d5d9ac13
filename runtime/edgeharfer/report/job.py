"""One input from its frames to its files, as the command line and others ask for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from edgeharfer.report.analyzer import Analyzer
from edgeharfer.report.gallery import Gallery
from edgeharfer.report.inputs import ReportTask, available_folder, expected_frames
from edgeharfer.report.pdf.edition import ReportEdition
from edgeharfer.report.report import Report, make_report, source_facts
from edgeharfer.report.smoothing import Smoothing
from edgeharfer.report.summary import FORMAT
from edgeharfer.report.write import write_report
from edgeharfer.runtime.clock import Clock, SystemClock
from edgeharfer.runtime.source import open_source


@dataclass(frozen=True)
class WrittenReport:
    """A report and the folder that holds it, which is another one than planned where that was taken."""

    report: Report
    folder: Path


@dataclass(frozen=True)
class ReportJob:
    """How every input of a run is analysed.

    thumbnails: put pictures into the PDF; without it none reaches the disk. duration_s: look only at
    so much of each input.
    """

    analyzer: Analyzer
    smoothing: Smoothing = field(default_factory=Smoothing)
    thumbnails: bool = False
    duration_s: float | None = None
    clock: Clock = field(default_factory=SystemClock)

    @property
    def settings(self) -> dict[str, Any]:
        """What a report depends on beside its input."""
        return {
            "format": FORMAT,
            "method": self.analyzer.method.settings(),
            "smoothing": asdict(self.smoothing),
            "thumbnails": self.thumbnails,
            "duration_s": self.duration_s,
            **({"columns": columns} if (columns := self.analyzer.columns) else {}),
        }

    def analyze(
        self, task: ReportTask, tell: Callable[[float], None], stopping: Callable[[], bool] = lambda: False
    ) -> WrittenReport | None:
        """Watch one input and write its report; None where it was stopped, and nothing is written.

        tell: told which share of the input has been watched, 0 to 1. Raises SourceError where the input
        cannot be read, SinkError where the report cannot be written.
        """
        gallery = Gallery() if self.thumbnails else None
        source = open_source(task.input.spec)
        expected = expected_frames(source, task.input.spec, self.duration_s)
        recording = self.analyzer.analyze(
            source,
            duration_s=self.duration_s,
            progress=lambda frames: tell(min(1.0, frames / expected) if expected else 0.0),
            stopping=stopping,
            watch=gallery.add if gallery else None,
        )
        if recording is None:
            return None
        report = make_report(source_facts(source), self.analyzer.method, self.smoothing, recording)
        edition = ReportEdition(self._today(), gallery)
        folder = write_report(
            report, task.folder, edition, task.extra, choose=lambda: available_folder(task)
        )  # fmt: skip
        return WrittenReport(report, folder)

    def _today(self) -> str:
        day = datetime.fromtimestamp(self.clock.wall(), UTC).astimezone()
        return f"{day.day} {day:%B %Y}"
