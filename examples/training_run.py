"""A student's training run

Train an emotion model on a folder, export it and measure the package. The folder has `train/` and `val/`,
each with a folder for each of the seven classes, as FER-2013 has them.

The argument is such a folder. Without it, small pictures with stripes are made, on which a training only
takes seconds; what it learns from them is of no use. All settings of a training are in its recipe:
`edgeharfer train emotion --help`.

It needs `pip install '.[cpu,export,train]'`.
"""

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np

EDGEHARFER = [sys.executable, "-m", "edgeharfer"]
LABELS = ["angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"]


def make_pictures(folder: Path) -> Path:
    """Write pictures of stripes, in another direction for each class."""
    random = np.random.default_rng(0)
    y, x = np.mgrid[0:48, 0:48]
    for split, count in (("train", 6), ("val", 2)):
        for number, label in enumerate(LABELS):
            (folder / split / label).mkdir(parents=True, exist_ok=True)
            angle = np.pi * number / len(LABELS)
            for picture in range(count):
                wave = np.sin(0.5 * (x * np.cos(angle) + y * np.sin(angle)) + random.uniform(0, 6))
                pixels = 128 + 80 * wave + random.normal(0, 20, (48, 48))
                path = folder / split / label / f"{picture}.png"
                cv2.imwrite(str(path), pixels.clip(0, 255).astype(np.uint8))
    return folder


own = len(sys.argv) > 1
data = Path(sys.argv[1]) if own else make_pictures(Path("out/faces"))
small = (
    []
    if own
    else ["--arch", "mini-xception", "--side", "48", "--epochs", "1", "--batch", "8", "--set", "finish=[]"]
)
for command in (
    ["train", "emotion", "--data", data, "--out", "out/run", *small],
    ["export", "out/run", "--out", "out/trained"],
    ["evaluate", "out/trained", "--data", data],
):
    subprocess.run([*EDGEHARFER, *command], check=True)
print(*sorted(path.name for path in Path("out/run").iterdir()))
