"""Run one system on faces or clips and print a JSON object; docs/peers.py runs this in each environment.

python docs/peer_process.py SYSTEM DIR FRAMES LIMIT CLIP...

DIR has <set>/<class>/<picture>, and of each clip the first FRAMES frames are used. In sets called "whole…"
the picture is the face; in the others the largest face found is classified, and the whole picture if none is
found. After LIMIT seconds of processor time the process stops and prints what it has. Network connections are
refused, so a library that downloads its model fails.

It imports only the standard library, OpenCV and the system that it runs.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import sys
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

SYNONYMS = {"anger": "angry", "sadness": "sad", "surprised": "surprise"}
"""Labels of the peers -> ours."""


class Edgeharfer:
    """`Pipeline` with emotions only, as `run` schedules it or with every stage on every frame."""

    def __init__(self, *, every_frame: bool = False) -> None:
        from edgeharfer.runtime import Pipeline
        from edgeharfer.runtime.pipeline import FACE_INTERVAL_S

        self.pipeline = Pipeline(action=None, face_interval_s=0 if every_frame else FACE_INTERVAL_S)

    def clip(self, path: str) -> Iterator[int]:
        from edgeharfer.runtime import open_source

        with open_source(path) as source:
            yield from (len(result.faces) for result in self.pipeline.run(source))


class Peer:
    """A library that searches a picture for faces and classifies a crop."""

    def boxes(self, bgr: Any) -> Iterable[tuple[int, int, int, int]]:
        """Left, top, width and height of the faces that its detector finds."""
        raise NotImplementedError

    def classify(self, bgr: Any, box: tuple[int, int, int, int]) -> str:
        """Return its label of a crop."""
        raise NotImplementedError

    def frame(self, bgr: Any) -> int:
        """Do what its documentation does for a frame of a video, and return the number of faces."""
        raise NotImplementedError

    def clip(self, path: str) -> Iterator[int]:
        import cv2

        video = cv2.VideoCapture(path)
        while (read := video.read())[0]:
            yield self.frame(read[1])


class Fer(Peer):
    """`fer`, with its Haar cascade and the TensorFlow Lite model that is its default."""

    BORDER = 10
    """Pixels that `fer` adds on each side of a box; taken off first, so that a whole picture stays whole."""

    def __init__(self) -> None:
        from fer.fer import FER  # type: ignore[import-not-found]

        self.system = FER()

    def boxes(self, bgr: Any) -> Iterable[tuple[int, int, int, int]]:
        return [tuple(map(int, box)) for box in self.system.find_faces(bgr)]  # type: ignore[misc]

    def classify(self, bgr: Any, box: tuple[int, int, int, int]) -> str:
        x, y, width, height = box
        if (x, y, height, width) == (0, 0, *bgr.shape[:2]):
            x = y = self.BORDER
            width, height = width - 2 * x, height - 2 * y
        scores = self.system.detect_emotions(bgr, [(x, y, width, height)])[0]["emotions"]
        return str(max(scores, key=scores.get))

    def frame(self, bgr: Any) -> int:
        return len(self.system.detect_emotions(bgr))


class Facex(Peer):
    """`facex`, with its Haar cascade and TensorFlow Lite model."""

    def __init__(self) -> None:
        import facex  # type: ignore[import-not-found]

        model = Path(facex.__file__).parent / "assets" / "model_optimized.tflite"
        self.system = facex.EmotionClassifier(str(model))

    def boxes(self, bgr: Any) -> Iterable[tuple[int, int, int, int]]:
        return [tuple(map(int, box)) for box in self.system.detect_faces(bgr)[0]]  # type: ignore[misc]

    def classify(self, bgr: Any, box: tuple[int, int, int, int]) -> str:
        import cv2

        x, y, width, height = box
        grey = cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY)[y : y + height, x : x + width]
        scores = self.system.detect_emotion(grey)
        return str(max(scores, key=scores.get))

    def frame(self, bgr: Any) -> int:
        return len(self.system.predict(bgr))


class FacialEmotionRecognition(Peer):
    """`facial-emotion-recognition`, with MTCNN and its PyTorch model.

    Its weights are stored for a CUDA device, and loading them fails where there is none; here they are mapped
    to the processor. `weights_only` refuses everything but tensors in the file.
    """

    def __init__(self) -> None:
        import torch  # type: ignore[import-not-found]
        from facial_emotion_recognition import EmotionRecognition  # type: ignore[import-not-found]

        torch.set_grad_enabled(False)
        torch.load = functools.partial(torch.load, map_location="cpu", weights_only=True)
        self.system = EmotionRecognition(device="cpu")

    def boxes(self, bgr: Any) -> Iterable[tuple[int, int, int, int]]:
        found, _ = self.system.mtcnn.detect(bgr)
        sides = [] if found is None else [[max(0, round(float(side))) for side in box] for box in found]
        return [(x1, y1, x2 - x1, y2 - y1) for x1, y1, x2, y2 in sides]

    def classify(self, bgr: Any, box: tuple[int, int, int, int]) -> str:
        import cv2

        x, y, width, height = box
        grey = cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY)[y : y + height, x : x + width]
        return str(self.system._predict(grey)).lower()

    def frame(self, bgr: Any) -> int:
        drawn = self.system.recognise_emotion(bgr.copy())
        return int((drawn != bgr).any())


SYSTEMS: dict[str, Callable[[], Any]] = {
    "edgeharfer": Edgeharfer,
    "edgeharfer, every frame": lambda: Edgeharfer(every_frame=True),
    "fer": Fer,
    "facex": Facex,
    "facial-emotion-recognition": FacialEmotionRecognition,
}


def refuse_network(event: str, arguments: tuple[Any, ...]) -> None:
    """Audit hook that raises an error for each network connection."""
    if event in ("socket.connect", "socket.getaddrinfo"):
        raise OSError(
            f"it needs a download: it asked for {arguments[-1 if event == 'socket.connect' else 0]}"
        )


def faces(system: Peer, folder: Path, limit_s: float) -> dict[str, Any] | None:
    """Count the labels of a set by class, and the pictures with a face; None if the time limit is reached."""
    import cv2

    counts, found = defaultdict[str, Counter[str]](Counter), 0
    for path in sorted(folder.glob("*/*")):
        if time.process_time() > limit_s:
            return None
        bgr = cv2.imread(str(path))
        assert bgr is not None, f"{path} cannot be read"
        whole = (0, 0, bgr.shape[1], bgr.shape[0])
        boxes = [] if folder.name.startswith("whole") else list(system.boxes(bgr))
        boxes = [box for box in boxes if box[2] > 0 and box[3] > 0]
        found += bool(boxes)
        label = system.classify(bgr, max(boxes, key=lambda box: box[2] * box[3], default=whole)).lower()
        counts[path.parent.name][SYNONYMS.get(label, label)] += 1
    return {"found": found, "counts": counts}


def clips(system: Any, frames: int, limit_s: float, paths: list[str]) -> dict[str, Any]:
    """Measure the frames, processor time and frames with a face of clips; the first ten frames warm up.

    No further clip is started once the time limit is reached.
    """
    deque(islice(system.clip(paths[0]), 10), maxlen=0)
    count = with_face = 0
    start_s = time.process_time()
    for path in paths:
        if time.process_time() > limit_s:
            break
        for seen in islice(system.clip(path), frames):
            count += 1
            with_face += seen > 0
    return {"frames": count, "with_face": with_face, "cpu_s": time.process_time() - start_s}


def peak_mib() -> float:
    """The largest resident memory of this process so far."""
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def main() -> None:
    """Print what was measured, as the last line."""
    name, folder, frames, limit, *paths = sys.argv[1:]
    limit_s = float(limit)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.addaudithook(refuse_network)
    with contextlib.redirect_stdout(sys.stderr):
        system = SYSTEMS[name]()
        start_cpu_s = time.process_time()
        measured = clips(system, int(frames), limit_s, paths)
        cost = {**measured, "start_cpu_s": start_cpu_s, "peak_mib": peak_mib()}
        folders = sorted(Path(folder).glob("*")) if isinstance(system, Peer) else []
        sets = {one.name: faces(system, one, limit_s) for one in folders}
    print(json.dumps({"clips": cost, "sets": sets, "finished": time.process_time() <= limit_s}))


if __name__ == "__main__":
    main()
