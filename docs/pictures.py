"""Make the pictures of the documentation from the demo source: python docs/pictures.py"""

from __future__ import annotations

import itertools
from pathlib import Path

import cv2

from edgeharfer.cli.picker.menu import FILE, MenuItem
from edgeharfer.cli.picker.preview import PreviewFrame, PreviewState
from edgeharfer.cli.picker.screen import compose
from edgeharfer.runtime.channel import short_providers
from edgeharfer.runtime.clock import SystemClock
from edgeharfer.runtime.overlay import annotate
from edgeharfer.runtime.pipeline import Pipeline
from edgeharfer.runtime.source import SOURCES
from edgeharfer.runtime.source.demo import DemoSource
from edgeharfer.runtime.stats import Stats

FRAMES = 125


def overlay(target: Path) -> None:
    """Write the overlay after five seconds of the demo, with the statistics of this run."""
    pipeline, source, stats = Pipeline(), DemoSource(SystemClock()), Stats()
    pipeline.warm_up()
    for frame in itertools.islice(iter(source.read, None), FRAMES):
        result = pipeline.process(frame)
        stats.add(result)
    status = stats.status(provider=short_providers(pipeline.providers), source_name=source.name)
    cv2.imwrite(str(target), annotate(frame, result, status), [cv2.IMWRITE_PNG_COMPRESSION, 9])


def picker(target: Path) -> None:
    """Write the window of `run --pick` at 800x480, with a camera that shows the demo."""
    cameras = (
        MenuItem("/dev/video0", "HD Pro Webcam C920", "/dev/video0"),
        MenuItem("/dev/video2", "Integrated Camera", "/dev/video2"),
    )
    preview = PreviewFrame(
        PreviewState.LIVE, "MJPG 640x480 at 30 fps", DemoSource(SystemClock()).picture(FRAMES)
    )
    demo = MenuItem("demo", SOURCES["demo"].title, SOURCES["demo"].detail)
    page = compose((*cameras, demo, FILE), 0, "2 cameras found", preview, (800, 480))
    cv2.imwrite(str(target), page.image, [cv2.IMWRITE_PNG_COMPRESSION, 9])


if __name__ == "__main__":
    overlay(Path(__file__).with_name("overlay.png"))
    picker(Path(__file__).with_name("picker.png"))
