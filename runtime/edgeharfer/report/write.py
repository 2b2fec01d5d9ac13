"""A report as files: first into a folder of its own, then under the final name in one go."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from edgeharfer.report.charts.book import ChartBook
from edgeharfer.report.charts.style import save_png
from edgeharfer.report.charts.timeline import timeline
from edgeharfer.report.csv_files import write_actions, write_frames
from edgeharfer.report.pdf.edition import ReportEdition
from edgeharfer.report.pdf.pages import person_pdf, report_pdf
from edgeharfer.report.report import Report
from edgeharfer.report.summary import SUMMARY, summary_to_dict, write_summary
from edgeharfer.runtime.errors import SinkError
from edgeharfer.runtime.staging import cannot_write, locked_folder, replace_folder, temporary_folder

PERSONS = "persons"
PDF = "report.pdf"
FILES = frozenset(
    {"actions.csv", "emotions_bar.png", "emotions_pie.png", "frames.csv", "timeline.png"}
    | {PDF, PERSONS, SUMMARY}
)
"""What a report may hold. Other files in its folder stay where they are."""


def write_report(
    report: Report,
    folder: Path,
    edition: ReportEdition,
    extra: Mapping[str, Any] | None = None,
    *,
    choose: Callable[[], Path] | None = None,
) -> Path:
    """All files of a report; `folder` appears whole, or takes the place of an older report at the end.

    Of several processes that write the same report at once, the first one's stays. Of different reports into
    one folder the last one stays, as a whole.

    extra: further entries of summary.json. choose: gives the folder to publish to, called while no other
    process publishes; None is `folder`. Returns where the report is. Raises SinkError where the system
    refuses.
    """
    book = ChartBook(report)
    folder = _behind_link(folder)
    before = _age(folder)
    try:
        with temporary_folder(folder) as stage:
            _write_all(report, book, stage, edition)
            for person in report.shown:
                own = stage / PERSONS / f"person-{person.track}"
                own.mkdir(parents=True)
                _write_one(report.for_person(person), book, own, edition)
            write_summary(summary_to_dict(report, extra), stage / SUMMARY)
            with locked_folder(folder.parent):
                target = folder if choose is None else _behind_link(choose())
                if (target == folder and _age(folder) == before) or not _same_report(stage, target):
                    _publish(stage, target)
    except OSError as error:
        raise cannot_write(folder, error) from error
    return target


def _write_all(report: Report, book: ChartBook, folder: Path, edition: ReportEdition) -> None:
    write_frames(report, folder / "frames.csv")
    write_actions(report, folder / "actions.csv")
    over_time = book.figures["emotions", None] if report.stills else timeline(report)
    save_png(over_time, folder / "timeline.png")
    _save_shares(book, None, folder)
    (folder / PDF).write_bytes(report_pdf(report, book, edition))


def _write_one(report: Report, book: ChartBook, folder: Path, edition: ReportEdition) -> None:
    """The files of one person; actions are not anybody's."""
    write_frames(report, folder / "frames.csv")
    if not report.stills:
        save_png(book.figures["curves", report.only], folder / "timeline.png")
    _save_shares(book, report.only, folder)
    (folder / PDF).write_bytes(person_pdf(report, book, edition))
    write_summary(summary_to_dict(report), folder / SUMMARY)


def _save_shares(book: ChartBook, track: int | None, folder: Path) -> None:
    save_png(book.figures["bar", track], folder / "emotions_bar.png")
    save_png(book.figures["pie", track], folder / "emotions_pie.png")


def _publish(stage: Path, folder: Path) -> None:
    """Rename the report to its folder; what else an older folder held is moved into it."""
    if folder.exists() and not folder.is_dir():
        raise SinkError(f"{folder}: exists and is not a folder; give another --out")
    for older in replace_folder(stage, folder):
        for entry in older.iterdir():
            if entry.name not in FILES and not (folder / entry.name).exists():
                entry.rename(folder / entry.name)


def _behind_link(folder: Path) -> Path:
    """The folder that a link leads to: a rename would replace the link."""
    return folder.resolve() if folder.is_symlink() else folder


def _same_report(one: Path, other: Path) -> bool:
    """Whether two folders hold the same whole report: the same figures, from the same input and settings."""
    try:
        return _summary(one) == _summary(other) and (other / PDF).is_file()
    except (OSError, ValueError):
        return False


def _summary(folder: Path) -> object:
    return json.loads((folder / SUMMARY).read_text(encoding="utf-8"))


def _age(folder: Path) -> int | None:
    """When the report of a folder was written, in nanoseconds; None where there is none."""
    try:
        return (folder / SUMMARY).stat().st_mtime_ns
    except OSError:
        return None


def ensure_writable_folder(out: Path) -> None:
    """Make the folder of all reports, so that one that cannot be written fails before the work."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=out, prefix=".edgeharfer.", suffix=".part"):
            return
    except OSError as error:
        raise cannot_write(out, error) from error
