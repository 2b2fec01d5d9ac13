"""Tables over all inputs of a job: `all_summary.csv`, `all_persons.csv`, `all_frames.csv` or `.parquet`."""

from __future__ import annotations

import csv
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from edgeharfer.report.csv_files import FRAMES, Cell, escape_formula, write_table
from edgeharfer.report.inputs import ALL_FRAMES, ALL_PERSONS, ALL_SUMMARY
from edgeharfer.report.manifest import read_manifest
from edgeharfer.report.summary import SUMMARY
from edgeharfer.runtime.staging import cannot_write, replaced_file

Table = Literal["csv", "parquet", "none"]
_INPUT = ("duration_s", "frames", "samples", "unreadable")
_TIMES = ("track", "first_s", "last_s", "seen_s")
_MEASURES = ("sightings", "coverage", "confidence")


def write_combined(out: Path, table: Table) -> None:
    """Write the tables over all reports that `job.jsonl` names, in the order of their folders' names.

    Reports are read one at a time.

    Args:
        out: Folder of all reports.
        table: Format of the table of all frames; "none" writes no table.

    Raises:
        SinkError: A table cannot be written.
        ImportError: pyarrow, which "parquet" needs, is not installed.
    """
    if table == "none":
        return
    folders = [out / name for name in sorted(_finished(out))]
    try:
        labels = sorted({label for folder in folders for label in _read_summary(folder)["group"]["shares"]})
        with replaced_file(out / ALL_SUMMARY) as path:
            write_table(path, *_summary_table(folders, labels))
        with replaced_file(out / ALL_PERSONS) as path:
            write_table(path, *_persons_table(folders, labels))
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


def _summary_table(
    folders: Sequence[Path], labels: Sequence[str]
) -> tuple[Sequence[str], Iterable[Sequence[Cell]]]:
    """One line per input: its facts, its number of persons, and the share and raw mean of each emotion."""
    header = ("report", "input", "kind", *_INPUT, "persons", *_measure_columns(labels))
    return header, (_summary_line(folder, labels) for folder in folders)


def _summary_line(folder: Path, labels: Sequence[str]) -> Sequence[Cell]:
    summary = _read_summary(folder)
    item = summary["input"]
    facts = (item["name"], item["kind"], *(item.get(key) for key in _INPUT), len(summary["persons"]))
    return (folder.name, *facts, *_measures(summary["group"], labels))


def _persons_table(
    folders: Sequence[Path], labels: Sequence[str]
) -> tuple[Sequence[str], Iterable[Sequence[Cell]]]:
    """One line per person of each input, with the most frequent emotion, also of those seen only briefly."""
    return ("report", "input", *_TIMES, "label", *_measure_columns(labels)), _person_lines(folders, labels)


def _person_lines(folders: Sequence[Path], labels: Sequence[str]) -> Iterator[Sequence[Cell]]:
    for folder in folders:
        summary = _read_summary(folder)
        for person in summary["persons"]:
            shares = person.get("shares") or {}
            label = max(shares, key=lambda name: shares[name], default=None)
            times = (person.get(key) for key in _TIMES)
            yield (folder.name, summary["input"]["name"], *times, label, *_measures(person, labels))


def _measure_columns(labels: Sequence[str]) -> tuple[str, ...]:
    shares, means = ([f"{kind}_{label}" for label in labels] for kind in ("share", "mean"))
    return (*_MEASURES, *shares, *means, "strength")


def _measures(figures: Mapping[str, Any], labels: Sequence[str]) -> tuple[Cell, ...]:
    """The cells of `_measure_columns`; reports of earlier versions have no strength."""
    shares, means = figures.get("shares") or {}, figures.get("mean_raw") or {}
    return (
        *(figures.get(key) for key in _MEASURES),
        *(shares.get(label) for label in labels),
        *(means.get(label) for label in labels),
        figures.get("strength"),
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


_KINDS = {"picture": "string", "label": "string", "input": "string", "frame": "int64", "track": "int64"}
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
