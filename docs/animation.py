"""Make the moving picture of README.md from the demo: `python docs/animation.py` writes docs/demo.webp."""

from __future__ import annotations

from pathlib import Path

import cv2
from PIL import Image

from edgeharfer.runtime import Pipeline, open_source

SECONDS, EVERY, SIZE = 4.0, 3, (480, 360)
"""Length, frames of the demo for each picture, and size in pixels."""


def main() -> None:
    """Write the pictures from the moment at which the window of the actions is full."""
    pictures, start_s = [], None
    with Pipeline() as pipeline:
        for frame, result in pipeline.frames(open_source("demo")):
            if start_s is None and result.action is not None and result.action.ready:
                start_s = result.pts_s
            if start_s is None or result.seq % EVERY:
                continue
            if result.pts_s >= start_s + SECONDS:
                break
            picture = cv2.resize(result.plot(frame.bgr), SIZE, interpolation=cv2.INTER_AREA)
            pictures.append(Image.fromarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)))
    path = Path(__file__).with_name("demo.webp")
    rest, duration_ms = pictures[1:], EVERY * 1000 // 30
    pictures[0].save(
        path, save_all=True, append_images=rest, duration=duration_ms, loop=0, quality=60, method=4
    )
    print(f"{path}: {len(pictures)} pictures, {path.stat().st_size >> 10} KiB")


if __name__ == "__main__":
    main()
