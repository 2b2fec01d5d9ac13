"""Plots of a training run: curves, confusion matrix, reliability diagram and image grids."""

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
"""Geometry of an image grid in inches: cell (width, height), caption height, and gap between images."""


def plot_curves(history: Sequence[Mapping[str, float]], path: Path) -> None:
    """Plot the losses (left) and all other figures (right) over the epochs."""
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
    """Set title, labels and legend of axes that already hold curves over the epochs."""
    axes.set_title(title, loc="left")
    axes.set_xlabel("epoch")
    axes.locator_params(axis="x", integer=True)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)


def plot_confusion(confusion: Sequence[Sequence[int]], labels: Sequence[str], path: Path) -> None:
    """Plot a confusion matrix; rows are true classes, cells show percent of the row."""
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
    """Plot accuracy over confidence.

    Args:
        curves: Legend name -> probabilities, (n, classes).
        truth: True class of each sample, (n,).
        path: Image file to write.
    """
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
    """Plot training loss and validation score of several runs over the epochs."""
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
    """Plot rows of images with a caption above each.

    Args:
        rows: Images, uint8 (height, width[, 3]), RGB or grey.
        captions: One caption per image, in the same layout.
        path: Image file to write.
    """
    columns = max(1, *(len(row) for row in rows))
    width, height = CELL[0] * columns, CELL[1] * len(rows)
    figure = Figure(figsize=(width, height))
    axes = figure.add_axes((0, 0, 1, 1))  # One axes in inches for all images: one per image takes seconds.
    for i, (row, texts) in enumerate(zip(rows, captions, strict=True)):
        for k, (picture, text) in enumerate(zip(row, texts, strict=False)):
            _draw_cell(axes, np.squeeze(picture), text, (CELL[0] * (k + 0.5), CELL[1] * i))
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.set_axis_off()
    save_figure(figure, path)


def plot_grid(pictures: Sequence[Image], captions: Sequence[str], columns: int, path: Path) -> None:
    """Plot captioned images in rows of `columns`."""
    starts = range(0, max(1, len(pictures)), columns)
    plot_sheet(
        [pictures[start : start + columns] for start in starts],
        [captions[start : start + columns] for start in starts],
        path,
    )


def _draw_cell(axes: Axes, picture: Image, text: str, top: tuple[float, float]) -> None:
    """Draw an image below its caption, as large as the cell allows.

    Args:
        axes: Axes in inches.
        picture: RGB or grey image.
        text: Caption.
        top: Middle of the cell's upper edge.
    """
    x, y = top[0], top[1] + CAPTION
    rows, columns = picture.shape[:2]
    scale = min((CELL[0] - 2 * GAP) / columns, (CELL[1] - CAPTION - GAP) / rows)
    extent = (x - scale * columns / 2, x + scale * columns / 2, y + scale * rows, y)
    axes.imshow(picture, cmap="gray", vmin=0, vmax=255, extent=extent, aspect="auto")
    axes.text(x, y - GAP / 2, text, fontsize=6, ha="center", va="bottom")


def save_figure(figure: Figure, path: Path) -> None:
    """Write the figure to a file, without a display and without pyplot's global state."""
    FigureCanvasAgg(figure).print_figure(str(path), dpi=DPI)
