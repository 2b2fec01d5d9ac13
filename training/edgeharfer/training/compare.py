"""Train one recipe several times with a single setting changed, and compare the runs."""

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
    """Run one training per name and write a comparison table and plot.

    Args:
        names: Names of the variants, such as optimizers.
        train: Called as train(name, folder); returns the run's history, one row per epoch with "epoch",
            "loss" and "score".
        out: Folder for the results: one subfolder per name, comparison.csv, comparison.md and comparison.png.
        report: Receives progress messages.

    Returns:
        One row per variant, the best score first.
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
    """Summarise a run: its best epoch, the number of epochs and the last loss."""
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
    """Write comparison.csv and comparison.md."""
    with (out / "comparison.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    (out / "comparison.md").write_text(comparison_table(rows) + "\n", encoding="utf-8")


def comparison_table(rows: Sequence[Row]) -> str:
    """Format the rows as a Markdown table."""
    lines = ["| " + " | ".join(rows[0]) + " |", "|" + "---|" * len(rows[0])]
    for row in rows:
        cells = (f"{value:.4f}" if isinstance(value, float) else str(value) for value in row.values())
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)
