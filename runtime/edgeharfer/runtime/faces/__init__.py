"""Find faces, follow them, and cut them out."""

from __future__ import annotations

from edgeharfer.runtime.errors import ConfigError
from edgeharfer.runtime.faces.detector import Detector
from edgeharfer.runtime.faces.search import KNOWN_FACE_SCORE

DETECTORS = ("blazeface", "mediapipe", "haar")


def make_detector(
    name: str,
    *,
    provider: str = "cpu",
    threads: int | None = 1,
    fallback: bool = False,
    min_score: float = KNOWN_FACE_SCORE,
    at_once: bool = False,
) -> Detector:
    """A detector by name, reporting faces from `min_score` up. at_once: as open_graph takes it.

    Raises MissingExtra for a package that is not installed, ConfigError for an unknown name.
    """
    if name == "blazeface":
        from edgeharfer.runtime.faces.blazeface import load_blazeface

        return load_blazeface(
            provider=provider, threads=threads, fallback=fallback, min_score=min_score, at_once=at_once
        )
    if name == "mediapipe":
        from edgeharfer.runtime.faces.mediapipe import MediaPipeDetector

        return MediaPipeDetector(min_score=min_score)
    if name == "haar":
        from edgeharfer.runtime.faces.haar import HaarDetector

        return HaarDetector(min_score=min_score)
    raise ConfigError(f"unknown detector {name!r}: choose from {', '.join(DETECTORS)}")
