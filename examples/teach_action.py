"""Teach an action

`edgeharfer teach` makes an action package from a folder with a folder of clips for each action. It takes
seconds, since only a small head is fitted to the features of the encoder that ships.

The argument is such a folder. Without it, clips of two movements of a picture are made. They only show how it
works: real clips come from the camera, the place and the people that the package will see.
"""

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np

from edgeharfer.runtime import Pipeline, open_source

EDGEHARFER = [sys.executable, "-m", "edgeharfer"]
MOVES = {"shake": lambda t: (60 * np.sin(8 * t), 0, 1), "zoom": lambda t: (0, 0, 1.3 + 0.3 * np.sin(3 * t))}


def make_clips(folder: Path) -> Path:
    """Write three clips of each movement."""
    with open_source("demo") as source:
        picture = cv2.resize(source.read().bgr, (320, 240))
    height, width = picture.shape[:2]
    for label, move in MOVES.items():
        (folder / label).mkdir(parents=True, exist_ok=True)
        for number in range(3):
            path = str(folder / label / f"{number}.avi")
            writer = cv2.VideoWriter(path, cv2.VideoWriter.fourcc(*"MJPG"), 10, (width, height))
            for frame in range(25):
                right, down, zoom = move(frame / 10 + number)
                matrix = np.float32([[zoom, 0, right], [0, zoom, down]])
                writer.write(cv2.warpAffine(picture, matrix, (width, height)))
            writer.release()
    return folder


clips = Path(sys.argv[1]) if len(sys.argv) > 1 else make_clips(Path("out/clips"))
subprocess.run([*EDGEHARFER, "teach", clips, "--out", "out/taught"], check=True)

clip = next(path for path in sorted(clips.rglob("*")) if path.is_file())
with Pipeline(action="out/taught", emotion=None) as pipeline:
    for result in pipeline.run(open_source(clip)):
        action = result.action
print(f"{clip}: {action.label}, {action.score:.2f}")
