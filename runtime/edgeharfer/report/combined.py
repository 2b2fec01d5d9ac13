"""Tables over all inputs of a job: `all_summary.csv`, and `all_frames.csv` or `all_frames.parquet`."""

from __future__ import annotations

import csv
import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from edgeharfer.report.csv_files import FRAMES, Cell, escape_formula, write_table
from edgeharfer.report.inputs import ALL_FRAMES, ALL_SUMMARY
from edgeharfer.report.manifest import read_manifest
from edgeharfer.report.summary import SUMMARY
from edgeharfer.runtime.staging import cannot_write, replaced_file

Table = Literal["csv", "parquet", "none"]
_MEASURES = ("duration_s", "frames", "samples", "unreadable")


def write_combined(out: Path, table: Table) -> None:
    """Write the tables over all reports that `job.jsonl` names, in the order of their folders' names.

    Reports are read one at a time.

    Args:
        out: Folder of all reports.
        table: Format of the table of all frames; "none" writes neither table.

    Raises:
        SinkError: A table cannot be written.
        ImportError: pyarrow, which "parquet" needs, is not installed.
    """
    if table == "none":
        return
    folders = [out / name for name in sorted(_finished(out))]
    try:
        with replaced_file(out / ALL_SUMMARY) as path:
            write_table(path, *_summary_table(folders))
        frames = out / f"{ALL_FRAMES}.{table}"
        with replaced_file(frames) as path:
            if table == "csv":
                _write_frames_csv(folders, path)
            else:
                _write_frames_parquet(folders, path)
    except OSError as error:
        raise cannot_write(out, error) from error


def _finished(out: Path) -> set[str]:
    """Folder names of all reports that the manifest names and that still exist."""
    folder_of = {
        entry["place"]: entry["folder"] for entry in read_manifest(out) if entry.get("kind") == "done"
    }
    return {name for name in folder_of.values() if (out / name / SUMMARY).is_file()}


def _summary_table(folders: Sequence[Path]) -> tuple[Sequence[str], Iterable[Sequence[Cell]]]:
    """One line per input: its facts, its number of persons, and the share and raw mean of each emotion."""
    labels = sorted({label for folder in folders for label in _read_summary(folder)["group"]["shares"]})
    header = (
        *("report", "input", "kind", *_MEASURES, "persons", "sightings", "coverage", "confidence"),
        *(f"share_{label}" for label in labels),
        *(f"mean_{label}" for label in labels),
    )
    return header, (_summary_line(folder, labels) for folder in folders)


def _summary_line(folder: Path, labels: Sequence[str]) -> Sequence[Cell]:
    summary = _read_summary(folder)
    item, group = summary["input"], summary["group"]
    return (
        *(folder.name, item["name"], item["kind"], *(item.get(key) for key in _MEASURES)),
        *(len(summary["persons"]), group["sightings"], group["coverage"], group["confidence"]),
        *(group["shares"].get(label) for label in labels),
        *(group["mean_raw"].get(label) for label in labels),
    )


def _read_summary(folder: Path) -> dict[str, Any]:
    summary: dict[str, Any] = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
    return summary


def _write_frames_csv(folders: Sequence[Path], path: Path) -> None:
    columns = _columns(folders)
    with path.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("report", *columns))
        for name, *cells in _frame_lines(folders, columns):
            writer.writerow((escape_formula(name), *cells))  # in the others, formulas are escaped already


def _frame_lines(folders: Sequence[Path], columns: Sequence[str]) -> Iterator[Sequence[Cell]]:
    for folder in folders:
        with (folder / FRAMES).open(encoding="utf-8", newline="") as file:
            for line in csv.DictReader(file):
                yield (folder.name, *(line.get(column) for column in columns))


def _columns(folders: Sequence[Path]) -> tuple[str, ...]:
    """The columns of all frame tables, which may be of different models."""
    columns: dict[str, None] = {}
    for folder in folders:
        with (folder / FRAMES).open(encoding="utf-8", newline="") as file:
            columns.update(dict.fromkeys(next(csv.reader(file), ())))
    return tuple(columns)


_KINDS = {"picture": "string", "label": "string", "frame": "int64", "track": "int64"}
"""Type of each column of a Parquet file that is not a float64."""
_ROWS_AT_ONCE = 1 << 16


def _write_frames_parquet(folders: Sequence[Path], path: Path) -> None:
    """Text is as in `frames.csv`, and empty cells become null."""
    import pyarrow
    import pyarrow.parquet

    columns = _columns(folders)
    schema = pyarrow.schema(
        [
            ("report", pyarrow.string()),
            *((name, pyarrow.type_for_alias(_KINDS.get(name, "float64"))) for name in columns),
        ]
    )
    lines = _frame_lines(folders, columns)
    with pyarrow.parquet.ParquetWriter(path, schema) as writer:
        while rows := list(itertools.islice(lines, _ROWS_AT_ONCE)):
            arrays = [
                pyarrow.array([value or None for value in values], pyarrow.string()).cast(field.type)
                for values, field in zip(zip(*rows, strict=True), schema, strict=True)
            ]
            writer.write_table(pyarrow.Table.from_arrays(arrays, schema=schema))
