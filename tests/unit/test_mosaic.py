"""A mosaic shows every source in its cell, and draws no more than it has to."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgeharfer.runtime.clock import ManualClock
from edgeharfer.runtime.overlay import annotate
from edgeharfer.runtime.overlay.mosaic import BACKGROUND_LEVEL, Layout, Mosaic
from edgeharfer.runtime.result import Result
from edgeharfer.runtime.sinks.base import Sink
from edgeharfer.runtime.sinks.mosaic import INTERVAL_S, MosaicSink, total
from edgeharfer.runtime.stats import Status
from edgeharfer.runtime.types import Box, Frame, TrackedFace

LEVELS = {"a": 80, "b": 140, "c": 220}


def shown(name: str, seq: int = 0, size: tuple[int, int] = (320, 240)) -> tuple[Frame, Result, Status]:
    picture = np.full((size[1], size[0], 3), LEVELS[name], np.uint8)
    face = TrackedFace(7, Box(10, 10, 20, 20), 0.9)
    result = Result(seq, seq / 30, 2.0, (face,), source=name)
    return Frame(seq, seq / 30, 0.0, picture), result, Status(source=name, fps=10.0)


@pytest.mark.parametrize(
    ("count", "grid"), [(2, (2, 1)), (3, (2, 2)), (4, (2, 2)), (8, (3, 3)), (9, (3, 3)), (64, (8, 8))]
)
def test_cells_fill_the_picture_without_overlap(count: int, grid: tuple[int, int]) -> None:
    layout = Layout.of(count, 4 / 3)
    assert (layout.columns, layout.rows) == grid
    taken = np.zeros(layout.size[::-1], np.uint8)
    for number in range(count):
        taken[layout.place(number)] += 1
    assert taken.max() == 1 and layout.size[0] <= 1280 and layout.size[1] <= 960


def test_each_source_is_in_its_cell_and_an_absent_one_is_dark() -> None:
    mosaic = Mosaic(list(LEVELS), (320, 240))
    for name in "ab":
        mosaic.write(*shown(name))
    image = mosaic.picture().bgr
    assert image.shape[1::-1] == mosaic.layout.size
    middles = [int(np.median(image[mosaic.layout.place(number)])) for number in range(3)]
    assert middles == [LEVELS["a"], LEVELS["b"], BACKGROUND_LEVEL]


def test_a_picture_of_another_shape_keeps_its_own() -> None:
    mosaic = Mosaic(["a"], (320, 240))
    mosaic.write(*shown("a", size=(100, 400)))
    image = mosaic.picture().bgr
    middle = image[image.shape[0] // 2]
    width = int((middle == LEVELS["a"]).all(axis=1).sum())
    assert width == pytest.approx(image.shape[0] / 4, abs=2)


def test_a_mosaic_is_not_annotated_again() -> None:
    mosaic = Mosaic(["a", "b"], (320, 240))
    mosaic.write(*shown("a"))
    picture = mosaic.picture()
    assert np.array_equal(annotate(Frame(0, 0.0, 0.0, picture), Result(0, 0.0, 0.0), Status()), picture.bgr)


def test_only_what_has_changed_is_drawn_again(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[str] = []
    monkeypatch.setattr(
        "edgeharfer.runtime.overlay.mosaic.draw_cell", lambda _, cell: drawn.append(cell.status.source)
    )
    mosaic = Mosaic(["a", "b"], (320, 240))
    for name in ("a", "b"):
        mosaic.write(*shown(name))
    _ = mosaic.picture().bgr, mosaic.picture().bgr
    mosaic.write(*shown("b", 1))
    mosaic.refresh(Status(source="a", fps=10.0))  # the same state
    _ = mosaic.picture().bgr
    mosaic.refresh(Status(source="a", source_state="lost"))
    _ = mosaic.picture().bgr
    assert drawn == ["a", "b", "b", "a"]


class Screen(Sink):
    """A sink that keeps what it shows."""

    def __init__(self) -> None:
        self.shown: list[tuple[Frame, Result, Status]] = []
        self.events: list[str] = []

    def write(self, frame: Frame, result: Result, status: Status) -> None:
        self.shown.append((frame, result, status))

    def __enter__(self) -> Screen:
        self.events.append("enter")
        return self

    def __exit__(self, *_: object) -> None:
        self.events.append("exit")

    def finish(self, summary: dict[str, Any]) -> None:
        self.events.append("finish")


def test_a_screen_gets_all_sources_at_its_own_rate() -> None:
    clock, screen = ManualClock(), Screen()
    with MosaicSink(screen, ["a", "b"], (320, 240), clock) as sink:
        for n in range(300):
            clock.sleep(1 / 100)
            sink.write(*shown("ab"[n % 2], n))
        assert not sink.closed
        screen.closed = True
        assert sink.closed
        sink.finish({})
    assert screen.events == ["enter", "finish", "exit"]
    assert len(screen.shown) == pytest.approx(3 / INTERVAL_S, rel=0.1)
    frame, result, status = screen.shown[-1]
    assert [face.track for face in result.faces] == [1, 2]
    assert (status.fps, status.source_name, status.source_state) == (20.0, "2 sources", "live")
    assert frame.size == Mosaic(["a", "b"], (320, 240)).layout.size


def test_a_lost_source_shows_while_no_frames_arrive() -> None:
    clock, screen = ManualClock(), Screen()
    sink = MosaicSink(screen, ["a", "b"], (320, 240), clock)
    sink.write(*shown("a"))
    for state in ("stalled", "lost"):
        clock.sleep(1)
        sink.refresh(Status(source="a", source_state=state))
    before, after = (one[0].bgr for one in screen.shown[-2:])
    assert not np.array_equal(before, after)


def test_all_sources_together_are_live_while_one_is() -> None:
    status = total([Status(source_state="lost", frames_dropped=3), Status(fps=5.0, rates_hz={"faces": 4.0})])
    assert (status.source_state, status.frames_dropped, status.rates_hz) == ("live", 3, {"faces": 4.0})
    assert total([Status(source_state="lost")] * 2).source_state == "lost"
