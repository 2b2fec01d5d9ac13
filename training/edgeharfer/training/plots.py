"""Figures of a training run: curves and a confusion matrix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

DPI = 150


def plot_curves(history: Sequence[Mapping[str, float]], path: Path) -> None:
    """Loss on the left, every other figure on the right, over the epochs."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    loss, score = figure.subplots(1, 2)
    epochs = [row["epoch"] for row in history]
    names = [name for name in history[0] if name != "epoch"]
    for name in names:
        axes = loss if "loss" in name else score
        axes.plot(
            epochs, [row[name] for row in history], marker="o", markersize=2.5, linewidth=1.4, label=name
        )
    for axes, title in ((loss, "Loss"), (score, "Validation")):
        axes.set_title(title, loc="left")
        axes.set_xlabel("epoch")
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
    save(figure, path)


def plot_confusion(confusion: Sequence[Sequence[int]], labels: Sequence[str], path: Path) -> None:
    """Rows are the truth, each cell its share of the row in per cent."""
    counts: NDArray[np.int64] = np.asarray(confusion)
    shares = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = 2.2 + 0.42 * len(labels)
    figure = Figure(figsize=(side + 0.6, side), layout="constrained")
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=100)
    axes.set_xticks(range(len(labels)), labels, rotation=45, ha="right")
    axes.set_yticks(range(len(labels)), labels)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    for row, column in np.ndindex(shares.shape):
        if counts[row, column]:
            color = "white" if shares[row, column] > 55 else "black"
            axes.text(
                column, row, f"{shares[row, column]:.0f}", ha="center", va="center", color=color, fontsize=7
            )
    save(figure, path)


def save(figure: Figure, path: Path) -> None:
    """Write a picture without a display and without matplotlib's global state."""
    FigureCanvasAgg(figure).print_figure(str(path), dpi=DPI)
