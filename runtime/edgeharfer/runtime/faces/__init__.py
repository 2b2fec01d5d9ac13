"""Face detection, tracking and cropping."""

from edgeharfer.runtime.faces.detectors import DEFAULT_DETECTOR, make_detector

__all__ = ["DEFAULT_DETECTOR", "make_detector"]
