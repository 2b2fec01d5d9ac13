"""Deinterlacing: one progressive frame for each interlaced frame."""

from __future__ import annotations

from fractions import Fraction
from typing import cast

import av
import av.error
from av.filter import Graph
from av.video.format import VideoFormat

_Shape = tuple[int, int, str]
# bwdif doubles the resolution of the times, to make room for the second field of a frame.
_TICKS_PER_FRAME = 2


class Deinterlacer:
    """Passes progressive frames through; interlaced ones go through FFmpeg's bwdif filter, one frame late.

    The filter interpolates between the fields of three consecutive frames, in the order of fields that each
    frame states. Once an interlaced frame was seen, all frames take this way, so that their order remains.
    """

    def __init__(self) -> None:
        self._graph: Graph | None = None
        self._shape: _Shape | None = None
        self._times: dict[int, tuple[int | None, int | None]] = {}
        self._count = 0

    @property
    def active(self) -> bool:
        """Whether an interlaced frame was seen."""
        return self._graph is not None

    def push(self, frame: av.VideoFrame) -> list[av.VideoFrame]:
        """Return the frames that are ready: this one if it is progressive, else the one before."""
        if self._graph is None and not frame.interlaced_frame:
            return [frame]
        shape = frame.width, frame.height, frame.format.name
        ready = [] if shape == self._shape else self.flush()
        if self._graph is None:
            self._graph, self._shape = _make_graph(shape), shape
        return ready + self._filter(self._graph, frame)

    def flush(self) -> list[av.VideoFrame]:
        """Return the remaining frames, at the end or before frames of another size."""
        graph, self._graph = self._graph, None
        self._shape = None
        return [] if graph is None else self._filter(graph, None)

    def _filter(self, graph: Graph, frame: av.VideoFrame | None) -> list[av.VideoFrame]:
        """Put a frame, or the end, into the filter, and take out what is ready."""
        if frame is not None:
            # The filter only knows the number of a frame, because the times of a file need not increase.
            self._times[self._count] = frame.pts, frame.dts
            frame.pts = self._count
            self._count += 1
        graph.push(frame)
        ready = []
        while (filtered := _pull(graph)) is not None:
            times = self._times.pop((filtered.pts or 0) // _TICKS_PER_FRAME, None)
            if times is not None:
                filtered.pts, filtered.dts = times
                ready.append(filtered)
        return ready


def _make_graph(shape: _Shape) -> Graph:
    width, height, name = shape
    graph = Graph()
    graph.threads = 1
    source = graph.add_buffer(
        width=width, height=height, format=VideoFormat(name), time_base=Fraction(1, 1000)
    )
    bwdif = graph.add("bwdif", "mode=send_frame:parity=auto:deint=interlaced")
    graph.link_nodes(source, bwdif, graph.add("buffersink")).configure()
    return graph


def _pull(graph: Graph) -> av.VideoFrame | None:
    try:
        return cast(av.VideoFrame, graph.pull())
    except (av.error.BlockingIOError, av.error.EOFError):
        return None
