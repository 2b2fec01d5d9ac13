"""A webcam loop with your own drawing

`Pipeline.frames` gives each frame with its result. A camera gives its newest frame, so the loop never falls
behind; a file gives every frame. The pixels of a frame are shared: copy them before you draw.

With a camera number as the argument, a window shows the picture until q is pressed. Without it, the demo is
processed and the last picture is saved.
"""

import sys
from pathlib import Path

import cv2

from edgeharfer.runtime import Pipeline, open_source

COLOUR = 0, 200, 255  # blue, green, red

source = sys.argv[1] if len(sys.argv) > 1 else "demo"
with Pipeline() as pipeline:
    for frame, result in pipeline.frames(open_source(source)):
        picture = frame.bgr.copy()
        for face in result.faces:
            x, y = round(face.box.x), round(face.box.y)
            text = face.emotion.label if face.emotion else "..."
            cv2.circle(picture, tuple(map(round, face.box.center)), round(face.box.width / 2), COLOUR, 3)
            cv2.putText(picture, text, (x, y - 8), cv2.FONT_HERSHEY_SIMPLEX, 0.8, COLOUR, 2)
        if result.action and result.action.ready:
            cv2.putText(picture, result.action.label, (10, 30), cv2.FONT_HERSHEY_SIMPLEX, 1, COLOUR, 2)
        if source != "demo":
            cv2.imshow("edgeharfer", picture)
            if cv2.waitKey(1) == ord("q"):
                break
        elif result.pts_s >= 2.2:
            break

Path("out").mkdir(exist_ok=True)
cv2.imwrite("out/webcam.png", picture)
print("out/webcam.png")
