"""Short test runs: image and video decoding, and the default models and detectors on the demo."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from edgeharfer.runtime.clock import SystemClock
from edgeharfer.runtime.doctor.finding import Finding
from edgeharfer.runtime.errors import EdgeharferError
from edgeharfer.runtime.faces.detector import Detector
from edgeharfer.runtime.faces.detectors import DEFAULT_DETECTOR, DETECTORS, make_detector
from edgeharfer.runtime.installation import pip
from edgeharfer.runtime.types import Image

_SIDE, _FRAMES, _GRAY = 64, 5, 128


def run_trials() -> Iterator[Finding]:
    """Run all tests; any exception of a library is reported as a problem."""
    for topic, check in (("opencv", try_opencv), ("demo", try_demo), ("detector", try_detectors)):
        try:
            yield check()
        except Exception as error:
            yield Finding(topic, False, f"{type(error).__name__}: {error}")


def try_opencv() -> Finding:
    """Decode a JPEG in memory, and write and read a video, as `run` and `--save` do."""
    if (problem := _jpeg_problem() or _video_problem()) is not None:
        return Finding("opencv", False, problem, f"{pip('install')} --force-reinstall opencv-python")
    return Finding("opencv", True, "decodes JPEG, writes and decodes video")


def _jpeg_problem() -> str | None:
    import cv2

    good, jpeg = cv2.imencode(".jpg", _picture())
    decoded = cv2.imdecode(jpeg, cv2.IMREAD_COLOR) if good else None
    if decoded is None or abs(float(decoded.mean()) - _GRAY) > 2:
        return "a JPEG cannot be decoded"
    return None


def _video_problem() -> str | None:
    import cv2

    from edgeharfer.runtime.source.video import VideoFileSource

    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "probe.mp4")
            writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 25, (_SIDE, _SIDE))
            for _ in range(_FRAMES):
                writer.write(_picture())
            writer.release()
            with VideoFileSource(path, SystemClock()) as source:
                frames = sum(1 for _ in iter(source.read, None))
    except (EdgeharferError, OSError) as error:
        return f"a video cannot be written and read back: {error}"
    return None if frames == _FRAMES else f"only {frames} of {_FRAMES} frames of a video were decoded"


def _picture() -> Image:
    import numpy as np

    return np.full((_SIDE, _SIDE, 3), _GRAY, np.uint8)


def try_demo() -> Finding:
    """Run the default packages on one image of the built-in demo, on the CPU."""
    from edgeharfer.runtime.pipeline import Pipeline
    from edgeharfer.runtime.source.demo import DemoSource

    clock = SystemClock()
    try:
        with DemoSource(clock) as source, Pipeline(provider="cpu", clock=clock) as pipeline:
            frame = source.read()
            result = pipeline.process(frame) if frame is not None else None
    except EdgeharferError as error:
        return Finding("demo", False, f"the default models cannot run: {error}")
    faces = len(result.faces) if result is not None else 0
    if not faces:
        return Finding("demo", False, "no face was found in the demo", "report this output as a bug")
    return Finding("demo", True, f"the default models run on the CPU: {faces} faces found in the demo")


def try_detectors(create: Callable[[str], Detector] = make_detector) -> Finding:
    """Run every face detector that needs no extra on one image of the built-in demo."""
    from edgeharfer.runtime.source.demo import DemoSource

    with DemoSource(SystemClock()) as source:
        picture = source.picture(0)
    names = [name for name, entry in DETECTORS.items() if entry.extra is None]
    problems = {
        name: problem for name in names if (problem := _detector_problem(create, name, picture)) is not None
    }
    if DEFAULT_DETECTOR in problems:
        return Finding("detector", False, f"{DEFAULT_DETECTOR}: {problems[DEFAULT_DETECTOR]}")
    working = ", ".join(name for name in names if name not in problems)
    rest = "".join(f"; {name} failed: {problem}" for name, problem in problems.items())
    return Finding("detector", True, f"the demo's face is detected by {working}{rest}")


def _detector_problem(create: Callable[[str], Detector], name: str, picture: Image) -> str | None:
    try:
        detector = create(name)
    except EdgeharferError as error:
        return str(error)
    faces = detector.detect(picture)
    detector.close()
    return None if faces else "no face detected"
