"""A mosaic: the newest pictures of several sources with their overlays, as one picture."""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from edgeharfer.runtime.overlay import draw, scale_result
from edgeharfer.runtime.picture import Picture
from edgeharfer.runtime.result import Result
from edgeharfer.runtime.stats import Status
from edgeharfer.runtime.types import Frame, Image

WIDTH, MAX_HEIGHT = 1280, 960
GAP = 2
"""Pixels between two cells."""
BACKGROUND_LEVEL = 24
"""Grey level of the gaps, and of sources without a picture."""


@dataclass(frozen=True)
class Layout:
    """Cells of equal size, row by row.

    Attributes:
        columns: Number of columns.
        rows: Number of rows.
        width: Width of a cell in pixels, with its gap.
        height: Height of a cell in pixels, with its gap.
    """

    columns: int
    rows: int
    width: int
    height: int

    @classmethod
    def of(cls, count: int, aspect: float) -> Layout:
        """Return the layout for a number of pictures with the aspect ratio `aspect` (width / height)."""
        columns = math.ceil(math.sqrt(count))
        rows = math.ceil(count / columns)
        width = min(WIDTH // columns, round(MAX_HEIGHT / rows * aspect))
        return cls(columns, rows, width, max(1, round(width / aspect)))

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the mosaic."""
        return self.columns * self.width, self.rows * self.height

    def place(self, number: int) -> tuple[slice, slice]:
        """Return the rows and columns of a cell, without its gap."""
        row, column = divmod(number, self.columns)
        top, left = row * self.height, column * self.width
        return slice(top, top + self.height - GAP), slice(left, left + self.width - GAP)


@dataclass(frozen=True, eq=False)
class Cell:
    """What one source shows. Cells are compared by identity.

    Attributes:
        status: Its status.
        view: Its newest frame and result; None before the first one.
    """

    status: Status
    view: tuple[Frame, Result] | None = None


class MosaicPicture(Picture):
    """A mosaic that is drawn on first use. `annotate` adds nothing to it."""

    annotated: ClassVar[bool] = True

    def __init__(self, mosaic: Mosaic, cells: Sequence[Cell]) -> None:
        self.size = mosaic.layout.size
        self._mosaic, self._cells = mosaic, cells
        self._bgr: Image | None = None

    @property
    def bgr(self) -> Image:
        if self._bgr is None:
            self._bgr = self._mosaic.draw(self._cells)
        return self._bgr


class Mosaic:
    """The newest results of several sources. Drawing is thread-safe.

    Args:
        names: Names of the sources, in the order of the cells.
        size: Width and height of most pictures, which sets the shape of the cells.
    """

    def __init__(self, names: Sequence[str], size: tuple[int, int]) -> None:
        self.layout = Layout.of(len(names), size[0] / size[1])
        self._cells = {
            name: Cell(Status(source_state="connecting", source=name, source_name=name)) for name in names
        }
        width, height = self.layout.size
        self._canvas = np.full((height, width, 3), BACKGROUND_LEVEL, np.uint8)
        self._drawn: list[Cell | None] = [None] * len(names)
        self._lock = threading.Lock()

    @property
    def cells(self) -> Mapping[str, Cell]:
        """The current cells by the name of the source."""
        return self._cells

    def write(self, frame: Frame, result: Result, status: Status) -> None:
        """Set the newest result of the source that `status` names."""
        self._cells[status.source] = Cell(status, (frame, result))

    def refresh(self, status: Status) -> None:
        """Set the status of a source without a new result."""
        cell = self._cells[status.source]
        if status.source_state != cell.status.source_state:
            self._cells[status.source] = replace(cell, status=status)

    def picture(self) -> MosaicPicture:
        """Return the mosaic as it is now; drawn when its pixels are read."""
        return MosaicPicture(self, list(self._cells.values()))

    def draw(self, cells: Sequence[Cell]) -> Image:
        """Draw the cells that have changed since the last call; return a new picture."""
        with self._lock:
            for number, cell in enumerate(cells):
                if cell is not self._drawn[number]:
                    rows, columns = self.layout.place(number)
                    draw_cell(self._canvas[rows, columns], cell)
                    self._drawn[number] = cell
            return self._canvas.copy()


def draw_cell(target: Image, cell: Cell) -> None:
    """Draw a cell into a part of a picture, uint8, (height, width, 3)."""
    # There is little room, and which source it is matters most.
    status = replace(cell.status, source_name=cell.status.source, provider="", rates_hz={})
    target[:] = BACKGROUND_LEVEL
    if cell.view is None:
        target[:] = draw(target.copy(), Result(0, 0.0, 0.0), status)
        return
    frame, result = cell.view
    height, width = target.shape[:2]
    scale = min(width / frame.size[0], height / frame.size[1])
    inner = max(1, round(frame.size[0] * scale)), max(1, round(frame.size[1] * scale))
    top, left = (height - inner[1]) // 2, (width - inner[0]) // 2
    image = draw(frame.picture.resized(*inner).copy(), scale_result(result, scale), status)
    target[top : top + inner[1], left : left + inner[0]] = image
