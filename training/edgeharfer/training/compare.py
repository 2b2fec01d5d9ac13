"""Train the same recipe several times with one thing changed, and set the runs side by side."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgeharfer.training.plots import plot_comparison

Row = Mapping[str, Any]


def compare_runs(
    names: Sequence[str],
    train: Callable[[str, Path], Sequence[Row]],
    out: Path,
    report: Callable[[str], None] = print,
) -> list[Row]:
    """Call train(name, folder) for each name; returns and writes a row each, the best first.

    train: gives the history of its run, one row an epoch with "epoch", "loss" and "score". `out` gets a
    folder a name, comparison.csv, comparison.md and comparison.png with all curves.
    """
    out.mkdir(parents=True, exist_ok=True)
    histories = {}
    for name in names:
        report(f"{name}:")
        histories[name] = train(name, out / name)
    rows = sorted(
        (summarize_run(name, history) for name, history in histories.items()), key=lambda row: -row["score"]
    )
    write_table(rows, out)
    plot_comparison(histories, out / "comparison.png")
    report(comparison_table(rows))
    return rows


def summarize_run(name: str, history: Sequence[Row]) -> Row:
    """The best epoch of a run, with how many there were and the loss at the end."""
    best = max(history, key=lambda row: row["score"])
    figures = {key: value for key, value in best.items() if key.endswith("top1")}
    return {
        "optimizer": name,
        "epochs": len(history),
        "best_epoch": best["epoch"],
        "score": best["score"],
        **figures,
        "last_loss": history[-1]["loss"],
    }


def write_table(rows: Sequence[Row], out: Path) -> None:
    """comparison.csv for programs, comparison.md for people."""
    with (out / "comparison.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    (out / "comparison.md").write_text(comparison_table(rows) + "\n", encoding="utf-8")


def comparison_table(rows: Sequence[Row]) -> str:
    """The rows as a table."""
    lines = ["| " + " | ".join(rows[0]) + " |", "|" + "---|" * len(rows[0])]
    for row in rows:
        cells = (f"{value:.4f}" if isinstance(value, float) else str(value) for value in row.values())
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)
