"""The face detectors by name. To add one: a module here with `load(options)`, and a line in DETECTORS.

The command line, the kiosk's configuration, `edgeharfer doctor` and the reports read DETECTORS.
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
    """title: what reports call the detector. extra: the extra of this product that it needs."""

    title: str
    extra: str | None = None


DETECTORS: Mapping[str, DetectorEntry] = MappingProxyType({
    "auto": DetectorEntry("BlazeFace confirmed by YuNet in video, YuNet in photographs"),
    "blazeface": DetectorEntry("BlazeFace (full range)"),
    "yunet": DetectorEntry("YuNet"),
    "mediapipe": DetectorEntry("BlazeFace (short range), run by MediaPipe", extra="mediapipe"),
    "haar": DetectorEntry("Haar cascade, run by OpenCV"),
})  # fmt: skip
"""By name, which is that of the module and the value of `--detector`."""
DEFAULT_DETECTOR = "auto"


def detector_title(name: str) -> str:
    """What a report calls a detector; the name itself for one that is not here."""
    return DETECTORS[name].title if name in DETECTORS else name


def make_detector(name: str, backend: Backend | None = None, **options: Any) -> Detector:
    """Make a detector by name. backend: one thread of the CPU by default. options: as `DetectorOptions`.

    Raises:
        ConfigError: no detector has this name, or OpenCV lacks it.
        MissingExtra: it needs a package that is not installed.
        ModelError, ProviderError: its model cannot be loaded, or not on that provider.
    """
    if name not in DETECTORS:
        raise ConfigError(f"unknown detector {name!r}: choose from {', '.join(DETECTORS)}")
    from edgeharfer.runtime.faces.detector import DetectorOptions

    backend = replace(backend or CPU, precision=AUTO)  # The one asked for is that of emotions and actions.
    module = import_module(f"{__name__}.{name}")
    detector: Detector = module.load(DetectorOptions(backend, **options))
    return detector
