"""Figures of a training run: curves and a confusion matrix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from edgeharfer.evaluate.metrics import calibration_error, reliability
from edgeharfer.runtime.types import Floats, Image

DPI = 150
CELL, CAPTION, GAP = (1.25, 1.45), 0.2, 0.05
"""Of a sheet of pictures, in inches: width and height of a cell, of its caption, and between pictures."""


def plot_curves(history: Sequence[Mapping[str, float]], path: Path) -> None:
    """Loss on the left, every other figure on the right, over the epochs."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    loss, score = figure.subplots(1, 2)
    epochs = [row["epoch"] for row in history]
    names = [name for name in history[0] if name not in ("epoch", "learning_rate")]
    for name in names:
        axes = loss if "loss" in name else score
        axes.plot(
            epochs, [row[name] for row in history], marker="o", markersize=2.5, linewidth=1.4, label=name
        )
    for axes, title in ((loss, "Loss"), (score, "Validation")):
        _format_epoch_axes(axes, title)
    save_figure(figure, path)


def _format_epoch_axes(axes: Axes, title: str) -> None:
    """What stands around curves over the epochs, once they are drawn."""
    axes.set_title(title, loc="left")
    axes.set_xlabel("epoch")
    axes.locator_params(axis="x", integer=True)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)


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
    save_figure(figure, path)


def plot_reliability(curves: Mapping[str, Floats], truth: NDArray[np.int64], path: Path) -> None:
    """Share of right answers over confidence, a line for each of `curves` (name -> probabilities)."""
    figure = Figure(figsize=(4.2, 4.0), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="0.6", linewidth=1, linestyle="--", label="perfect")
    for (name, probs), marker in zip(curves.items(), "os^v", strict=False):
        rows = reliability(probs, truth)
        label = f"{name}: ECE {calibration_error(probs, truth):.3f}"
        axes.plot(rows[:, 0], rows[:, 1], marker=marker, markersize=4, linewidth=1.4, label=label)
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="confidence", ylabel="share right", aspect="equal")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="lower right", fontsize=8)
    save_figure(figure, path)


def plot_comparison(histories: Mapping[str, Sequence[Mapping[str, float]]], path: Path) -> None:
    """Training loss and validation score of several runs over the epochs, a line for each."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    panels = {"loss": "Loss", "score": "Validation"}
    for axes, (key, title) in zip(figure.subplots(1, 2), panels.items(), strict=True):
        for (name, history), style in zip(histories.items(), ("-", "--", "-.", ":") * 4, strict=False):
            axes.plot(
                [row["epoch"] for row in history], [row[key] for row in history], style, marker="o",
                markersize=2.5, linewidth=1.4, label=name,
            )  # fmt: skip
        _format_epoch_axes(axes, title)
    save_figure(figure, path)


def plot_sheet(rows: Sequence[Sequence[Image]], captions: Sequence[Sequence[str]], path: Path) -> None:
    """Pictures in rows, uint8 (height, width[, 3]) RGB or grey, with a caption above each."""
    columns = max(1, *(len(row) for row in rows))
    width, height = CELL[0] * columns, CELL[1] * len(rows)
    figure = Figure(figsize=(width, height))
    axes = figure.add_axes((0, 0, 1, 1))  # one for all, in inches: an axes a picture takes seconds
    for i, (row, texts) in enumerate(zip(rows, captions, strict=True)):
        for k, (picture, text) in enumerate(zip(row, texts, strict=False)):
            _draw_cell(axes, np.squeeze(picture), text, (CELL[0] * (k + 0.5), CELL[1] * i))
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.set_axis_off()
    save_figure(figure, path)


def _draw_cell(axes: Axes, picture: Image, text: str, top: tuple[float, float]) -> None:
    """A picture as large as its cell allows, below its caption; top: the middle of the cell's upper edge."""
    x, y = top[0], top[1] + CAPTION
    rows, columns = picture.shape[:2]
    scale = min((CELL[0] - 2 * GAP) / columns, (CELL[1] - CAPTION - GAP) / rows)
    extent = (x - scale * columns / 2, x + scale * columns / 2, y + scale * rows, y)
    axes.imshow(picture, cmap="gray", vmin=0, vmax=255, extent=extent, aspect="auto")
    axes.text(x, y - GAP / 2, text, fontsize=6, ha="center", va="bottom")


def save_figure(figure: Figure, path: Path) -> None:
    """Write a picture without a display and without matplotlib's global state."""
    FigureCanvasAgg(figure).print_figure(str(path), dpi=DPI)
