"""Plot the rows of a benchmark as dots with ranges. Needs matplotlib."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgeharfer.benchmark.machine import is_busy
from edgeharfer.benchmark.rows import OURS
from edgeharfer.runtime.errors import ConfigError, MissingExtra, SinkError

_OURS_COLOR, _PEER_COLOR, _BUSY_COLOR = "#1f77b4", "#7a828c", "#c0392b"
_ROW_INCHES, _WIDTH_INCHES = 0.28, 10.0


def check_plot(path: Path) -> None:
    """Check that a plot can be drawn and written, before anything is measured.

    Raises:
        MissingExtra: matplotlib is not installed.
        ConfigError: matplotlib does not write such files, or the folder is not writable.
    """
    try:
        from matplotlib.backend_bases import FigureCanvasBase
    except ImportError as error:
        raise MissingExtra("matplotlib", "train") from error
    known = FigureCanvasBase.get_supported_filetypes()
    if path.suffix.lower().removeprefix(".") not in known:
        raise ConfigError(f"--plot {path}: unknown file type: choose from {', '.join(sorted(known))}")
    check_writable(path, "--plot")


def check_writable(path: Path, option: str) -> None:
    """Check that a file can be created.

    Raises:
        ConfigError: It cannot.
    """
    folder = path.resolve().parent
    if not folder.is_dir():
        raise ConfigError(f"{option} {path}: folder {path.parent} does not exist")
    if path.is_dir():
        raise ConfigError(f"{option} {path}: is a folder: give the name of a file")
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ConfigError(f"{option} {path}: cannot write to {folder}: {error.strerror}") from error


def plot(rows: Sequence[Mapping[str, Any]], machine: Mapping[str, Any], path: Path) -> None:
    """Draw the rows to an image file: a dot at the median, a line from the 5th to the 95th percentile.

    Each batch size has axes of its own, since its times are those of a whole batch.

    Args:
        rows: Rows of `benchmark --json`.
        machine: The `machine` object, for the title.
        path: File to write.

    Raises:
        SinkError: The file cannot be written.
    """
    from matplotlib.figure import Figure

    batches = sorted({row["batch"] for row in rows})
    parts = [[row for row in rows if row["batch"] == batch] for batch in batches]
    figure = Figure(
        figsize=(_WIDTH_INCHES, 1.3 + 0.7 * len(parts) + _ROW_INCHES * len(rows)), layout="constrained"
    )
    every = figure.subplots(len(parts), squeeze=False, height_ratios=[len(part) + 1 for part in parts])
    for axes, part, batch in zip(every[:, 0], parts, batches, strict=True):
        _draw(axes, part, f"batch {batch}" if len(parts) > 1 or batch > 1 else None)
    every[-1, 0].set_xlabel("milliseconds (log): median, and the range from the 5th to the 95th percentile")
    busy = is_busy(machine)
    title = f"{machine['cpu']}, {machine['cores']} cores, {machine['date']}"
    note = f"\nBUSY MACHINE (load {machine['load_average']}): compare only processor times" if busy else ""
    figure.suptitle(title + note, fontsize=10, color=_BUSY_COLOR if busy else "black")
    try:
        figure.savefig(path, dpi=130)
    except (OSError, ValueError) as error:
        raise SinkError(f"{path}: cannot write the plot: {error}") from error


def _draw(axes: Any, rows: Sequence[Mapping[str, Any]], title: str | None) -> None:
    for place, row in enumerate(rows):
        color = _OURS_COLOR if row["backend"] == OURS else _PEER_COLOR
        axes.plot(
            [row.get("p5_ms", row["median_ms"]), row["p95_ms"]], [place, place], color=color, linewidth=2
        )
        axes.plot([row["median_ms"]], [place], "o", color=color, markersize=6)
        axes.annotate(
            _label(row), (row["p95_ms"], place), (6, 0), textcoords="offset points", va="center", fontsize=8
        )
    axes.set_yticks(range(len(rows)), [_name(row) for row in rows], fontsize=8)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xscale("log")
    axes.grid(visible=True, axis="x", which="both", color="#e5e7ea")
    axes.set_axisbelow(True)
    axes.margins(x=0.15)
    if title is not None:
        axes.set_title(title, loc="left", fontsize=9)


def _name(row: Mapping[str, Any]) -> str:
    provider = str(row["provider"]).removesuffix("ExecutionProvider")
    streams = f"  {row['streams']} streams" if row.get("streams", 1) > 1 else ""
    return f"{row['name']}  {row['backend']} {row['precision']} {provider}  {row['threads']} thr{streams}"


def _label(row: Mapping[str, Any]) -> str:
    accuracy = f"   top-1 {row['top1']:.1%}" if "top1" in row else ""
    return f"{row['median_ms']:.2f}{accuracy}"
