"""Video files for tests, encoded with PyAV: any codec, pixel format, times, orientation and field order."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, cast

import av
import numpy as np
from av.codec.context import Flags
from av.filter import Graph
from av.video.reformatter import ColorRange, Colorspace

from edgeharfer.runtime.types import Image

COLOURS = ((0, 0, 255), (0, 255, 0), (255, 0, 0), (255, 255, 255))
"""BGR of the quarters of `quarters`: top left, top right, bottom left, bottom right."""


def quarters(width: int = 64, height: int = 48) -> Image:
    """A picture of four colours, of which each orientation looks different."""
    picture = np.empty((height, width, 3), np.uint8)
    y, x = height // 2, width // 2
    picture[:y, :x], picture[:y, x:], picture[y:, :x], picture[y:, x:] = COLOURS
    return picture


def encode_clip(
    path: Path,
    pictures: Iterable[Image],
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    *,
    rate: Fraction | int = 25,
    times: Sequence[int] | None = None,
    time_base: Fraction | None = None,
    aspect: Fraction | None = None,
    matrix: Sequence[int] | None = None,
    fields: Literal["tff", "bff"] | None = None,
    colorspace: int = Colorspace.ITU601,
    full_range: bool = False,
    options: dict[str, str] | None = None,
    container_format: str | None = None,
) -> Path:
    """Write pictures of one size, uint8 BGR, to a video file.

    Args:
        path: The file; its suffix chooses the container.
        pictures: The pictures in the order in which they are shown.
        codec: Name of the encoder.
        pixel_format: Pixel format of the encoder.
        rate: Nominal frames per second.
        times: Time of each picture in units of `time_base`; by default one frame after the other.
        time_base: Unit of `times`, by default one frame.
        aspect: Width of a pixel divided by its height.
        matrix: Display matrix, nine integers.
        fields: Order of the two fields to which the lines of an interlaced picture belong: top or bottom
            field first.
        colorspace: Colour matrix that the file states.
        full_range: Whether luma ranges from 0 to 255, as the file states.
        options: Options of the encoder.
        container_format: Name of the muxer; by default the suffix chooses it.
    """
    pictures = list(pictures)
    height, width = pictures[0].shape[:2]
    with scheduling_kept(), av.open(str(path), "w", format=container_format) as container:
        stream: Any = container.add_stream(codec, rate=rate, options=options or {})
        stream.width, stream.height, stream.pix_fmt = width, height, pixel_format
        context = stream.codec_context
        if time_base is not None:
            context.time_base = stream.time_base = time_base
        if aspect is not None:
            context.sample_aspect_ratio = aspect
        if matrix is not None:
            stream.set_display_matrix(matrix)
        if fields is not None:
            context.flags |= Flags.interlaced_dct | Flags.interlaced_me
        target = ColorRange.JPEG if full_range else ColorRange.MPEG
        if pixel_format.startswith("yuv"):
            context.colorspace, context.color_range = int(colorspace), int(target)
        for number, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, "bgr24")
            frame = frame.reformat(
                format=pixel_format, dst_colorspace=colorspace, dst_color_range=target, threads=1
            )
            frame.pts = number if times is None else times[number]
            frame.time_base = time_base or Fraction(1) / rate
            container.mux(stream.encode(frame if fields is None else with_fields(frame, fields)))
        container.mux(stream.encode(None))
    return path


@contextmanager
def scheduling_kept() -> Iterator[None]:
    """Restore the scheduling of this process: as root, SVT-AV1 gives it real-time priority for ever."""
    if not hasattr(os, "sched_setscheduler"):
        yield
        return
    policy, parameter = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        os.sched_setscheduler(0, policy, parameter)


def with_fields(frame: av.VideoFrame, order: str) -> av.VideoFrame:
    """Return the frame marked as interlaced, which only a filter can do."""
    graph = Graph()
    source = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base
    )
    graph.link_nodes(source, graph.add("setfield", order), graph.add("buffersink")).configure()
    graph.push(frame)
    return cast(av.VideoFrame, graph.pull())
