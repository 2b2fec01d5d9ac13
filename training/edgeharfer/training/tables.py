"""Read third-party CSV files by column name."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from edgeharfer.runtime.errors import SourceError


def read_table(path: Path, columns: Sequence[str], what: str) -> Iterator[tuple[int, dict[str, str]]]:
    """Iterate over the rows of a CSV file.

    Invalid UTF-8 is replaced, so that it affects only its own cell.

    Args:
        path: CSV file.
        columns: Required columns, matched case-insensitively. "image|name" accepts either name and is
            returned as "image".
        what: Description of the table for error messages.

    Yields:
        Line number and the requested cells by column, stripped; "" for missing cells.

    Raises:
        SourceError: The file cannot be read or a column is missing.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
            reader = csv.reader(file)
            header = [cell.strip().casefold() for cell in next(reader, [])]
            places = {column.split("|")[0]: _column_index(column, header) for column in columns}
            if missing := [column for column, place in places.items() if place is None]:
                raise SourceError(f"{path}: not {what} ({','.join(places)}): no column {missing[0]}")
            for cells in filter(None, reader):
                yield reader.line_num, {column: _cell(cells, place) for column, place in places.items()}
    except (OSError, csv.Error) as error:
        raise SourceError(f"{path}: cannot be read as csv: {error}") from error


def _column_index(column: str, header: Sequence[str]) -> int | None:
    names = (name.casefold() for name in column.split("|"))
    return next((header.index(name) for name in names if name in header), None)


def _cell(cells: Sequence[str], place: int | None) -> str:
    return cells[place].strip() if place is not None and place < len(cells) else ""
