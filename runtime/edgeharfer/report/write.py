"""A report as files: first into a folder of its own, then under the final name in one go."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edgeharfer.report.charts.book import ChartBook
from edgeharfer.report.charts.style import save_png
from edgeharfer.report.charts.timeline import timeline
from edgeharfer.report.csv_files import write_actions, write_frames
from edgeharfer.report.pdf.edition import Edition
from edgeharfer.report.pdf.pages import person_pdf, report_pdf
from edgeharfer.report.report import Report
from edgeharfer.report.summary import SUMMARY, summary_to_dict, write_summary
from edgeharfer.runtime.errors import SinkError
from edgeharfer.runtime.sinks.partial import cannot_write

PERSONS = "persons"


def write_report(
    report: Report, folder: Path, edition: Edition, extra: Mapping[str, Any] | None = None
) -> None:
    """All files of a report; `folder` appears whole or, if it was there before, changes at the end.

    extra: further entries of summary.json, which is the last file to appear.
    Raises SinkError where the system refuses.
    """
    book = ChartBook(report)
    try:
        with _staged(folder) as stage:
            _write_all(report, book, stage, edition)
            for person in report.shown:
                own = stage / PERSONS / f"person-{person.track}"
                own.mkdir(parents=True)
                _write_one(report.about(person), book, own, edition)
            write_summary(summary_to_dict(report, extra), stage / SUMMARY)
    except OSError as error:
        raise cannot_write(folder, error) from error


def _write_all(report: Report, book: ChartBook, folder: Path, edition: Edition) -> None:
    write_frames(report, folder / "frames.csv")
    write_actions(report, folder / "actions.csv")
    over_time = book.figures["emotions", None] if report.stills else timeline(report)
    save_png(over_time, folder / "timeline.png")
    _save_shares(book, None, folder)
    (folder / "report.pdf").write_bytes(report_pdf(report, book, edition))


def _write_one(report: Report, book: ChartBook, folder: Path, edition: Edition) -> None:
    """The files of one person; actions are not anybody's."""
    write_frames(report, folder / "frames.csv")
    if not report.stills:
        save_png(book.figures["curves", report.only], folder / "timeline.png")
    _save_shares(book, report.only, folder)
    (folder / "report.pdf").write_bytes(person_pdf(report, book, edition))
    write_summary(summary_to_dict(report), folder / SUMMARY)


def _save_shares(book: ChartBook, track: int | None, folder: Path) -> None:
    save_png(book.figures["bar", track], folder / "emotions_bar.png")
    save_png(book.figures["pie", track], folder / "emotions_pie.png")


@contextmanager
def _staged(folder: Path) -> Iterator[Path]:
    """An empty folder that takes the name, or the place of the files, of `folder` at the end."""
    stage = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(stage, ignore_errors=True)  # left by a run that was killed
    stage.mkdir(parents=True)
    try:
        yield stage
        _publish(stage, folder)
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def _publish(stage: Path, folder: Path) -> None:
    """Other files in an older folder stay; without its summary it does not count as done meanwhile."""
    if not folder.exists():
        stage.rename(folder)
        return
    if not folder.is_dir():
        raise SinkError(f"{folder}: exists and is not a folder; give another --out")
    (folder / SUMMARY).unlink(missing_ok=True)
    shutil.rmtree(folder / PERSONS, ignore_errors=True)
    for entry in sorted(stage.iterdir(), key=lambda path: path.name == SUMMARY):
        entry.replace(folder / entry.name)


def check_folder(out: Path) -> None:
    """Make the folder of all reports, so that one that cannot be written fails before the work."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        probe = out / ".edgeharfer.part"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise cannot_write(out, error) from error
