"""Write `frames.csv` and `actions.csv`.

Spreadsheets evaluate a cell that begins with certain characters as a formula. File names and package labels
are untrusted input, so such cells are prefixed with an apostrophe (OWASP, "CSV Injection").
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from edgeharfer.report.record import PROBABILITY_DIGITS, SCORE_DIGITS, FaceSample
from edgeharfer.report.report import Report
from edgeharfer.report.rows import FrameRow
from edgeharfer.runtime.types import KEYPOINTS

Cell = str | float | None

FRAMES, ACTIONS = "frames.csv", "actions.csv"

_WHERE = ("time_s", "frame", "picture")
_FACE_COLUMNS = (*_WHERE, "track", "x", "y", "width", "height", "face_score")
_LABEL_COLUMNS = ("label", "score")
_POINT_COLUMNS = tuple(f"{point}_{axis}" for point in KEYPOINTS for axis in "xy")
_FORMULA_SIGNS = tuple("=+-@\t\r\n＝＋－＠")  # noqa: RUF001 - spreadsheets take the wide forms too


def escape_formula(cell: Cell) -> Cell:
    """Prefix text that a spreadsheet would evaluate as a formula; return other cells unchanged."""
    if isinstance(cell, str) and cell.lstrip(" ").startswith(_FORMULA_SIGNS):
        return "'" + cell
    return cell


def write_frames(report: Report, path: Path) -> None:
    """Write one line per face and sample. New columns are added at the end.

    A sample without faces gets a line that holds only its time and input, so that coverage can be computed
    from the file. A report on one person holds only the lines of that person.
    """
    write_table(path, frame_columns(report), _frame_lines(report))


def frame_columns(report: Report) -> tuple[str, ...]:
    """The header of `frames.csv`."""
    return (
        *_FACE_COLUMNS,
        *(f"raw_{label}" for label in report.labels),
        *_LABEL_COLUMNS,
        *report.recording.columns,
        *(f"smooth_{label}" for label in report.labels),
        "strength",
        *_POINT_COLUMNS,
        "input",
    )


def write_actions(report: Report, path: Path) -> None:
    """Write one line per action segment. A label describes the time window that ends at its time."""
    lines = ((item.start_s, item.end_s, item.label, _fixed(item.score)) for item in report.segments)
    write_table(path, ("start_s", "end_s", "label", "mean_score"), lines)


def _frame_lines(report: Report) -> Iterator[Sequence[Cell]]:
    empty = len(frame_columns(report)) - len(_WHERE) - 1
    name = report.source.name
    by_frame: dict[int, list[FrameRow]] = {}
    for row in report.rows:
        by_frame.setdefault(row.sample.frame, []).append(row)
    for sample in report.recording.samples:
        rows = by_frame.get(sample.frame, [])
        yield from ((*_line(row, report), name) for row in rows)
        if not rows and report.only is None:
            yield (*_where(sample), *[None] * empty, name)


def _where(sample: FaceSample) -> tuple[Cell, ...]:
    return sample.time_s, sample.frame, sample.picture or None


def _line(row: FrameRow, report: Report) -> Sequence[Cell]:
    face, box = row.face, row.face.box
    place = (*_where(row.sample), face.track, box.x, box.y, box.width, box.height, _fixed(face.score))
    label = (row.label, _fixed(row.score)) if row.label else (None, None)
    values = face.values or [None] * len(report.recording.columns)
    strength = None if row.strength is None else _fixed(row.strength)
    points = face.keypoints or [None] * len(_POINT_COLUMNS)
    return (*place, *_fixed_all(face.raw), *label, *values, *_fixed_all(row.probs), strength, *points)


def _fixed_all(probabilities: Iterable[float]) -> list[str]:
    return [f"{p:.{PROBABILITY_DIGITS}f}" for p in probabilities]


def _fixed(score: float) -> str:
    return f"{score:.{SCORE_DIGITS}f}"


def write_table(path: Path, header: Sequence[str], lines: Iterable[Sequence[Cell]]) -> None:
    """Write a table with its header."""
    with path.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([escape_formula(cell) for cell in header])
        writer.writerows([escape_formula(cell) for cell in line] for line in lines)
