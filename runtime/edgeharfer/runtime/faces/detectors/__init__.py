"""The table of face detectors. To add one, add a module here with `load(options)` and a row in DETECTORS.

The command line, the kiosk configuration, `edgeharfer doctor` and the reports read DETECTORS.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from edgeharfer.runtime.errors import ConfigError
from edgeharfer.runtime.inference.backend import AUTO, CPU, Backend

if TYPE_CHECKING:
    from edgeharfer.runtime.faces.detector import Detector


@dataclass(frozen=True)
class DetectorEntry:
    """A row of DETECTORS.

    Attributes:
        title: Name of the detector in reports.
        extra: Extra of this product that it needs, if any.
        keypoints: Whether it detects key points. Otherwise those of a face are a fixed pattern in its box.
    """

    title: str
    extra: str | None = None
    keypoints: bool = True


DETECTORS: Mapping[str, DetectorEntry] = MappingProxyType({
    "auto": DetectorEntry("BlazeFace confirmed by YuNet in video, YuNet in photographs"),
    "blazeface": DetectorEntry("BlazeFace (full range)"),
    "yunet": DetectorEntry("YuNet"),
    "mediapipe": DetectorEntry("BlazeFace (short range), run by MediaPipe", extra="mediapipe"),
    "haar": DetectorEntry("Haar cascade, run by OpenCV", keypoints=False),
})  # fmt: skip
"""By name, which is the name of the module and the value of `--detector`."""
DEFAULT_DETECTOR = "auto"


def detector_title(name: str) -> str:
    """Return the name of a detector in reports; an unknown name is returned unchanged."""
    return DETECTORS[name].title if name in DETECTORS else name


def make_detector(name: str, backend: Backend | None = None, **options: Any) -> Detector:
    """Create a detector.

    Args:
        name: A name of DETECTORS.
        backend: Where its model runs; one CPU thread by default. Its precision is ignored.
        options: Further fields of `DetectorOptions`.

    Raises:
        ConfigError: There is no such detector, or OpenCV does not include it.
        MissingExtra: A required package is not installed.
        ModelError: Its model cannot be loaded.
        ProviderError: The provider does not load.
    """
    if name not in DETECTORS:
        raise ConfigError(f"unknown detector {name!r}: choose from {', '.join(DETECTORS)}")
    from edgeharfer.runtime.faces.detector import DetectorOptions

    backend = replace(backend or CPU, precision=AUTO)  # The requested precision is that of the tasks.
    module = import_module(f"{__name__}.{name}")
    detector: Detector = module.load(DetectorOptions(backend, **options))
    return detector
