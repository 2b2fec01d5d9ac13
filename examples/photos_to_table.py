"""Pictures in a folder to a table

A folder is a source like any other. Each picture is a photograph: all its faces are read, and there is no
action. `result.file` is the file that a result belongs to.

The argument is a folder of pictures. Without it, pictures of the demo are used.
"""

import csv
import sys
from pathlib import Path

import cv2

from edgeharfer.runtime import Pipeline, open_source


def make_pictures(folder: Path) -> Path:
    """Save three pictures of the demo."""
    folder.mkdir(parents=True, exist_ok=True)
    with open_source("demo") as source:
        for number in range(3):
            cv2.imwrite(str(folder / f"{number}.png"), source.read().bgr)
    return folder


folder = Path(sys.argv[1]) if len(sys.argv) > 1 else make_pictures(Path("out/photos"))
Path("out").mkdir(exist_ok=True)
path = Path("out/faces.csv")
with Pipeline(action=None) as pipeline, path.open("w", newline="", encoding="utf-8") as file:
    table = csv.writer(file)
    table.writerow(["file", "x", "y", "width", "height", "emotion", "score"])
    for result in pipeline.run(open_source(folder)):
        for face in result.faces:
            box = [round(side) for side in (face.box.x, face.box.y, face.box.width, face.box.height)]
            table.writerow([result.file, *box, face.emotion.label, round(face.emotion.score, 3)])

print(path.read_text(encoding="utf-8"), end="")
