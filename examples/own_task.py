"""A task of your own

A task is an object with a name, a scope and a method `step`. It runs beside emotions and actions, its
readings are in the results, in the JSON lines and in the overlay, and it can use the readings of the tasks
before it.

This one counts how long somebody in view has smiled. The argument is a source; without it, the demo is used.
"""

import json
import sys
from collections.abc import Sequence

from edgeharfer.runtime import Frame, Pipeline, Reading, Task, TrackedFace, open_source


class SmileTime(Task):
    """Seconds with a happy face in view."""

    name, scope = "smile", "scene"

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Start again: called before another source and at cuts."""
        self.seconds, self.last_s = 0.0, None

    def step(self, frame: Frame, faces: Sequence[TrackedFace]) -> Reading:
        happy = any(face.emotion and face.emotion.label == "happy" for face in faces)
        if happy and self.last_s is not None:
            self.seconds += frame.pts_s - self.last_s
        self.last_s = frame.pts_s
        return Reading("smiling" if happy else "serious", values={"seconds": self.seconds})


source = sys.argv[1] if len(sys.argv) > 1 else "demo"
with Pipeline(action=None, extra_tasks=[SmileTime()]) as pipeline:
    for result in pipeline.run(open_source(source)):
        if source == "demo" and result.pts_s >= 1:
            break

print(json.dumps(result.to_dict()["smile"]))
