"""Artifacts of a training run: tables, history, environment and hashes."""

from __future__ import annotations

import csv
import hashlib
import os
import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgeharfer.runtime.errors import SourceError
from edgeharfer.runtime.versions import all_installed

RUN_MODEL = "model.keras"
"""File of the trained model in the folder of a run."""
TOOLS = ("edgeharfer", "keras", "tensorflow", "torch", "jax", "numpy", "opencv-python", "onnxruntime")
"""Distributions whose versions are recorded."""


def environment() -> dict[str, object]:
    """Return versions, machine and command line of this run."""
    return {
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "versions": all_installed(TOOLS),
        "python": platform.python_version(),
        "machine": {"processor": platform.machine(), "system": platform.system(), "cores": os.cpu_count()},
    }


def class_table(figures: Mapping[str, Any]) -> str:
    """Format per-class figures as text, like scikit-learn's classification report."""
    rows = [f"{'class':20} {'precision':>9} {'recall':>9} {'f1':>9} {'n':>7}"]
    for label, row in figures["per_class"].items():
        rows.append(
            f"{label:20} {row['precision']:9.3f} {row['recall']:9.3f} {row['f1']:9.3f} {row['support']:7}"
        )
    rows.append(f"top-1 {figures['top1']:.4f}, macro F1 {figures['macro_f1']:.4f}, n {figures['n']}")
    return "\n".join(rows)


def markdown_table(figures: Mapping[str, Any]) -> str:
    """Format per-class figures as a Markdown table for a model card."""
    rows = ["| class | precision | recall | F1 | n |", "|---|---|---|---|---|"]
    for label, row in figures["per_class"].items():
        rows.append(
            f"| {label} | {row['precision']:.3f} | {row['recall']:.3f} | {row['f1']:.3f} | {row['support']} |"
        )
    return "\n".join(rows)


def normalize_weights(weights: Sequence[float]) -> list[float]:
    """Scale weights to sum to 1, rounded to five decimals, as in a manifest's `prior`."""
    total = sum(weights)
    return [round(weight / total, 5) for weight in weights]


def counted(counts: Mapping[str, int]) -> str:
    """Format counts such as "11 blank, 3 second copies"."""
    return ", ".join(f"{count} {what}" for what, count in counts.items()) or "none"


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file as hex digits.

    Raises:
        SourceError: The file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise SourceError(f"{path}: {error.strerror or error}") from error


def tensorboard_writer(folder: Path) -> Callable[[Mapping[str, float]], None]:
    """Return a callback that writes each epoch's figures to TensorBoard event files in `folder`."""
    from tensorboard.summary import Writer  # Slow to import; only needed with --tensorboard.

    writer = Writer(str(folder))

    def write_row(row: Mapping[str, float]) -> None:
        for name, value in row.items():
            if name != "epoch":
                writer.add_scalar(name, value, int(row["epoch"]))
        writer.flush()

    return write_row


def read_history(path: Path) -> list[dict[str, Any]]:
    """Read a file of `write_history`; numbers become floats, empty cells are omitted."""
    with path.open(newline="", encoding="utf-8") as file:
        return [{key: _number(text) for key, text in row.items() if text} for row in csv.DictReader(file)]


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def write_history(path: Path, history: Sequence[Mapping[str, Any]]) -> None:
    """Write one CSV row per epoch; missing values become empty cells."""
    names = list(dict.fromkeys(name for row in history for name in row))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(history)
