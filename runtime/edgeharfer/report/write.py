"""Write the files of a report to a temporary folder, then rename it to the final name atomically."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from edgeharfer.report.charts.book import ChartBook
from edgeharfer.report.content.edition import ReportEdition
from edgeharfer.report.csv_files import ACTIONS, FRAMES, write_actions, write_frames
from edgeharfer.report.html.page import report_html
from edgeharfer.report.pdf.pages import report_pdf
from edgeharfer.report.report import Report
from edgeharfer.report.summary import SUMMARY, summary_to_dict, write_summary
from edgeharfer.runtime.errors import SinkError
from edgeharfer.runtime.staging import cannot_write, locked_folder, replace_folder, temporary_folder

PERSONS = "persons"
PDF, HTML = "report.pdf", "report.html"
FILES = frozenset(
    {ACTIONS, "emotions_bar.png", "emotions_pie.png", FRAMES, "timeline.png"} | {PDF, HTML, PERSONS, SUMMARY}
)
"""Entries that belong to a report. Other files in its folder are preserved."""


def write_report(
    report: Report,
    folder: Path,
    edition: ReportEdition,
    extra: Mapping[str, Any] | None = None,
    *,
    choose: Callable[[], Path] | None = None,
    sweep: bool = True,
) -> Path:
    """Write all files of a report and replace an older report in `folder` at the end.

    If several processes write the same report at once, the first one is kept. If they write different
    reports to one folder, the last one is kept as a whole.

    Args:
        report: The report.
        folder: Folder of the report.
        edition: Date and pictures.
        extra: Further entries of summary.json.
        choose: Returns the folder to publish to. It is called under the lock that lets one process publish
            at a time. The default is `folder`.
        sweep: Remove what ended processes left of this report, see `temporary_folder`.

    Returns:
        The folder of the report.

    Raises:
        SinkError: The report cannot be written.
    """
    book = ChartBook(report)
    folder = _behind_link(folder)
    before = _age(folder)
    try:
        with temporary_folder(folder, sweep=sweep) as stage:
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
    write_frames(report, folder / FRAMES)
    write_actions(report, folder / ACTIONS)
    over_time = "emotions" if report.stills else "timeline"
    (folder / "timeline.png").write_bytes(book.png((over_time, None)))
    _save_shares(book, None, folder)
    _write_documents(report, book, folder, edition)


def _write_documents(report: Report, book: ChartBook, folder: Path, edition: ReportEdition) -> None:
    (folder / PDF).write_bytes(report_pdf(report, book, edition))
    (folder / HTML).write_text(report_html(report, book, edition), encoding="utf-8")


def _write_one(report: Report, book: ChartBook, folder: Path, edition: ReportEdition) -> None:
    """Write the files of one person, which hold no actions."""
    write_frames(report, folder / FRAMES)
    if not report.stills:
        (folder / "timeline.png").write_bytes(book.png(("curves", report.only)))
    _save_shares(book, report.only, folder)
    _write_documents(report, book, folder, edition)
    write_summary(summary_to_dict(report), folder / SUMMARY)


def _save_shares(book: ChartBook, track: int | None, folder: Path) -> None:
    for name in ("bar", "pie"):
        (folder / f"emotions_{name}.png").write_bytes(book.png((name, track)))


def _publish(stage: Path, folder: Path) -> None:
    """Rename the staged folder to its final name and move foreign files of the old folder into it."""
    if folder.exists() and not folder.is_dir():
        raise SinkError(f"{folder}: exists and is not a folder; choose another --out")
    for older in replace_folder(stage, folder):
        for entry in older.iterdir():
            if entry.name not in FILES and not (folder / entry.name).exists():
                entry.rename(folder / entry.name)


def _behind_link(folder: Path) -> Path:
    """The target of a symbolic link, since a rename would replace the link itself."""
    return folder.resolve() if folder.is_symlink() else folder


def _same_report(one: Path, other: Path) -> bool:
    """Whether two folders hold the same complete report: same figures, input and settings."""
    try:
        return _summary(one) == _summary(other) and (other / PDF).is_file()
    except (OSError, ValueError):
        return False


def _summary(folder: Path) -> object:
    return json.loads((folder / SUMMARY).read_text(encoding="utf-8"))


def _age(folder: Path) -> int | None:
    """Modification time of the report in a folder in nanoseconds; None if there is none."""
    try:
        return (folder / SUMMARY).stat().st_mtime_ns
    except OSError:
        return None


def ensure_writable_folder(out: Path) -> None:
    """Create the folder of all reports and check that it is writable, before any analysis starts.

    Raises:
        SinkError: It cannot be created or written to.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=out, prefix=".edgeharfer.", suffix=".part"):
            return
    except OSError as error:
        raise cannot_write(out, error) from error
